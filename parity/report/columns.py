r"""All pairs as compact columns: what the page's table is drawn from.

What belongs to an address (path, the rest of it, native path, stage, shape, order) is stored once, because an
address returns under every question and replay; `runs` of (first, length) say which addresses the pairs have.
Texts that repeat are stored once and named by their place in a list. A column of numbers is one text, three
significant digits each, empty where nothing was measured. What only explains a failure (the worst element,
errors of single elements, the limit in numbers) is kept for the pairs that fail by themselves; `parity show`
has it for all. 12 000 pairs take about half a megabyte.

>>> page_json({"a": "</script>"})
'{"a":"\\u003c/script\\u003e"}'
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from parity.address import path_of
from parity.compare.limits import MAX_FACTOR, RMS_FACTOR
from parity.report.summary import excused, verdict_of
from parity.report.words import apart, compact, visible
from parity.result import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.result import Pair

__all__ = ["columns", "measures", "page_json"]

_TEXTS = ("question", "mode", "dtype", "basis", "detail", "verdict")
_NUMBERS = [known for known in MEASURES if known.page]
_FLOOR_LIMIT = f"rms <= {RMS_FACTOR:g} x its floor, max <= {MAX_FACTOR:g} x its largest"


def page_json(value: object) -> str:
    """Return JSON that may stand inside a script element: no `<`, `>` or `&` is left as it is."""
    text = msgspec.json.encode(value).decode("utf-8")
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def columns(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Return the columns of all pairs, in order: texts, numbers, addresses, and what explains failures."""
    pairs = list(pairs)
    own = [pair.verdict != "MATCH" and not excused(pair) for pair in pairs]
    texts = {name: _indexed(visible(getattr(pair, name) or "") for pair in pairs) for name in _TEXTS}
    if any(pair.candidate for pair in pairs):
        texts["candidate"] = _indexed(visible(pair.candidate) for pair in pairs)
    texts["shown"] = _indexed(verdict_of(pair) for pair in pairs)
    texts["flags"] = _indexed(", ".join(pair.flags) for pair in pairs)
    texts["limit"] = _indexed(
        _FLOOR_LIMIT if pair.basis == "floor" and not fails else visible(pair.limit)
        for pair, fails in zip(pairs, own, strict=True)
    )
    numbers, every = {}, [True] * len(pairs)
    for known in _NUMBERS:
        kept = own if known.page == "failing" else every
        numbers[known.name] = ",".join(
            compact(known.read(pair)) if keeps else "" for pair, keeps in zip(pairs, kept, strict=True)
        )
    failing = [(place, pair) for place, pair in enumerate(pairs) if own[place]]
    return {
        "count": len(pairs),
        "measures": measures(),
        "addresses": _addresses(pairs),
        "texts": texts,
        "numbers": {name: column for name, column in numbers.items() if column.strip(",")},
        "outside": {place: f"{pair.outside} of {pair.size}" for place, pair in failing if pair.outside},
        "worst": {place: _worst(pair) for place, pair in failing if pair.worst is not None},
    }


def measures() -> list[dict[str, Any]]:
    """Return what the page has to know of each measure that it holds: its names, its column or "", its format."""
    return [
        {
            "name": known.name,
            "words": known.words or known.name,
            "column": known.column,
            "format": known.format,
        }
        for known in _NUMBERS
    ]


def _addresses(pairs: list[Pair]) -> dict[str, Any]:
    """Return the distinct addresses as columns, and `runs` of (first, length) over the pairs."""
    places: dict[tuple[Any, ...], int] = {}
    keys = ((pair.address, pair.native, pair.stage, pair.shape, pair.order) for pair in pairs)
    runs: list[int] = []
    for place in (places.setdefault(key, len(places)) for key in keys):
        if runs and runs[-2] + runs[-1] == place:
            runs[-1] += 1
        else:
            runs += [place, 1]
    texts = {
        "path": _indexed(visible(_split(address)[0]) for address, *_ in places),
        "rest": _indexed(visible(_split(address)[1]) for address, *_ in places),
        "native": _indexed(visible(native or "") for _, native, *_ in places),
        "stage": _indexed(visible(stage) for _, _, stage, *_ in places),
        "shape": _indexed(" x ".join(map(str, shape)) for _, _, _, shape, _ in places),
    }
    return {"texts": texts, "numbers": {"order": ",".join(str(key[-1]) for key in places)}, "runs": runs}


def _split(address: str) -> tuple[str, str]:
    """Return the path and the rest of an address; together they are the address."""
    path = path_of(address)
    return path, address.removeprefix(path)


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
