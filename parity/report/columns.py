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
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from parity.address import path_of
from parity.compare.limits import MAX_FACTOR, RMS_FACTOR
from parity.report.grouping import dtype_of
from parity.report.verdicts import fails_alone, shown
from parity.report.words import apart, compact, visible
from parity.result import MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from parity.result import Measure, Pair, Worst

__all__ = ["columns", "measures", "page_json"]

_Value = TypeVar("_Value")
_NUMBERS: Final = [known for known in MEASURES if known.page]
_FLOOR_LIMIT: Final = f"rms <= {RMS_FACTOR:g} x its floor, max <= {MAX_FACTOR:g} x its largest"


class _Place(NamedTuple):
    """What belongs to an address, whatever is asked of it."""

    address: str
    native: str
    stage: str
    shape: tuple[int, ...]
    order: int

    @property
    def path(self) -> str:
        """The path of the address."""
        return path_of(self.address)

    @property
    def rest(self) -> str:
        """What follows the path; together they are the address."""
        return self.address.removeprefix(self.path)

    @property
    def size(self) -> str:
        """The shape in words."""
        return " x ".join(map(str, self.shape))


_PLACE_TEXTS: Final[dict[str, Callable[[_Place], str]]] = {
    "path": attrgetter("path"),
    "rest": attrgetter("rest"),
    "native": attrgetter("native"),
    "stage": attrgetter("stage"),
    "shape": attrgetter("size"),
}


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
        **_elements(failing),
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
    """Return the columns of texts that do not belong to an address; one candidate alone has no label."""
    texts = {name: _indexed(map(read, pairs)) for name, read in _TEXTS.items()}
    if texts["candidate"]["values"] in ([], [""]):
        del texts["candidate"]
    return texts


def _flags(pair: Pair) -> str:
    """Return a pair's flags as one text."""
    return ", ".join(pair.flags)


def _limit(pair: Pair) -> str:
    """Return a pair's limit; a floor that holds is written without its numbers, so that it is one text for all."""
    if pair.basis == "floor" and not fails_alone(pair):
        return _FLOOR_LIMIT
    return pair.limit


_TEXTS: Final[dict[str, Callable[[Pair], str]]] = {
    "question": attrgetter("question"),
    "mode": attrgetter("mode"),
    "dtype": dtype_of,
    "basis": attrgetter("basis"),
    "detail": attrgetter("detail"),
    "verdict": attrgetter("verdict"),
    "candidate": attrgetter("candidate"),
    "shown": shown,
    "flags": _flags,
    "limit": _limit,
}


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
    places, at = _numbered(map(_place, pairs))
    texts = {name: _indexed(map(read, places)) for name, read in _PLACE_TEXTS.items()}
    orders = ",".join(str(place.order) for place in places)
    return {"texts": texts, "numbers": {"order": orders}, "runs": _consecutive(at)}


def _place(pair: Pair) -> _Place:
    """Return what belongs to the address of a pair."""
    return _Place(pair.address, pair.native or "", pair.stage, pair.shape, pair.order)


def _numbered(values: Iterable[_Value]) -> tuple[list[_Value], list[int]]:
    """Return the distinct values, in the order in which they first come, and which one each is."""
    places: dict[_Value, int] = {}
    at = [places.setdefault(value, len(places)) for value in values]
    return list(places), at


def _consecutive(at: Iterable[int]) -> list[int]:
    """Return numbers of which many follow each other as first, length, first, length.

    >>> _consecutive([4, 5, 6, 0, 1, 1])
    [4, 3, 0, 2, 1, 1]
    """
    runs: list[int] = []
    # Where numbers follow each other, each is as far from its own place as the one before.
    for _, members in groupby(enumerate(at), key=lambda item: item[1] - item[0]):
        found = [number for _, number in members]
        runs += [found[0], len(found)]
    return runs


def _indexed(texts: Iterable[str]) -> dict[str, Any]:
    """Return the distinct texts and which one each row has: `at`, or `runs` of (place, length) where shorter."""
    distinct, at = _numbered(texts)
    values = list(map(visible, distinct))
    runs: list[int] = []
    for place, members in groupby(at):
        runs += [place, len(list(members))]
    # Questions and replays come in long runs, verdicts and flags do not.
    if len(runs) < len(at):
        return {"values": values, "runs": runs}
    return {"values": values, "at": at}


def _elements(failing: dict[int, Pair]) -> dict[str, Any]:
    """Return what is known of single elements: how many are outside, and the worst of them."""
    outside: dict[int, str] = {}
    worst: dict[int, list[str]] = {}
    for place, pair in failing.items():
        if pair.outside:
            outside[place] = f"{pair.outside} of {pair.size}"
        if pair.worst is not None:
            worst[place] = _worst(pair.worst)
    return {"outside": outside, "worst": worst}


def _worst(worst: Worst) -> list[str]:
    """Return place, reference and candidate value of the worst element as texts."""
    index = ", ".join(map(str, worst.index))
    return [index, *apart(worst.reference, worst.candidate)]
