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
    for trace in filter(is_reference, candidates):
        if trace.digest == reference.digest:
            return f"{trace.folder} holds the same as {reference.folder}, which says nothing of another program"
        if trace.manifest.name == reference.manifest.name:
            return f"both sides are recordings by {reference.manifest.name}, which says that it repeats itself"
    if equal:
        return "all tensors are equal bit for bit, as those of one program are"
    if reference.plain and pairs and all(map(_has_equal_values, pairs)):
        return "all values that were read are equal"
    return ""


def are_equal(jobs: Sequence[Job]) -> bool:
    """Tell by their digests whether the tensors of all jobs are equal bit by bit; none have to be."""
    found = [job for job in jobs if job.candidate.kind == "tensor"]
    return bool(found) and all(map(_is_equal, found))


def _is_equal(job: Job) -> bool:
    """Tell whether the candidate's tensor is the one that is expected, or that of the reference's own run."""
    wanted = {record.digest for record in (job.expected, job.working) if record is not None}
    return bool(job.candidate.digest) and job.candidate.digest in wanted


def _has_equal_values(pair: Pair) -> bool:
    """Tell whether both sides of a pair have the same values in the same type."""
    return pair.verdict == "MATCH" and not (pair.outside or pair.max_abs or "mixed-dtype" in pair.flags)
