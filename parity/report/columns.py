r"""All pairs as compact columns: what the page's table is drawn from.

Texts that repeat are stored once and named by their place in a list; an address is split into its path and
what follows it, because a path returns at every step, port, mode and type. Numbers keep four significant
digits. 12 000 pairs take about a megabyte so.

    >>> page_json({"a": "</script>"})
    '{"a":"\\u003c/script\\u003e"}'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from parity.report.summary import verdict_of
from parity.report.words import apart, compact, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.result import Pair

__all__ = ["columns", "page_json"]

_TEXTS = ("stage", "question", "mode", "dtype", "native", "basis", "limit", "detail")
_NUMBERS = (
    "rel_l2", "max_abs", "ratio_to_floor", "cosine", "max_ulp", "scale", "error_rms", "error_max",
    "reference_rms", "reference_max", "floor_rms", "floor_max",
)  # fmt: skip


def page_json(value: object) -> str:
    """Return JSON that may stand inside a script element: no `<`, `>` or `&` is left as it is."""
    text = msgspec.json.encode(value).decode("utf-8")
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


class _Dictionary:
    """Texts by the order in which they were first seen."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """Return the place of `text`, adding it when it is new."""
        return self.places.setdefault(text, len(self.places))


def columns(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Return `{"texts": {column: {"values", "at"}}, "numbers": {column: [...]}, ...}` for all pairs, in order."""
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
    numbers = {name: [compact(getattr(pair, name)) for pair in pairs] for name in _NUMBERS}
    numbers = {name: column for name, column in numbers.items() if any(value is not None for value in column)}
    return {
        "count": len(pairs),
        "texts": texts,
        "numbers": numbers | {"order": [pair.order for pair in pairs], "size": [pair.size for pair in pairs]},
        "outside": {place: pair.outside for place, pair in enumerate(pairs) if pair.outside},
        "worst": {place: _worst(pair) for place, pair in enumerate(pairs) if pair.worst is not None},
    }


def _split(address: str) -> tuple[str, str]:
    """Return the path and the rest of an address; together they are the address."""
    ends = [place for place in (address.find("@"), address.rfind(":")) if place >= 0]
    cut = min(ends, default=len(address))
    return address[:cut], address[cut:]


def _indexed(texts: Iterable[str]) -> dict[str, Any]:
    """Return the distinct texts and, for each row, which one it has."""
    dictionary = _Dictionary()
    at = [dictionary.place(text) for text in texts]
    return {"values": list(dictionary.places), "at": at}


def _worst(pair: Pair) -> list[str]:
    """Return place, reference and candidate value of the worst element as texts."""
    if pair.worst is None:
        return []
    return [", ".join(map(str, pair.worst.index)), *apart(pair.worst.reference, pair.worst.candidate)]
