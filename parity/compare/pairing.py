"""From a job and its measurement to a pair with numbers, floor and flags; `decide` gives it its verdict."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from parity.compare.floor import NO_PLATFORM, NO_POOL, Floor, Platform, floor_of, model_floor, pooled
from parity.compare.limits import DEPTH, MAX_FACTOR, RMS_FACTOR, VALUE_ULPS
from parity.compare.plan import path_of
from parity.compare.work import obstacle
from parity.distance.exact import Exact, same_value
from parity.distance.measurement import Measure
from parity.dtypes import bits, eps, is_float
from parity.result import MEASURES, Pair, Worst, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from parity.compare.plan import Job, RunPlan
    from parity.compare.work import Found
    from parity.result import Flag, Question, Verdict
    from parity.trace import Manifest

__all__ = ["Pairing", "pairs_of"]

_HOPELESS: Final = {
    "nan": "NaN in the reference",
    "working": "the reference's own run is not finite where its float64 twin is",
}

_FIRST_PASS: Final = [
    (known.name, known.taken or known.name) for known in MEASURES if known.source == "first pass" and known.of is None
]
_OF_WORKING: Final = [(known.name, known.taken or known.name) for known in MEASURES if known.source == "working"]


class Pairing:
    """What a run's pairs have in common: islands, operator kinds, the platform's terms, repeatability."""

    def __init__(self, run: RunPlan, reference: Manifest) -> None:
        """Look them up once for the run."""
        self.run = run
        self.islands = _with_parents(island.path for island in reference.islands)
        self.repeat = reference.checks.repeat_max_abs
        rows = run.manifest.alignment
        self.has_table = rows is not None
        self.kinds = {row.path: row.kind for row in rows or []}
        terms = run.manifest.floors
        self.platform = {
            kind: Platform(table[run.dtype].get("rel_l2", 0.0), table[run.dtype].get("rel_max", 0.0))
            for kind, table in terms.items()
            if run.dtype in table
        }

    def pair(self, job: Job, found: Found, pools: Mapping[str, Floor]) -> Pair:
        """Return the pair of a job, with numbers and flags and the verdict still open."""
        if isinstance(found, Measure):
            return self._of_floats(job, found, pools)
        if job.exact.kind == "value" == job.candidate.kind:
            return self._of_values(job)
        blocked = obstacle(job)
        if blocked is not None:
            return self._bare(job, *blocked)
        if found is None:
            return self._bare(job, "INCOMPARABLE", "not measured")
        return self._of_exact(job, found)

    def _bare(self, job: Job, verdict: Verdict, detail: str) -> Pair:
        """Return a pair without numbers."""
        run, exact = self.run, job.exact
        return Pair(
            address=job.address,
            native=job.candidate.native,
            stage=exact.stage,
            question=run.question,
            mode=run.mode,
            dtype=run.dtype,
            verdict=verdict,
            order=job.order,
            shape=exact.shape,
            detail=detail,
        )

    def _of_values(self, job: Job) -> Pair:
        """Compare plain values: exactly, floats up to the rounding of the run's type."""
        first, second = job.exact_run.value(job.address), self.run.candidate.value(job.address)
        equal = same_value(first, second) or _close(first, second, self.run.dtype)
        pair = self._bare(job, "MATCH", "")
        pair.ground, pair.size, pair.outside = "exact", 1, 0 if equal else 1
        pair.worst = Worst(index=(), reference=_shown(first), candidate=_shown(second))
        if not equal:
            pair.detail = f"{second!r}; the reference has {first!r}"
        elif type(first) is not type(second):
            pair.flags.append("mixed-dtype")
        return pair

    def _of_exact(self, job: Job, found: Exact) -> Pair:
        """Return the pair of two tensors of which one holds integers."""
        if found.problem:
            return self._bare(job, "INCOMPARABLE", "NaN in the reference")
        rms, peak = found.error_rms, found.error_max
        pair = self._bare(job, "MATCH", "")
        pair.ground, pair.size, pair.outside = "exact", found.size, found.unequal
        pair.scale, pair.error_rms = number(found.scale), number(rms)
        pair.error_max = pair.max_abs = number(peak)
        pair.rel_l2 = number(rms / found.scale if found.scale else (math.inf if found.unequal else 0.0))
        if job.exact.dtype != job.candidate.dtype:
            pair.flags.append("mixed-dtype")
        return pair

    def _of_floats(self, job: Job, found: Measure, pools: Mapping[str, Floor]) -> Pair:
        """Return the pair of two floating tensors."""
        if found.problem in _HOPELESS:
            return self._bare(job, "INCOMPARABLE", _HOPELESS[found.problem])
        pair = self._bare(job, "MATCH", "")
        own = None if job.own is None else job.own.dtype
        types = _types(self.run.question, self.run.dtype, job.exact.dtype, job.candidate.dtype, own)
        pair.ground, pair.flags = job.ground, self._flags(job)
        if types.mixed:
            pair.flags.append("mixed-dtype")
        pair.hard = "not finite" if found.problem else types.hard
        if found.misplaced:
            pair.detail = f"{found.misplaced} elements not finite, or of another sign, where the other side's are"
        for name, taken in _FIRST_PASS:
            setattr(pair, name, number(getattr(found, taken)))
        pair.cosine = number(found.cosine)  # known already where it follows from a small error
        if job.ground == "floor":
            for name, taken in _OF_WORKING:
                setattr(pair, name, number(getattr(found, taken)))
        if job.ground != "float64":
            floor = self._floor(job, found, types.output, pools)
            pair.floor_rms, pair.floor_max = number(floor.rms), number(floor.max)
            if job.ground == "model":
                self._flag_depth(job, found, floor, pair.flags)
        return pair

    def _flags(self, job: Job) -> list[Flag]:
        """Return `island` where the reference computes in float32 inside its float64 run."""
        if self.run.question != "semantics":
            return []
        narrow = is_float(job.exact.dtype) and job.exact.dtype != "float64"
        return ["island"] if narrow or job.exact.island is not None or path_of(job.address) in self.islands else []

    def _floor(self, job: Job, found: Measure, output_type: str, pools: Mapping[str, Floor]) -> Floor:
        """Return the measured floor of a pair, or the modelled one in the same units."""
        if job.ground == "model":
            return model_floor(output_type, found.scale)
        platform = self.platform.get(self.kinds.get(path_of(job.address)) or "", NO_PLATFORM)
        return floor_of(
            found, output_type, platform, self.repeat.get(job.address, 0.0), pools.get(pool_key(job), NO_POOL)
        )

    def _flag_depth(self, job: Job, found: Measure, floor: Floor, flags: list[Flag]) -> None:
        """Flag a composite or a free run whose error may be the depth's: no model bounds it."""
        if found.error_rms <= DEPTH * RMS_FACTOR * floor.rms and found.error_max <= DEPTH * MAX_FACTOR * floor.max:
            composite = self.has_table and self.kinds.get(path_of(job.address)) is None
            if composite or self.run.mode != "layers":
                flags.append("unbounded-depth")


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
def _types(question: Question, asked: str, exact: str, candidate: str, own: str | None) -> _Types:
    """Judge the type of the candidate's tensor: asked is the run's, or the reference's where that is narrower."""
    recorded = exact if question == "semantics" or own is None else own
    if is_float(recorded) and bits(recorded) < bits(asked):
        asked = recorded
    mixed = is_float(candidate) and candidate != asked
    hard = "narrower type" if mixed and bits(candidate) < bits(asked) else ""
    return _Types(coarser(own or exact, candidate), mixed, hard)


@lru_cache(maxsize=256)
def coarser(first: str, second: str) -> str:
    """Return the type with fewer mantissa bits; one that is no float does not count."""
    if not (is_float(first) and is_float(second)):
        return first if is_float(first) else (second if is_float(second) else "float32")
    return first if bits(first) <= bits(second) else second


def pool_key(job: Job) -> str:
    """Return what a module's steps and calls share: path and port."""
    place, _, port = job.address.rpartition(":")
    return f"{place.partition('@')[0]}:{port}"


def pairs_of(pairing: Pairing, jobs: Sequence[Job], found: Sequence[Found]) -> list[Pair]:
    """Return the pairs of a run's jobs."""
    pools = pooled(
        (pool_key(job), measure)
        for job, measure in zip(jobs, found, strict=True)
        if job.ground == "floor" and isinstance(measure, Measure)
    )
    return [pairing.pair(job, measure, pools) for job, measure in zip(jobs, found, strict=True)]


def _with_parents(paths: Iterable[str]) -> frozenset[str]:
    """Return the paths and those of every module around them: what contains an island is one."""
    found: set[str] = set()
    for path in paths:
        parts = path.split(".")
        found.update(".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return frozenset(found)


def _close(first: object, second: object, dtype: str) -> bool:
    """Tell whether two plain numbers, one of them a float, differ by rounding alone."""
    if (
        not isinstance(first, (int, float))
        or not isinstance(second, (int, float))
        or isinstance(first, bool)
        or isinstance(second, bool)
    ):
        return False
    if not (isinstance(first, float) or isinstance(second, float)):
        return False
    return math.isclose(first, second, rel_tol=VALUE_ULPS * eps(dtype if is_float(dtype) else "float32"), abs_tol=0.0)


def _shown(value: object) -> float | str:
    """Return a plain value as a result can hold it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return str(value)
