"""A second look at pairs that fail or come near their limit: place, ulp, and the grid of a half type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from parity.compare.floor import model_floor, ulp
from parity.compare.judge import limits_of
from parity.compare.limits import GRID_MIN_REL, GRID_MIN_SIZE, MODEL_ULPS, MOST_ULPS, NEAR
from parity.compare.pairing import coarser
from parity.compare.work import THREADED, each, laid, tensors
from parity.distance.batch import LARGEST
from parity.distance.blocks import BLOCK
from parity.distance.exact import locate_exact
from parity.distance.grid import WORDS, on_half_grid
from parity.distance.look import look_many
from parity.distance.ulp import has_ulps, largest_ulps, some_beyond_ulps
from parity.distance.where import locate
from parity.dtypes import is_float
from parity.result import MEASURES, Worst, measured, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parity.compare.plan import Job
    from parity.compare.rules import RuleBook
    from parity.distance.tensor import Tensor
    from parity.distance.where import Place
    from parity.result import Pair

__all__ = ["examine_all"]

_Limits = tuple[float, float]
_Group = tuple["Tensor", "Tensor", "Tensor | None"]
_TOGETHER: Final = BLOCK // LARGEST
_HALVES: Final = frozenset({"float16", "bfloat16"})
_SECOND: Final = frozenset(known.name for known in MEASURES if known.source == "second look")


def examine_all(work: Iterable[tuple[Pair, Job]], threads: int, book: RuleBook) -> None:
    """Look again at every pair that needs it, several at once; a rule on cosine or ulp needs it too."""
    large: list[tuple[Pair, Job, _Limits, bool]] = []
    small: list[tuple[Pair, Job, _Limits, bool]] = []
    batches: dict[tuple[int, int, str, str], list[tuple[Pair, Job, _Limits]]] = {}
    for pair, job in work:
        limits = limits_of(pair)
        asked = bool(book) and _asks_more(pair, book)
        if not (asked or _needs(pair, limits)):
            continue
        types = job.exact.dtype, job.candidate.dtype
        if pair.ground != "exact" and pair.size <= LARGEST and is_float(types[0]) and is_float(types[1]):
            batches.setdefault((id(job.run), id(job.exact_run), *types), []).append((pair, job, limits))
        else:
            (small if pair.size < THREADED else large).append((pair, job, limits, asked or pair.size <= MOST_ULPS))
    for _ in each(_examine, large, small, threads):
        pass
    for batch in batches.values():
        for start in range(0, len(batch), _TOGETHER):
            _examine_many(batch[start : start + _TOGETHER])


def _needs(pair: Pair, limits: _Limits) -> bool:
    """Tell whether a pair with numbers fails or comes near its limit."""
    if not pair.ground or pair.error_max is None:
        return False
    if pair.ground == "exact":
        return bool(pair.outside)
    rms_limit, max_limit = limits
    near = measured(pair.error_rms) <= NEAR * rms_limit and measured(pair.error_max) <= NEAR * max_limit
    return not near or bool(pair.hard)


def _asks_more(pair: Pair, book: RuleBook) -> bool:
    """Tell whether the pair's rule looks at a number that only a second look gives."""
    found = book.find(pair) if pair.ground and pair.error_max is not None else None
    return found is not None and not _SECOND.isdisjoint(found[1].names)


def _examine(item: tuple[Pair, Job, _Limits, bool]) -> None:
    """Fill in where the error of a pair sits; the last item says whether to count ulp."""
    pair, job, limits, with_ulps = item
    group = exact, candidate, _ = tensors(job)
    if pair.ground == "exact":
        index, first, second, words = locate_exact(exact, candidate)
        pair.worst, pair.detail = Worst(index=index, reference=_shown(first), candidate=_shown(second)), words
        return
    limit, cosine = _limit_of(pair, limits), None if pair.cosine is None else measured(pair.cosine)
    place = locate(exact, candidate, limit, cosine, measured(pair.error_max))
    steps = largest_ulps(exact, candidate) if with_ulps and has_ulps(candidate.dtype) else None
    _settle(pair, job, limits, place, steps, coarse=None, group=group)


def _examine_many(items: Sequence[tuple[Pair, Job, _Limits]]) -> None:
    """Do the same for small pairs of the same runs and types, none of them exact."""
    outer = [_limit_of(pair, limits) for pair, _, limits in items]
    cosines = [None if pair.cosine is None else measured(pair.cosine) for pair, _, _ in items]
    layout, exact, candidate = laid([job for _, job, _ in items])
    unknown = [None] * len(items)
    places, ulps, coarse = look_many(layout, exact, candidate, outer, cosines)
    for item, place, steps, on_grid in zip(items, places, ulps or unknown, coarse or unknown, strict=True):
        _settle(*item, place, steps, coarse=on_grid)


def _limit_of(pair: Pair, limits: _Limits) -> float:
    """Return the limit beyond which an element of a pair is outside: that of the maximum unless only the rms fails."""
    rms_limit, max_limit = limits
    only_rms = measured(pair.error_rms) > rms_limit and measured(pair.error_max) <= max_limit
    return rms_limit if only_rms else max_limit


def _settle(
    pair: Pair, job: Job, limits: _Limits, place: Place, steps: float | None, *, coarse: bool | None,
    group: _Group | None = None,
) -> None:  # fmt: skip
    """Fill in what was found.

    Args:
        pair: What to fill in.
        job: Where its tensors are.
        limits: Those of the pair before this look.
        place: Where the error sits.
        steps: The largest distance in ulp; None: not counted.
        coarse: Whether the candidate lies on the grid of a half type; None: unknown.
        group: The tensors, where they were read already.
    """
    pair.worst = Worst(index=place.at, reference=_shown(place.reference), candidate=_shown(place.candidate))
    pair.cosine, pair.outside = number(place.cosine), place.outside
    if place.outside and _only_large_elements(pair, job, group, limits[1], place.reference):
        pair.floor_max = model_floor(
            coarser(job.exact.dtype, job.candidate.dtype), measured(pair.scale), measured(pair.error_max)
        ).max
        pair.outside = 0
    elif place.words:
        pair.detail = f"{pair.detail}; {place.words}" if pair.detail else place.words
    if steps is not None:
        pair.max_ulp = number(steps)
    if coarse is not False and pair.dtype in WORDS and _is_rounded(pair, job, group):
        pair.flags.append("half-precision-grid")
        pair.hard = pair.hard or "half-precision grid"


def _only_large_elements(pair: Pair, job: Job, group: _Group | None, limit: float, worst: complex) -> bool:
    """Tell whether every element beyond the modelled limit is off by a few ulp of its own; the worst one first."""
    if pair.ground != "model" or pair.hard or isinstance(worst, complex):
        return False
    name = coarser(job.exact.dtype, job.candidate.dtype)
    if measured(pair.error_max) > max(limit, MODEL_ULPS * ulp(name, worst)):
        return False
    exact, candidate, _ = group or tensors(job)
    return not some_beyond_ulps(exact, candidate, limit, name, MODEL_ULPS)


def _shown(value: complex) -> float | str:
    """Return a number of a tensor as a result can hold it."""
    return str(value) if isinstance(value, complex) else number(float(value)) or 0.0


def _is_rounded(pair: Pair, job: Job, group: _Group | None) -> bool:
    """Tell whether the candidate's values all are numbers of a half type, the reference's are not, and it shows.

    In a run of a half type a wider tensor is made from numbers of that type and may lie on its grid by right, so there
    only an error beyond the limits shows it.
    """
    delivered = job.candidate.dtype
    if delivered not in WORDS or (job.own or job.exact).dtype not in WORDS:
        return False
    if delivered == "float16":
        shows = pair.size >= GRID_MIN_SIZE
    elif pair.dtype in _HALVES:
        rms_limit, max_limit = limits_of(pair)  # of the floor that a few large elements may have raised
        shows = measured(pair.error_rms) > rms_limit or measured(pair.error_max) > max_limit
    else:
        shows = measured(pair.error_max) >= GRID_MIN_REL * measured(pair.scale)
    if not shows:
        return False
    exact, candidate, own = group or tensors(job)
    return on_half_grid(candidate) and not on_half_grid(own or exact)
