"""Which of the reference's runs is off where two of them disagree by more than rounding explains, and what rests on it.

The working run and the float64 run beside it cannot tell which of them is wrong; the candidate can, being a third
computation of the same thing. Where it agrees with the working run within rounding, and much better than the float64
run does, the float64 run is off (`twin-error`); else the working run is taken to be (`reference-error`). A pair of
float64 runs that fails is asked the same, so that a wrong twin is no finding about a candidate that agrees with the
reference's own working run.

A tensor that is off is off for every pair that rests on it: the layer replay sees an error of the working run that the
depth of the free run would hide. Such tensors are known here by the identity of their records, of which a run has one each.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from parity.compare.ceiling import Model, working_type
from parity.compare.judge import Limits, is_within, limits_of
from parity.compare.limits import MAX_FACTOR, NEARER, RMS_FACTOR
from parity.compare.work import Held
from parity.distance.measure import measure
from parity.distance.sums import NOTHING
from parity.result import OF_REFERENCE, measured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from parity.compare.plan import Job
    from parity.distance.sums import Distances
    from parity.result import Flag, Pair

__all__ = ["Work", "find_errors"]

_OFF: Final = frozenset(OF_REFERENCE)
_WORKING: Final = "the layer replay shows that the reference's working run is off here"
_TWIN: Final = "the candidate agrees with the reference's working run, and its float64 run with neither"


class Work(NamedTuple):
    """A pair, and the job that it is of."""

    pair: Pair
    job: Job

    def flag(self, flag: Flag, said: str) -> None:
        """Flag the pair, and say why."""
        self.pair.flags.append(flag)
        self.pair.detail = "; ".join(filter(None, (self.pair.detail, said)))


def find_errors(work: Sequence[Work], policy: str) -> None:
    """Flag every pair that rests on a tensor of the reference that is off.

    Args:
        work: All pairs of a candidate; those beyond their ceiling are flagged `reference-error`.
        policy: What the working run computes with (`Manifest.policy`).
    """
    off = dict(_off_by_ceiling(work, policy)) | _off_by_semantics(work, policy)
    if off:
        for item in filter(_is_open, work):
            _hand_on(item, off, policy)


def _is_open(item: Work) -> bool:
    """Tell whether a pair has numbers, and nothing is known to be wrong with the reference there."""
    return bool(item.pair.ground) and _OFF.isdisjoint(item.pair.flags)


def _hand_on(item: Work, off: Mapping[int, Flag], policy: str) -> None:
    """Flag a pair if it rests on a tensor that is off."""
    expected = off.get(id(item.job.expected))
    working = off.get(id(item.job.working))
    if "reference-error" in {expected, working}:
        item.flag("reference-error", _WORKING)
        return
    # A twin that is off says nothing against a candidate that agrees with it, or else with the working run.
    if expected == "twin-error" and (is_within(item.pair) or _agrees_with_working(item, policy)):
        item.flag("twin-error", _TWIN)


def _off_by_ceiling(work: Sequence[Work], policy: str) -> Iterator[tuple[int, Flag]]:
    """Yield the records that are off of pairs beyond their ceiling; flag those anew of which the float64 run's is."""
    for item in filter(_is_beyond, work):
        if _agrees_with_working(item, policy):
            item.pair.flags.remove("reference-error")
            item.flag("twin-error", _TWIN)
            yield id(item.job.expected), "twin-error"
        elif item.job.run.mode == "layers":
            # In longer replays a working run may be off by what it was given.
            yield id(item.job.working), "reference-error"


def _is_beyond(item: Work) -> bool:
    """Tell whether the reference's own error of a pair is beyond its ceiling."""
    return "reference-error" in item.pair.flags


def _off_by_semantics(work: Sequence[Work], policy: str) -> dict[int, Flag]:
    """Flag the pairs of float64 runs that fail because the reference's is off, and return its records."""
    off: dict[int, Flag] = {}
    # What the free run shows of the twin spares a look at tensors of which it is right.
    apart = {item.job.address: measured(item.pair.reference_max) for item in filter(_holds_twin, work)}
    for item in filter(_fails_in_float64, work):
        seen = apart.get(item.job.address, math.inf)
        may_be = 2 * seen > measured(item.pair.error_max)
        if may_be and _is_twin_off(item.job, policy):
            item.flag("twin-error", _TWIN)
            off[id(item.job.expected)] = "twin-error"
    return off


def _fails_in_float64(item: Work) -> bool:
    """Tell whether a pair of float64 runs is beyond its limits, by these alone."""
    pair = item.pair
    if (pair.ground, pair.hard) != ("float64", ""):
        return False
    return not is_within(pair)


def _holds_twin(item: Work) -> bool:
    """Tell whether a pair holds the working run against the twin itself."""
    return (item.pair.ground, item.job.run.mode) == ("floor", "free")


def _is_twin_off(job: Job, policy: str) -> bool:
    """Tell whether two float64 runs differ because the reference's is off: the candidate's agrees with the working run."""
    found = _around_working(job)
    if not _is_nearer(found):
        return False
    # Since the candidate is so near to it the working run errs by little, however deep its tensor lies.
    dtype = working_type(job.run.working_dtype, policy)
    of_rounding = Model.of(dtype).ceiling(found)
    if of_rounding.covers(found.working_rms, found.working_max):
        return False
    of_run = Model.of_run(dtype).ceiling(found)
    return of_run.covers(found.error_rms, found.error_max)


def _agrees_with_working(item: Work, policy: str) -> bool:
    """Tell whether a candidate agrees with the working run, and the float64 run does not."""
    found = _around_working(item.job)
    if not _is_nearer(found):
        return False
    within = limits_of(item.pair).allow(found.error_rms, found.error_max)
    return within or _limits_around_working(item.job, found, policy).allow(found.error_rms, found.error_max)


def _limits_around_working(job: Job, found: Distances, policy: str) -> Limits:
    """Return the limits that a pair would have if its float64 run were as large as the working run: one that is off may be zero."""
    dtype = working_type(job.run.working_dtype, policy)
    model = Model.of(dtype) if job.run.mode == "layers" else Model.of_run(dtype)
    floor = model.ceiling(found)
    return Limits(RMS_FACTOR * floor.rms, MAX_FACTOR * floor.max)


def _is_nearer(found: Distances) -> bool:
    """Tell whether the candidate is much nearer to the working run than the float64 run is."""
    if found.problem:
        return False
    return NEARER * found.error_max < found.working_max


def _around_working(job: Job) -> Distances:
    """Measure how far the candidate (`error`) and the float64 run (`working`) are from the working run, if there is one."""
    run = job.run
    if job.witness is None or run.working is None:
        return NOTHING
    working = Held(run.working, job.witness)
    candidate = Held(run.candidate, job.candidate)
    expected = Held(job.expected_run, job.expected)
    return measure(working.read(), candidate.read(), expected.read())
