"""Measuring the jobs of a plan: small tensors in batches, large ones each by itself, several at once in threads.

numpy lets other threads run while it works on a block, so threads share the memory bandwidth without copies.
The worker of a batch only reads and measures; verdicts are made afterwards, in order.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from parity.compare.batch import LARGEST, measure_many
from parity.compare.exactly import Exact, is_exact, measure_exact
from parity.compare.metrics import Measure, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from parity.compare.plan import Job

__all__ = ["Found", "measure_jobs", "obstacle"]

Found = Measure | Exact | None
"""What was measured; None for a job that `obstacle` or a plain value decides."""

_BATCH: Final = 1 << 15
_SHARE: Final = 1 << 20


def obstacle(job: Job) -> tuple[str, str] | None:
    """Return the verdict and the reason of a pair of tensors that cannot be measured, or None."""
    exact, candidate = job.exact, job.candidate
    if exact.kind != candidate.kind:
        return "INCOMPARABLE", f"the reference recorded a {exact.kind}, the candidate a {candidate.kind}"
    if exact.kind == "value":
        return None
    if exact.shape != candidate.shape:
        return "INCOMPARABLE", f"shape {list(candidate.shape)}; the reference has {list(exact.shape)}"
    if exact.dtype.startswith("complex") != candidate.dtype.startswith("complex"):
        return "INCOMPARABLE", f"{candidate.dtype}; the reference has {exact.dtype}"
    if 0 in exact.shape:
        return "MISSING", "empty on both sides; nothing was compared"
    return None


def measure_jobs(jobs: Sequence[Job], threads: int, progress: Callable[[int, int], None] | None = None) -> list[Found]:
    """Measure all jobs, in the order given; `progress` hears how many are done, of how many."""
    found: list[Found] = [None] * len(jobs)
    shares = list(_shares(jobs))
    total = sum(len(share) for _, share in shares)
    done = 0

    def work(task: tuple[str, list[int]]) -> int:
        _measure_share(jobs, task[0], task[1], found)
        return len(task[1])

    if threads <= 1 or len(shares) <= 1:
        for task in shares:
            done += work(task)
            if progress is not None:
                progress(done, total)
        return found
    with ThreadPoolExecutor(threads) as pool:
        for count in pool.map(work, shares):
            done += count
            if progress is not None:
                progress(done, total)
    return found


def _shares(jobs: Sequence[Job]) -> Iterator[tuple[str, list[int]]]:
    """Cut the jobs into shares of a thread: batches of small tensors of the same types, and the others by size."""
    batches: dict[tuple[str, str, str], list[int]] = {}
    sizes: dict[tuple[str, str, str], int] = {}
    large: list[tuple[int, int]] = []
    for number, job in enumerate(jobs):
        if job.exact.kind == "value" or obstacle(job) is not None:
            continue
        size = _size(job.exact.shape)
        exact, candidate = job.exact.dtype, job.candidate.dtype
        if size > LARGEST or exact.startswith("complex") or is_exact(exact, candidate):
            large.append((size, number))
            continue
        key = (exact, candidate, "" if job.own is None else job.own.dtype)
        batches.setdefault(key, []).append(number)
        sizes[key] = sizes.get(key, 0) + size
        if sizes[key] >= _BATCH:
            yield "batch", batches.pop(key)
            del sizes[key]
    large.sort(reverse=True)
    share: list[int] = []
    room = _SHARE
    for size, number in large:
        share.append(number)
        room -= size
        if room <= 0:
            yield "each", share
            share, room = [], _SHARE
    if share:
        yield "each", share
    for numbers in batches.values():
        yield "batch", numbers


def _size(shape: Sequence[int]) -> int:
    """Return the number of elements."""
    size = 1
    for length in shape:
        size *= length
    return size


def _measure_share(jobs: Sequence[Job], kind: str, numbers: Sequence[int], found: list[Found]) -> None:
    """Measure the jobs of one share into their places."""
    if kind == "each":
        for number in numbers:
            found[number] = _measure_one(jobs[number])
        return
    first = jobs[numbers[0]]
    types = (first.exact.dtype, first.candidate.dtype, "" if first.own is None else first.own.dtype)
    groups = [tensors(jobs[number]) for number in numbers]
    for number, measured in zip(numbers, measure_many(groups, types), strict=True):
        found[number] = measured


def tensors(job: Job) -> tuple[Any, Any, Any]:
    """Read the exact tensor, the candidate's, and the reference's own or None."""
    own = None
    if job.own is not None and job.run.own is not None:
        own = job.run.own.tensor(job.address)
    return job.exact_run.tensor(job.address), job.run.candidate.tensor(job.address), own


def _measure_one(job: Job) -> Found:
    """Measure one pair by itself."""
    exact, candidate, own = tensors(job)
    types = job.exact.dtype, job.candidate.dtype, "" if job.own is None else job.own.dtype
    if is_exact(types[0], types[1]):
        return measure_exact(exact, types[0], candidate, types[1], own, types[2])
    return measure(exact, types[0], candidate, types[1], own, types[2])
