"""Whether both sides are one: said in the first line, since such a match proves nothing of a port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.compare.references import is_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.compare.plan import Job
    from parity.result import Pair
    from parity.trace import Trace

__all__ = ["are_equal", "sameness"]


def sameness(reference: Trace, candidates: Sequence[Trace], pairs: Sequence[Pair], *, equal: bool) -> str:
    """Say how the sides are the same, or nothing; `equal` where all recorded tensors are, bit by bit."""
    recordings = list(filter(is_reference, candidates))
    if recordings:
        return _of_recordings(reference, recordings[0])
    if equal:
        return "all tensors are equal bit for bit, as those of one program are"
    if reference.plain and all(map(_has_equal_values, pairs)):
        return "all values that were read are equal"
    return ""


def _of_recordings(reference: Trace, other: Trace) -> str:
    """Say how two recordings are the same."""
    if other.digest == reference.digest:
        return f"{other.folder} holds the same as {reference.folder}, which says nothing of another program"
    name = reference.manifest.name
    if other.manifest.name == name:
        return f"both sides are recordings by {name}, which says that it repeats itself"
    return ""


def are_equal(jobs: Sequence[Job]) -> bool:
    """Tell by their digests whether the tensors of all jobs are equal bit by bit."""
    standings = set(map(_standing, jobs))
    standings.discard(None)
    return standings == {True}


def _standing(job: Job) -> bool | None:
    """Tell whether the candidate's tensor is the one that is expected, or the reference's own; None for a plain value."""
    mark = job.candidate.digest
    wanted = {job.expected.digest}
    if job.candidate.kind == "value":
        return None
    if job.working is not None:
        wanted.add(job.working.digest)
    return mark != "" and mark in wanted


def _has_equal_values(pair: Pair) -> bool:
    """Tell whether both sides of a pair have the same values in the same type."""
    distances = {pair.outside, pair.max_abs, 0, None}
    return pair.verdict == "MATCH" and distances == {0, None} and "mixed-dtype" not in pair.flags
