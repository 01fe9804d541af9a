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

from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from parity.address import path_of
from parity.compare.limits import MAX_FACTOR, RMS_FACTOR
from parity.report.verdicts import fails_alone, shown
from parity.report.words import apart, compact, visible
from parity.result import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parity.result import Measure, Pair, Worst

__all__ = ["columns", "measures", "page_json"]

_TEXTS: Final = ("question", "mode", "dtype", "basis", "detail", "verdict")
_NUMBERS: Final = [known for known in MEASURES if known.page]
_FLOOR_LIMIT: Final = f"rms <= {RMS_FACTOR:g} x its floor, max <= {MAX_FACTOR:g} x its largest"


class _Place(NamedTuple):
    """What belongs to an address, whatever is asked of it."""

    address: str
    native: str | None
    stage: str
    shape: tuple[int, ...]
    order: int


def page_json(value: object) -> str:
    """Return JSON that may stand inside a script element: no `<`, `>` or `&` is left as it is."""
    text = msgspec.json.encode(value).decode("utf-8")
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def columns(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Return the columns of all pairs, in order: texts, numbers, addresses, and what explains failures."""
    pairs = list(pairs)
    failing = {place: pair for place, pair in enumerate(pairs) if fails_alone(pair)}
    numbers = {known.name: _numbers(known, pairs, failing) for known in _NUMBERS}
    return {
        "count": len(pairs),
        "measures": measures(),
        "addresses": _addresses(pairs),
        "texts": _texts(pairs),
        "numbers": {name: column for name, column in numbers.items() if column.strip(",")},
        "outside": {place: f"{pair.outside} of {pair.size}" for place, pair in failing.items() if pair.outside},
        "worst": {place: _worst(pair.worst) for place, pair in failing.items() if pair.worst is not None},
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


def _texts(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return the columns of texts that do not belong to an address."""
    texts = {name: _indexed(visible(getattr(pair, name) or "") for pair in pairs) for name in _TEXTS}
    if any(pair.candidate for pair in pairs):
        texts["candidate"] = _indexed(visible(pair.candidate) for pair in pairs)
    texts["shown"] = _indexed(map(shown, pairs))
    texts["flags"] = _indexed(", ".join(pair.flags) for pair in pairs)
    texts["limit"] = _indexed(map(_limit, pairs))
    return texts


def _limit(pair: Pair) -> str:
    """Return a pair's limit; a floor that holds is written without its numbers, so that it is one text for all."""
    general = pair.basis == "floor" and not fails_alone(pair)
    return _FLOOR_LIMIT if general else visible(pair.limit)


def _numbers(known: Measure, pairs: Sequence[Pair], failing: dict[int, Pair]) -> str:
    """Return a column of numbers: of all pairs, or of those that fail by themselves."""
    if known.page == "all":
        return ",".join(compact(known.read(pair)) for pair in pairs)
    texts = [""] * len(pairs)
    for place, pair in failing.items():
        texts[place] = compact(known.read(pair))
    return ",".join(texts)


def _addresses(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Return the distinct addresses as columns, and `runs` of (first, length) over the pairs."""
    places: dict[_Place, int] = {}
    at = [places.setdefault(_place(pair), len(places)) for pair in pairs]
    paths = [path_of(place.address) for place in places]
    rests = [place.address.removeprefix(path) for place, path in zip(places, paths, strict=True)]
    texts = {
        "path": _indexed(map(visible, paths)),
        "rest": _indexed(map(visible, rests)),
        "native": _indexed(visible(place.native or "") for place in places),
        "stage": _indexed(visible(place.stage) for place in places),
        "shape": _indexed(" x ".join(map(str, place.shape)) for place in places),
    }
    orders = ",".join(str(place.order) for place in places)
    return {"texts": texts, "numbers": {"order": orders}, "runs": _consecutive(at)}


def _place(pair: Pair) -> _Place:
    """Return what belongs to the address of a pair."""
    return _Place(pair.address, pair.native, pair.stage, pair.shape, pair.order)


def _consecutive(at: Iterable[int]) -> list[int]:
    """Return numbers of which many follow each other as first, length, first, length.

    >>> _consecutive([4, 5, 6, 0, 1, 1])
    [4, 3, 0, 2, 1, 1]
    """
    runs: list[int] = []
    for place in at:
        if runs and runs[-2] + runs[-1] == place:
            runs[-1] += 1
        else:
            runs += [place, 1]
    return runs


def _indexed(texts: Iterable[str]) -> dict[str, Any]:
    """Return the distinct texts and which one each row has: `at`, or `runs` of (place, length) where shorter."""
    places: dict[str, int] = {}
    at = [places.setdefault(text, len(places)) for text in texts]
    runs = [(place, len(list(members))) for place, members in groupby(at)]
    if 2 * len(runs) < len(at):
        return {"values": list(places), "runs": list(chain.from_iterable(runs))}
    return {"values": list(places), "at": at}


def _worst(worst: Worst) -> list[str]:
    """Return place, reference and candidate value of the worst element as texts."""
    return [", ".join(map(str, worst.index)), *apart(worst.reference, worst.candidate)]
