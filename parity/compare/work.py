"""Measuring the jobs of a plan: small tensors in batches, large ones each by itself, the largest in threads.

numpy lets other threads run while it works on a block, so threads share the memory bandwidth without copies.
That pays only where a block's work is long against the hand-over of the interpreter's lock: tensors of less
than a block are measured in the calling thread, while the others are in theirs.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from parity.distance.batch import LARGEST, measure_many
from parity.distance.exact import Exact, is_exact, measure_exact
from parity.distance.measure import measure
from parity.distance.measurement import Measure
from parity.distance.tensor import Layout, Tensor
from parity.distance.window import note_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from parity.compare.plan import Job
    from parity.result import Verdict
    from parity.trace import Record, RunReader

__all__ = ["THREADED", "Found", "each", "laid", "measure_jobs", "obstacle", "tensors"]

Item = TypeVar("Item")

Found = Measure | Exact | None
"""What was measured; None for a job that `obstacle` or a plain value decides."""

THREADED: Final = 1 << 16
"""Elements from which a tensor is worth a thread."""

_BATCH: Final = 1 << 15
_REPORTED: Final = 256


def obstacle(job: Job) -> tuple[Verdict, str] | None:
    """Return the verdict and the reason of a pair of tensors that cannot be measured, or None."""
    exact, candidate = job.exact, job.candidate
    if exact.kind != candidate.kind:
        return "INCOMPARABLE", f"the reference recorded a {exact.kind}, the candidate a {candidate.kind}"
    if exact.kind == "value":
        return None
    if exact.shape != candidate.shape:
        return "INCOMPARABLE", f"shape {list(candidate.shape)}; the reference has {list(exact.shape)}"
    if exact.dtype != candidate.dtype and exact.dtype.startswith("complex") != candidate.dtype.startswith("complex"):
        return "INCOMPARABLE", f"{candidate.dtype}; the reference has {exact.dtype}"
    if 0 in exact.shape:
        return "MISSING", "empty on both sides; nothing was compared"
    return None


def measure_jobs(jobs: Sequence[Job], threads: int, progress: Callable[[int, int], None] | None = None) -> list[Found]:
    """Measure all jobs, in the order given; `progress` hears how many are done, of how many."""
    found: list[Found] = [None] * len(jobs)
    batches, single, large = _sorted(jobs)
    total = sum(map(len, batches)) + len(single) + len(large)
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    def work(numbers: Sequence[int]) -> None:
        for number in numbers:
            found[number] = _measure_one(jobs[number])

    shares = [single[start : start + _REPORTED] for start in range(0, len(single), _REPORTED)]
    for share in each(work, [[number] for number in large], shares, threads):
        report(len(share))
    for batch in batches:
        _measure_batch(jobs, batch, found)
        report(len(batch))
    return found


def each(work: Callable[[Item], Any], large: Sequence[Item], small: Sequence[Item], threads: int) -> Iterator[Item]:
    """Do `work` with every item and yield what is done: large ones in threads, and meanwhile the small ones in this one."""
    if threads <= 1 or len(large) <= 1:
        for item in (*large, *small):
            work(item)
            yield item
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(work, item) for item in large]
        for item in small:
            work(item)
            yield item
        for item, done in zip(large, waiting, strict=True):
            done.result()
            yield item


def _sorted(jobs: Sequence[Job]) -> tuple[list[list[int]], list[int], list[int]]:
    """Sort the jobs into batches of small tensors of the same runs and types, single ones, and large ones, largest first."""
    batches: list[list[int]] = []
    filling: dict[tuple[int, int, str, str, str], tuple[list[int], int]] = {}
    single: list[int] = []
    large: list[tuple[int, int]] = []
    for number, job in enumerate(jobs):
        if job.exact.kind == "value" or obstacle(job) is not None:
            continue
        size = math.prod(job.exact.shape)
        exact, candidate = job.exact.dtype, job.candidate.dtype
        if size >= THREADED:
            large.append((size, number))
        elif size > LARGEST or exact.startswith("complex") or is_exact(exact, candidate):
            single.append(number)
        else:
            key = (id(job.run), id(job.exact_run), exact, candidate, "" if job.own is None else job.own.dtype)
            numbers, before = filling.get(key, ([], 0))
            numbers.append(number)
            filling[key] = numbers, before + size
            if before + size >= _BATCH:
                batches.append(filling.pop(key)[0])
    batches += [numbers for numbers, _ in filling.values()]
    return batches, single, [number for _, number in sorted(large, reverse=True)]


def _measure_batch(jobs: Sequence[Job], numbers: Sequence[int], found: list[Found]) -> None:
    """Measure the jobs of one batch into their places."""
    batch = [jobs[number] for number in numbers]
    layout, exact, candidate = laid(batch)
    owns = [job.own for job in batch if job.own is not None]
    own = _flat(batch[0].run.own, owns, layout) if owns and batch[0].run.own is not None else None
    for number, measured in zip(numbers, measure_many(layout, exact, candidate, own), strict=True):
        found[number] = measured


def laid(jobs: Sequence[Job]) -> tuple[Layout, Tensor, Tensor]:
    """Read the exact and the candidate's tensors of jobs of the same runs and types, end to end."""
    layout = Layout.of([job.exact.shape for job in jobs])
    exact = _flat(jobs[0].exact_run, [job.exact for job in jobs], layout)
    return layout, exact, _flat(jobs[0].run.candidate, [job.candidate for job in jobs], layout)


def _flat(run: RunReader, records: Sequence[Record], layout: Layout) -> Tensor:
    """Read tensors of one type end to end."""
    ends = [run.tensor(record.address) for record in (records[0], records[-1])]
    note_read(ends, int(layout.sizes.sum()) * ends[0].itemsize)
    return Tensor(run.flat(records, layout.sizes), records[0].dtype)


def tensors(job: Job) -> tuple[Tensor, Tensor, Tensor | None]:
    """Read the exact tensor, the candidate's, and the reference's own or None."""
    own = None
    if job.own is not None and job.run.own is not None:
        own = Tensor(job.run.own.tensor(job.address), job.own.dtype)
    exact = Tensor(job.exact_run.tensor(job.address), job.exact.dtype)
    return exact, Tensor(job.run.candidate.tensor(job.address), job.candidate.dtype), own


def _measure_one(job: Job) -> Found:
    """Measure one pair by itself."""
    if is_exact(job.exact.dtype, job.candidate.dtype):
        return measure_exact(*tensors(job))
    return measure(*tensors(job))
