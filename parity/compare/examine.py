"""A second look at pairs that fail or come near their limit: place, ulp, and the grid of a half type.

The first pass adds numbers up and forgets where they came from; what is wrong with a pair costs more than that it is
wrong, so it is worked out here, for few of them.
"""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec

from parity.compare.floor import coarser, model_floor, ulp
from parity.compare.judge import limits_of
from parity.compare.limits import GRID_MIN_REL, GRID_MIN_SIZE, MODEL_ULPS, MOST_ULPS, NEAR
from parity.compare.work import each, laid, shared_out, tensors
from parity.distance.exact import locate_exact
from parity.distance.grid import WORDS, on_half_grid, on_half_grid_many
from parity.distance.ulp import has_ulps, largest_ulps, largest_ulps_many, some_beyond_ulps
from parity.distance.where import locate, locate_many
from parity.result import MEASURES, Worst, measured, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from parity.compare.judge import Limits
    from parity.compare.plan import Job
    from parity.compare.rules import RuleBook
    from parity.compare.work import Tensors
    from parity.distance.place import Place
    from parity.result import Pair

__all__ = ["examine_all"]

_HALVES: Final = frozenset({"float16", "bfloat16"})
_SECOND: Final = frozenset(known.name for known in MEASURES if known.source == "second look")


class _Item(msgspec.Struct, frozen=True, gc=False):
    """A pair to look at again, with the limits that it has before."""

    pair: Pair
    job: Job
    limits: Limits
    counts_ulps: bool
    compiled: bool

    @property
    def limit(self) -> float:
        """The limit beyond which an element is outside: that of the maximum unless only the rms fails."""
        limits, pair = self.limits, self.pair
        is_rms_alone = measured(pair.error_max) <= limits.max and measured(pair.error_rms) > limits.rms
        if is_rms_alone:
            return limits.rms
        return limits.max

    @property
    def cosine(self) -> float | None:
        """The cosine where the first pass knows it."""
        cosine = self.pair.cosine
        if cosine is None:
            return None
        return measured(cosine)

    @property
    def output_type(self) -> str:
        """The type in which both sides write the result, the coarser where they differ."""
        return coarser(self.job.expected.dtype, self.job.candidate.dtype)


class _Findings(msgspec.Struct, frozen=True, gc=False):
    """What a look finds of a pair.

    Attributes:
        place: Where the error is.
        ulps: The largest distance in ulp; None where none are counted.
        on_grid: Whether all of the candidate lies on the grid of a half type.
    """

    place: Place
    ulps: float | None
    on_grid: bool


def examine_all(work: Iterable[tuple[Pair, Job]], threads: int, book: RuleBook, *, compiled: bool = False) -> None:
    """Look again at every pair that needs it, several at once; a rule on cosine or ulp needs it too."""
    shares = shared_out(_items(work, book, compiled=compiled), attrgetter("job"))
    for _ in each(_examine, shares.large, shares.single, threads):
        pass
    for batch in shares.together:
        _examine_many(batch)


def _items(work: Iterable[tuple[Pair, Job]], book: RuleBook, *, compiled: bool) -> Iterator[_Item]:
    """Yield the pairs with numbers that need a second look, or have a rule that asks for one."""
    for pair, job in work:
        if pair.error_max is None:
            continue
        limits = limits_of(pair)
        is_asked = _is_asked(pair, book)
        if is_asked or _needs(pair, limits):
            counts_ulps = is_asked or pair.size <= MOST_ULPS
            yield _Item(pair, job, limits, counts_ulps=counts_ulps, compiled=compiled)


def _needs(pair: Pair, limits: Limits) -> bool:
    """Tell whether a pair with numbers fails or comes near its limit."""
    if pair.ground == "exact":
        return bool(pair.outside)
    if pair.hard:
        return True
    return not limits.allow(measured(pair.error_rms), measured(pair.error_max), share=NEAR)


def _is_asked(pair: Pair, book: RuleBook) -> bool:
    """Tell whether the pair's rule looks at a number that only a second look gives."""
    found = book.find(pair)
    if found is None:
        return False
    _, predicate = found
    return not _SECOND.isdisjoint(predicate.names)


def _examine(item: _Item) -> None:
    """Fill in where the error of a pair sits."""
    pair = item.pair
    group = tensors(item.job)
    expected, candidate, _ = group
    if pair.ground == "exact":
        place = locate_exact(expected, candidate)
        pair.worst = Worst.of(place.at, place.reference, place.candidate)
        pair.detail = place.words
        return
    place = locate(
        expected,
        candidate,
        limit=item.limit,
        cosine=item.cosine,
        peak=measured(pair.error_max),
        compiled=item.compiled,
    )
    ulps = None
    if item.counts_ulps and has_ulps(candidate.dtype):
        ulps = largest_ulps(expected, candidate, compiled=item.compiled)
    _settle(item, _Findings(place, ulps, on_half_grid(candidate)), lambda: group)


def _examine_many(items: Sequence[_Item]) -> None:
    """Do the same for small pairs of the same runs and types, none of them exact."""
    layout, expected, candidate = laid([item.job for item in items])
    places = locate_many(
        layout,
        expected,
        candidate,
        limits=[item.limit for item in items],
        cosines=[item.cosine for item in items],
    )
    ulps = largest_ulps_many(layout, expected, candidate)
    on_grid = on_half_grid_many(layout, candidate)
    for item, found in zip(items, map(_Findings, places, ulps, on_grid), strict=True):
        _settle(item, found, partial(tensors, item.job))


def _settle(item: _Item, found: _Findings, read: Callable[[], Tensors]) -> None:
    """Fill in what was found; few pairs need their tensors `read` once more for it."""
    pair = item.pair
    _settle_place(item, found.place, read)
    pair.max_ulp = number(found.ulps)
    # Where the float64 run is off, its values say nothing about those of others.
    shows = "twin-error" not in pair.flags and _grid_shows(pair, item.job)
    if found.on_grid and shows and not _is_grid_expected(read()):
        pair.flags.append("half-precision-grid")
        pair.hard = pair.hard or "half-precision grid"


def _settle_place(item: _Item, place: Place, read: Callable[[], Tensors]) -> None:
    """Fill in where the error is, and raise the floor where only elements are outside that are large themselves."""
    pair = item.pair
    pair.worst = Worst.of(place.at, place.reference, place.candidate)
    pair.cosine = number(place.cosine)
    pair.outside = place.outside
    if _only_large_elements(item, place, read):
        raised = model_floor(item.output_type, measured(pair.scale), peak=measured(pair.error_max))
        pair.floor_max = raised.max
        pair.outside = 0
    else:
        pair.detail = "; ".join(filter(None, (pair.detail, place.words)))


def _only_large_elements(item: _Item, place: Place, read: Callable[[], Tensors]) -> bool:
    """Tell whether elements are beyond the modelled limit, but each by a few ulp of its own; the worst one first."""
    pair, worst = item.pair, place.reference
    has_model_alone = (pair.ground, pair.hard) == ("model", "")
    if not has_model_alone or not place.outside or isinstance(worst, complex):
        return False
    limit = item.limits.max
    allowed = MODEL_ULPS * ulp(item.output_type, worst)
    if measured(pair.error_max) > max(limit, allowed):
        return False
    group = read()
    return not some_beyond_ulps(
        group.expected,
        group.candidate,
        limit=limit,
        output_type=item.output_type,
        allowed=MODEL_ULPS,
        compiled=item.compiled,
    )


def _grid_shows(pair: Pair, job: Job) -> bool:
    """Tell whether values rounded to a half type would show: float16 by their number, a wider type by the error.

    In a run of a half type a wider tensor is made from numbers of that type and may lie on its grid by right, so there
    only an error beyond the limits shows it.
    """
    delivered = job.candidate.dtype
    recorded = (job.working or job.expected).dtype
    if not {pair.dtype, delivered, recorded} <= WORDS.keys():
        return False
    if delivered == "float16":
        return pair.size >= GRID_MIN_SIZE
    error = measured(pair.error_rms)
    peak = measured(pair.error_max)
    if pair.dtype in _HALVES:
        limits = limits_of(pair)  # of the floor that a few large elements may have raised
        return error > limits.rms or peak > limits.max
    return peak >= GRID_MIN_REL * measured(pair.scale)


def _is_grid_expected(group: Tensors) -> bool:
    """Tell whether the reference's values all are numbers of a half type too."""
    return on_half_grid(group.working or group.expected)
