r"""All pairs as compact columns: what the page's table is drawn from.

Texts that repeat are stored once and named by their place in a list, runs of the same place by their
length; an address is split into its path and what follows it, because a path returns at every step, port,
mode and type. A column of numbers is one text, three significant digits each, empty where nothing was
measured. What only explains a failure (the worst element, errors of single elements) is kept for the pairs
that fail by themselves; `parity show` has it for all. 12 000 pairs take about 0.7 megabytes.

    >>> page_json({"a": "</script>"})
    '{"a":"\\u003c/script\\u003e"}'
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from parity.report.summary import excused, verdict_of
from parity.report.words import apart, compact, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.result import Pair

__all__ = ["columns", "page_json"]

_TEXTS = ("stage", "question", "mode", "dtype", "native", "basis", "limit", "detail")
_NUMBERS = (
    "rel_l2", "max_abs", "ratio_to_floor", "scale", "error_rms", "reference_rms", "floor_rms",
)  # fmt: skip
_OF_FAILURES = ("cosine", "max_ulp", "error_max", "reference_max", "floor_max")


def page_json(value: object) -> str:
    """Return JSON that may stand inside a script element: no `<`, `>` or `&` is left as it is."""
    text = msgspec.json.encode(value).decode("utf-8")
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def columns(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Return `{"texts": {column: {"values", "at"}}, "numbers": {column: "1,2"}, ...}` for all pairs, in order."""
    pairs = list(pairs)
    texts: dict[str, dict[str, Any]] = {}
    for name in _TEXTS:
        texts[name] = _indexed(visible(getattr(pair, name) or "") for pair in pairs)
    texts["path"] = _indexed(visible(_split(pair.address)[0]) for pair in pairs)
    texts["rest"] = _indexed(visible(_split(pair.address)[1]) for pair in pairs)
    texts["verdict"] = _indexed(pair.verdict for pair in pairs)
    texts["shown"] = _indexed(verdict_of(pair) for pair in pairs)
    texts["flags"] = _indexed(", ".join(pair.flags) for pair in pairs)
    texts["shape"] = _indexed(" x ".join(map(str, pair.shape)) for pair in pairs)
    own = [pair.verdict != "MATCH" and not excused(pair) for pair in pairs]
    numbers = {name: ",".join(compact(getattr(pair, name)) for pair in pairs) for name in _NUMBERS}
    for name in _OF_FAILURES:
        numbers[name] = ",".join(
            compact(getattr(pair, name)) if fails else "" for pair, fails in zip(pairs, own, strict=True)
        )
    numbers = {name: column for name, column in numbers.items() if column.strip(",")}
    return {
        "count": len(pairs),
        "texts": texts,
        "numbers": numbers | {"order": ",".join(str(pair.order) for pair in pairs)},
        "outside": {
            place: f"{pair.outside} of {pair.size}" for place, pair in enumerate(pairs) if pair.outside and own[place]
        },
        "worst": {place: _worst(pair) for place, pair in enumerate(pairs) if pair.worst is not None and own[place]},
    }


def _split(address: str) -> tuple[str, str]:
    """Return the path and the rest of an address; together they are the address."""
    ends = [place for place in (address.find("@"), address.rfind(":")) if place >= 0]
    cut = min(ends, default=len(address))
    return address[:cut], address[cut:]


def _indexed(texts: Iterable[str]) -> dict[str, Any]:
    """Return the distinct texts and which one each row has: `at`, or `runs` of (place, length) where shorter."""
    places: dict[str, int] = {}
    at = [places.setdefault(text, len(places)) for text in texts]
    runs = [(place, sum(1 for _ in members)) for place, members in groupby(at)]
    if 2 * len(runs) < len(at):
        return {"values": list(places), "runs": [part for run in runs for part in run]}
    return {"values": list(places), "at": at}


def _worst(pair: Pair) -> list[str]:
    """Return place, reference and candidate value of the worst element as texts."""
    if pair.worst is None:
        return []
    return [", ".join(map(str, pair.worst.index)), *apart(pair.worst.reference, pair.worst.candidate)]
