"""From a job and its measurement to a pair with numbers, floor and flags; `decide` gives it its verdict."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from math import isclose, isfinite
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from parity.address import path_of, port_of
from parity.compare.ceiling import Ceiling, ceilings
from parity.compare.floor import NO_POOL, Floor, Platform, coarser, floor_of, model_floor, pooled
from parity.compare.judge import is_within
from parity.compare.limits import DEPTH, VALUE_ULPS
from parity.compare.plan import blank
from parity.compare.platform import excesses_inside
from parity.compare.work import Obstacle
from parity.distance.exact import Exact, same_value
from parity.distance.sums import Distances
from parity.dtypes import FLOATS, eps, is_float
from parity.result import MEASURES, Worst, measured, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from parity.compare.plan import Job, RunPlan
    from parity.compare.work import Found
    from parity.result import Flag, Pair, Verdict
    from parity.trace import Island, Manifest

__all__ = ["Pairing", "pairs_of"]

_INEXACT: Final[tuple[set[type], ...]] = ({float}, {float, int})
"""The types of two plain numbers of which one is a float: no truth values, which are integers too."""

_NARROWER: Final = frozenset(FLOATS) - {"float64"}

_HOPELESS: Final = {
    "nan": "NaN in the reference",
    "working": "the reference's own run is not finite where its float64 twin is",
}

_FLAGGED: Final[dict[str, tuple[Flag, ...]]] = {"working": ("reference-error",)}


class _Taken:
    """The measures of one source, ready to be copied from a measurement to a pair."""

    def __init__(self, source: str) -> None:
        """Look up what the pair calls them, and what the measurement does."""
        called = {
            known.name: known.taken or known.name for known in MEASURES if known.source == source and not known.of
        }
        self._names = tuple(called)
        self._read: Callable[[Distances], tuple[Any, ...]] = attrgetter(*called.values())

    def copy(self, found: Distances, pair: Pair) -> None:
        """Copy them."""
        values = self._read(found)
        # Of numbers that are not finite the sum is not either: asking it alone spares a call for nearly every number.
        if not isfinite(sum(values)):
            values = tuple(map(number, values))
        for name, value in zip(self._names, values, strict=True):
            setattr(pair, name, value)


_FIRST_PASS: Final = _Taken("first pass")
_OF_WORKING: Final = _Taken("working")


class Pairing:
    """What a run's pairs have in common: islands, operator kinds, the platform's terms, repeatability."""

    def __init__(self, run: RunPlan, reference: Manifest) -> None:
        """Look them up once for the run."""
        self.run = run
        self.reference = reference
        self.islands = _with_parents(reference.islands)
        self.repeat = reference.checks.repeat_max_abs
        rows = run.manifest.alignment
        self.has_table = rows is not None
        self.kinds = {row.path: row.kind for row in rows or () if row.kind is not None}
        self.suspected: dict[str, dict[str, float]] = {}
        if (run.mode, run.ground) == ("layers", "floor"):
            self.suspected = excesses_inside(run.manifest, reference, run.dtype)

    def pair(self, job: Job, found: Found, pools: Mapping[str, Floor], ceiling: Ceiling | None) -> Pair:
        """Return the pair of a job, with numbers and flags and the verdict still open."""
        if found is None:
            return self._of_values(job)
        if isinstance(found, Obstacle):
            return self._bare(job, found.verdict, found.detail)
        if found.problem in _HOPELESS:
            return self._hopeless(job, found.problem)
        if isinstance(found, Exact):
            return self._of_exact(job, found)
        pair = self._of_floats(job, found)
        if ceiling is not None:
            self._set_measured_floor(pair, job, found, pools, ceiling)
        return pair

    def _bare(self, job: Job, verdict: Verdict = "MATCH", detail: str = "") -> Pair:
        """Return the pair of a job without numbers."""
        return blank(self.run, job.expected, job.candidate.native, job.order, verdict, detail)

    def _hopeless(self, job: Job, problem: str) -> Pair:
        """Return the pair of a job with numbers of the reference that nothing can be held against."""
        pair = self._bare(job, "INCOMPARABLE", _HOPELESS[problem])
        pair.flags.extend(_FLAGGED.get(problem, ()))
        return pair

    def _of_values(self, job: Job) -> Pair:
        """Compare plain values: exactly, floats up to the rounding of the run's type."""
        first = job.expected_run.value(job.address)
        second = self.run.candidate.value(job.address)
        equal = same_value(first, second) or _is_rounded_alike(first, second, self.run.dtype)
        pair = self._bare(job)
        pair.ground = "exact"
        pair.size = 1
        pair.outside = int(not equal)
        pair.worst = Worst(index=(), reference=_shown(first), candidate=_shown(second))
        if not equal:
            pair.detail = f"{second!r}; the reference has {first!r}"
        elif type(first) is not type(second):
            pair.flags.append("mixed-dtype")
        return pair

    def _of_exact(self, job: Job, found: Exact) -> Pair:
        """Return the pair of two tensors of which one holds integers."""
        pair = self._bare(job)
        pair.ground = "exact"
        pair.size = found.size
        pair.outside = found.unequal
        pair.scale = number(found.scale)
        pair.error_rms = number(found.error_rms)
        pair.error_max = pair.max_abs = number(found.error_max)
        pair.rel_l2 = number(found.rel_l2)
        if job.expected.dtype != job.candidate.dtype:
            pair.flags.append("mixed-dtype")
        return pair

    def _of_floats(self, job: Job, found: Distances) -> Pair:
        """Return the pair of two floating tensors, without its floor where that is measured."""
        pair = self._bare(job)
        types = _types(self.run.dtype, *job.types)
        pair.ground = job.ground
        pair.hard = types.hard
        if found.misplaced:
            pair.hard = "not finite"
            pair.detail = f"{found.misplaced} elements not finite, or of another sign, where the other side's are"
        _FIRST_PASS.copy(found, pair)
        pair.cosine = found.cosine_at(measured(pair.rel_l2))  # known already where it follows from a small error
        if self.run.question == "semantics" and self._is_island(job):
            pair.flags.append("island")
        if types.mixed:
            pair.flags.append("mixed-dtype")
        if job.ground == "model":
            _set_floor(pair, model_floor(types.output, measured(pair.scale)))
            if self._may_be_deep(job) and is_within(pair, DEPTH):
                pair.flags.append("unbounded-depth")
        return pair

    def _is_island(self, job: Job) -> bool:
        """Tell whether the reference computes in a narrower type here, inside its float64 run."""
        expected = job.expected
        return expected.dtype in _NARROWER or expected.island is not None or path_of(job.address) in self.islands

    def _set_measured_floor(
        self, pair: Pair, job: Job, found: Distances, pools: Mapping[str, Floor], ceiling: Ceiling
    ) -> None:
        """Set the floor that the reference's own error and the candidate's platform give, and what is wrong with it."""
        _OF_WORKING.copy(found, pair)
        _set_floor(pair, self._measured_floor(job, found, pools, ceiling.floor))
        pair.platform = self.suspected.get(path_of(job.address), pair.platform)
        pair.flags.extend(ceiling.flags)
        pair.detail = "; ".join(filter(None, (pair.detail, ceiling.fault)))

    def _measured_floor(self, job: Job, found: Distances, pools: Mapping[str, Floor], ceiling: Floor) -> Floor:
        """Return the floor that the reference's own error and the candidate's platform set, not above its ceiling."""
        kind = self.kinds.get(path_of(job.address), "")
        terms = self.run.manifest.floors.get(kind, {}).get(self.run.dtype, {})
        return floor_of(
            found,
            _types(self.run.dtype, *job.types).output,
            platform=Platform(terms.get("rel_l2", 0.0), terms.get("rel_max", 0.0)),
            repeat=self.repeat.get(job.address, 0.0),
            pool=pools.get(_pool_key(job), NO_POOL),
            ceiling=ceiling,
        )

    def _may_be_deep(self, job: Job) -> bool:
        """Tell whether more than one operator made this tensor from what both sides have in common."""
        if self.run.mode != "layers":
            return True
        return self.has_table and path_of(job.address) not in self.kinds


def _set_floor(pair: Pair, floor: Floor) -> None:
    """Give a pair its floor, of which its limits are multiples."""
    pair.floor_rms = number(floor.rms)
    pair.floor_max = number(floor.max)


class _Types(NamedTuple):
    """What follows from the types of a pair.

    Attributes:
        output: The type in which both sides write the result, the coarser where they differ.
        mixed: Whether the candidate delivers another type than asked.
        hard: The fault that no tolerance excuses, where that type is narrower.
    """

    output: str
    mixed: bool
    hard: str


@lru_cache(maxsize=256)
def _types(asked: str, expected: str, candidate: str, working: str | None) -> _Types:
    """Judge the type of the candidate's tensor: asked is the run's, or the reference's where that is narrower."""
    recorded = working or expected
    asked = coarser(asked, recorded)
    is_mixed = is_float(candidate) and candidate != asked
    is_narrower = coarser(asked, candidate) != asked
    return _Types(
        output=coarser(recorded, candidate),
        mixed=is_mixed,
        hard="narrower type" if is_narrower else "",
    )


def pairs_of(pairing: Pairing, jobs: Sequence[Job], found: Sequence[Found]) -> list[Pair]:
    """Return the pairs of a run's jobs."""
    pools = pooled(_with_measured_floor(jobs, found))
    limits = ceilings(pairing.run, jobs, found, pairing.reference)
    return [pairing.pair(job, it, pools, limit) for job, it, limit in zip(jobs, found, limits, strict=True)]


def _with_measured_floor(jobs: Sequence[Job], found: Sequence[Found]) -> Iterator[tuple[str, Distances]]:
    """Yield what was measured of pairs that are held against the reference's own error, each with its module's key."""
    for job, it in zip(jobs, found, strict=True):
        if job.ground == "floor" and isinstance(it, Distances):
            yield _pool_key(job), it


def _pool_key(job: Job) -> str:
    """Return what a module's steps and calls share: path and port."""
    return f"{path_of(job.address)}:{port_of(job.address)}"


def _with_parents(islands: Iterable[Island]) -> frozenset[str]:
    """Return the paths of islands and of every module around them: what contains an island is one."""
    found: set[str] = set()
    for island in islands:
        found.update(accumulate(island.path.split("."), "{}.{}".format))
    return frozenset(found)


def _is_rounded_alike(first: Any, second: Any, dtype: str) -> bool:
    """Tell whether two plain numbers, one of them a float, differ by rounding alone."""
    kinds = {type(first), type(second)}
    if kinds not in _INEXACT:
        return False
    rounding = eps(dtype if is_float(dtype) else "float32")
    return isclose(first, second, rel_tol=VALUE_ULPS * rounding, abs_tol=0.0)


def _shown(value: Any) -> float | str:
    """Return a plain value as a result can hold it."""
    if type(value) in {int, float} and isfinite(value):
        return float(value)
    return str(value)
