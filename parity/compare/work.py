"""Measuring the jobs of a plan: small tensors in batches, large ones each by itself, the largest in threads.

numpy lets other threads run while it works on a block, so threads share the memory bandwidth without copies.
That pays only where a block's work is long against the hand-over of the interpreter's lock: tensors of less
than a block are measured in the calling thread, while the others are in theirs.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from parity.distance import fast
from parity.distance.batch import LARGEST, measure_many
from parity.distance.exact import Exact, is_exact, measure_exact
from parity.distance.measure import measure
from parity.distance.sums import Distances
from parity.distance.tensor import Layout, Tensor
from parity.distance.window import note_read
from parity.dtypes import storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from parity.compare.plan import Job, Kind
    from parity.result import Verdict
    from parity.trace import Record, RunReader

__all__ = ["THREADED", "Found", "Tensors", "each", "laid", "measure_jobs", "obstacle", "pays_to_compile", "tensors"]

Item = TypeVar("Item")

Found = Distances | Exact | None
"""What was measured; None for a job that `obstacle` or a plain value decides."""

THREADED: Final = 1 << 16
"""Elements from which a tensor is worth a thread."""

_BATCH: Final = 1 << 15
_REPORTED: Final = 256


class Tensors(NamedTuple):
    """The tensors of a job; `working` is the reference's own in its working type, where the expected one is another."""

    expected: Tensor
    candidate: Tensor
    working: Tensor | None


def obstacle(job: Job) -> tuple[Verdict, str] | None:
    """Return the verdict and the reason of a pair that cannot be measured, or None."""
    expected, candidate = job.expected, job.candidate
    if expected.kind != candidate.kind:
        return "INCOMPARABLE", f"the reference recorded a {expected.kind}, the candidate a {candidate.kind}"
    if expected.kind == "value":
        return None
    if expected.shape != candidate.shape:
        return "INCOMPARABLE", f"shape {list(candidate.shape)}; the reference has {list(expected.shape)}"
    if expected.dtype != candidate.dtype and _is_complex(expected) != _is_complex(candidate):
        return "INCOMPARABLE", f"{candidate.dtype}; the reference has {expected.dtype}"
    if 0 in expected.shape:
        return "MISSING", "empty on both sides; nothing was compared"
    return None


def _is_complex(record: Record) -> bool:
    """Tell whether a record's tensor holds complex numbers."""
    return record.dtype.startswith("complex")


def pays_to_compile(jobs: Iterable[Job]) -> bool:
    """Tell whether jobs hold so much in large tensors that the compiled loops are worth the time that they take to load."""
    size_bytes = 0
    for job in jobs:
        size = math.prod(job.expected.shape)
        if size >= fast.WORTH and job.expected.kind == job.candidate.kind == "tensor":
            size_bytes += size * (storage(job.expected.dtype).itemsize + storage(job.candidate.dtype).itemsize)
    return fast.pays(size_bytes)


def measure_jobs(
    jobs: Sequence[Job], threads: int, progress: Callable[[int, int], None] | None = None, *, compiled: bool = False
) -> list[Found]:
    """Measure all jobs, in the order given.

    Args:
        jobs: What to measure.
        threads: How many tensors may be measured at once.
        progress: Hears how many are done, of how many.
        compiled: Whether large tensors go through the compiled loops, which load while others are measured.
    """
    if compiled:
        fast.start()
    found: list[Found] = [None] * len(jobs)
    shares = _shared_out(jobs)
    total = sum(map(len, (*shares.batches, *shares.single, *shares.large)))
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    def work(numbers: Sequence[int]) -> None:
        for number in numbers:
            found[number] = _measure_one(jobs[number], compiled=compiled)

    for share in each(work, shares.large, shares.single, threads):
        report(len(share))
    for batch in shares.batches:
        for number, measured in zip(batch, _measure_batch([jobs[number] for number in batch]), strict=True):
            found[number] = measured
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


class _Shares(NamedTuple):
    """The numbers of jobs as they are measured together, for a thread, or one after the other."""

    batches: list[list[int]]
    single: list[list[int]]
    large: list[list[int]]


class _Batches:
    """Batches of small tensors of the same runs and types, each closed when it holds enough elements."""

    def __init__(self) -> None:
        """Start without any."""
        self._closed: list[list[int]] = []
        self._open: dict[Kind, list[int]] = {}
        self._sizes: dict[Kind, int] = {}

    def add(self, number: int, job: Job, size: int) -> None:
        """Put a job into the open batch of its kind."""
        kind = job.kind
        self._open.setdefault(kind, []).append(number)
        self._sizes[kind] = self._sizes.get(kind, 0) + size
        if self._sizes[kind] >= _BATCH:
            self._closed.append(self._open.pop(kind))
            self._sizes[kind] = 0

    def all(self) -> list[list[int]]:
        """Return all batches, those that never filled last."""
        return [*self._closed, *self._open.values()]


def _shared_out(jobs: Sequence[Job]) -> _Shares:
    """Sort out which jobs are measured in batches, which by themselves, and which are worth a thread, largest first."""
    batches = _Batches()
    single: list[int] = []
    large: list[tuple[int, int]] = []
    for number, job in enumerate(jobs):
        if job.expected.kind == "value" or obstacle(job) is not None:
            continue
        size = math.prod(job.expected.shape)
        if size >= THREADED:
            large.append((size, number))
        elif size <= LARGEST and _fits_batch(job):
            batches.add(number, job, size)
        else:
            single.append(number)
    large.sort(reverse=True)
    parts = [single[start : start + _REPORTED] for start in range(0, len(single), _REPORTED)]
    return _Shares(batches.all(), parts, [[number] for _, number in large])


def _fits_batch(job: Job) -> bool:
    """Tell whether a job's tensors may be measured end to end with others: real ones, and not by equality."""
    return not (_is_complex(job.expected) or is_exact(job.expected.dtype, job.candidate.dtype))


def _measure_batch(batch: Sequence[Job]) -> list[Distances]:
    """Measure jobs of one kind together."""
    layout, expected, candidate = laid(batch)
    working = None
    records = [job.working for job in batch if job.working is not None]
    run = batch[0].run.working
    if records and run is not None:
        working = _flat(run, records, layout)
    return measure_many(layout, expected, candidate, working)


def laid(jobs: Sequence[Job]) -> tuple[Layout, Tensor, Tensor]:
    """Read the expected and the candidate's tensors of jobs of one kind, end to end."""
    layout = Layout.of([job.expected.shape for job in jobs])
    expected = _flat(jobs[0].expected_run, [job.expected for job in jobs], layout)
    candidate = _flat(jobs[0].run.candidate, [job.candidate for job in jobs], layout)
    return layout, expected, candidate


def _flat(run: RunReader, records: Sequence[Record], layout: Layout) -> Tensor:
    """Read tensors of one type end to end."""
    ends = [run.tensor(record.address) for record in (records[0], records[-1])]
    note_read(ends, int(layout.sizes.sum()) * ends[0].itemsize)
    return Tensor(run.flat(records, layout.sizes), records[0].dtype)


def tensors(job: Job) -> Tensors:
    """Read the tensors of a job."""
    expected = Tensor(job.expected_run.tensor(job.address), job.expected.dtype)
    candidate = Tensor(job.run.candidate.tensor(job.address), job.candidate.dtype)
    working = None
    if job.working is not None and job.run.working is not None:
        working = Tensor(job.run.working.tensor(job.address), job.working.dtype)
    return Tensors(expected, candidate, working)


def _measure_one(job: Job, *, compiled: bool) -> Found:
    """Measure one pair by itself."""
    if is_exact(job.expected.dtype, job.candidate.dtype):
        return measure_exact(*tensors(job))
    return measure(*tensors(job), compiled=compiled)
