"""Measuring the jobs of a plan: small tensors in batches, large ones each by itself, the largest in threads.

numpy lets other threads run while it works on a block, so threads share the memory bandwidth without copies.
That pays only where a block's work is long against the hand-over of the interpreter's lock: tensors of less
than a block are measured in the calling thread, while the others are in theirs.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from parity.compare.plan import is_same_tensor
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
    from parity.trace.files import Borrowed

__all__ = [
    "Found",
    "Held",
    "Obstacle",
    "Tensors",
    "each",
    "laid",
    "measure_jobs",
    "pays_to_compile",
    "shared_out",
    "tensors",
]

Item = TypeVar("Item")


class Obstacle(NamedTuple):
    """Why a pair cannot be measured, and the verdict that follows."""

    verdict: Verdict
    detail: str


Found = Distances | Exact | Obstacle | None
"""What was measured, or why nothing was; None for two plain values."""

THREADED: Final = 1 << 16
"""Elements from which a tensor is worth a thread."""

_BATCH: Final = 1 << 15
_REPORTED: Final = 256


class Tensors(NamedTuple):
    """The tensors of a job; `working` is the reference's own in its working type, where the expected one is another."""

    expected: Tensor
    candidate: Tensor
    working: Tensor | None = None


def _obstacle(job: Job) -> Obstacle | None:
    """Return what keeps a pair from being measured, or None."""
    expected, candidate = job.expected, job.candidate
    if expected.kind != candidate.kind:
        return Obstacle("INCOMPARABLE", f"the reference recorded a {expected.kind}, the candidate a {candidate.kind}")
    if expected.kind == "value":
        return None
    if expected.shape != candidate.shape:
        detail = f"shape {list(candidate.shape)}; the reference has {list(expected.shape)}"
        return Obstacle("INCOMPARABLE", detail)
    if _is_complex(expected) != _is_complex(candidate):
        return Obstacle("INCOMPARABLE", f"{candidate.dtype}; the reference has {expected.dtype}")
    if 0 in expected.shape:
        return Obstacle("MISSING", "empty on both sides; nothing was compared")
    return None


def _is_complex(record: Record) -> bool:
    """Tell whether a record's tensor holds complex numbers."""
    return record.dtype.startswith("complex")


def pays_to_compile(jobs: Iterable[Job]) -> bool:
    """Tell whether jobs hold so much in large tensors that the compiled loops are worth the time that they take to load."""
    large = [job for job in jobs if job.size >= fast.WORTH]
    return fast.pays(sum(map(_size_bytes, large)))


def _size_bytes(job: Job) -> int:
    """Return the bytes of both tensors of a job, none where there are not two to measure."""
    if not is_same_tensor(job.expected, job.candidate):
        return 0
    return job.size * (storage(job.expected.dtype).itemsize + storage(job.candidate.dtype).itemsize)


def measure_jobs(
    jobs: Sequence[Job],
    threads: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    compiled: bool = False,
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
    found: dict[int, Found] = dict(enumerate(map(_obstacle, jobs)))
    left = [number for number, job in enumerate(jobs) if found[number] is None and job.expected.kind == "tensor"]
    shares = shared_out(left, jobs.__getitem__)
    large = [[number] for number in shares.large]
    small = [shares.single[start : start + _REPORTED] for start in range(0, len(shares.single), _REPORTED)]

    def work(numbers: Sequence[int]) -> None:
        measured = _measure([jobs[number] for number in numbers], compiled=compiled)
        found.update(zip(numbers, measured, strict=True))

    done = 0
    for numbers in each(work, large, [*small, *shares.together], threads):
        done += len(numbers)
        if progress is not None:
            progress(done, len(left))
    return list(found.values())


def each(work: Callable[[Item], Any], large: Sequence[Item], small: Sequence[Item], threads: int) -> Iterator[Item]:
    """Do `work` with every item and yield what is done: large ones in threads, and meanwhile the small ones in this one."""
    if min(threads, len(large)) <= 1:
        large, small = (), (*large, *small)
    pool = ThreadPoolExecutor(max(threads, 1))  # it starts no thread before it is given something
    try:
        waiting = [pool.submit(work, item) for item in large]
        for item in small:
            work(item)
            yield item
        for item, done in zip(large, waiting, strict=True):
            done.result()
            yield item
    finally:
        pool.shutdown(cancel_futures=True)  # who is interrupted waits for what is in hand, not for all


class Shares(NamedTuple, Generic[Item]):
    """How work is shared out.

    Attributes:
        large: What is worth a thread, the largest first.
        single: What is worked on by itself all the same.
        together: Batches of small tensors of the same runs and types, which are read and worked on end to end.
    """

    large: list[Item]
    single: list[Item]
    together: list[list[Item]]


def shared_out(items: Iterable[Item], job_of: Callable[[Item], Job]) -> Shares[Item]:
    """Share out what has to be done with jobs."""

    def size_of(item: Item) -> int:
        return job_of(item).size

    shares: Shares[Item] = Shares([], [], [])
    by_kind: defaultdict[Kind, list[Item]] = defaultdict(list)
    for item in items:
        job = job_of(item)
        if job.size >= THREADED:
            shares.large.append(item)
        elif _fits_batch(job):
            by_kind[job.kind].append(item)
        else:
            shares.single.append(item)
    shares.large.sort(key=size_of, reverse=True)
    for alike in by_kind.values():
        shares.together.extend(_batches(alike, size_of))
    return shares


def _fits_batch(job: Job) -> bool:
    """Tell whether a job's tensors may be worked on end to end with others: small ones, and not judged by equality."""
    return job.size <= LARGEST and job.are_floats


def _batches(items: Iterable[Item], size_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Cut items of one kind into batches, each of which ends when it holds enough elements."""
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += size_of(item)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _measure(jobs: Sequence[Job], *, compiled: bool) -> Sequence[Found]:
    """Measure a batch, or jobs of which none fits one."""
    if _fits_batch(jobs[0]):
        return _measure_batch(jobs)
    return [_measure_one(job, compiled=compiled) for job in jobs]


def _measure_batch(batch: Sequence[Job]) -> list[Distances]:
    """Measure jobs of one kind together."""
    layout, expected, candidate = laid(batch)
    records = [job.working for job in batch if job.working is not None]
    run = batch[0].run.working
    if run is None or not records:
        return measure_many(layout, expected, candidate)
    return measure_many(layout, expected, candidate, _flat(run, records, layout))


def laid(jobs: Sequence[Job]) -> tuple[Layout, Tensor, Tensor]:
    """Read the expected and the candidate's tensors of jobs of one kind, end to end."""
    expected = [job.expected for job in jobs]
    candidate = [job.candidate for job in jobs]
    layout = Layout.of([record.shape for record in expected])
    first = jobs[0]
    return (
        layout,
        _flat(first.expected_run, expected, layout),
        _flat(first.run.candidate, candidate, layout),
    )


def _flat(run: RunReader, records: Sequence[Record], layout: Layout) -> Tensor:
    """Read tensors of one type end to end."""
    ends = run.tensor(records[0].address), run.tensor(records[-1].address)
    note_read(ends, int(layout.sizes.sum()) * ends[0].itemsize)
    return Tensor(run.flat(records, layout.sizes), records[0].dtype)


class Held(NamedTuple):
    """The record of a tensor, and the run that holds it."""

    run: RunReader
    record: Record

    def read(self) -> Tensor:
        """Return the tensor."""
        return Tensor(self.run.tensor(self.record.address), self.record.dtype)

    def borrow(self) -> Borrowed:
        """Return the tensor for somebody who reads all of it, and settles it then."""
        return self.run.borrow(self.record.address)


def tensors(job: Job) -> Tensors:
    """Read the tensors of a job."""
    return Tensors(*map(Held.read, _held(job)))


def _held(job: Job) -> list[Held]:
    """Return where a job's tensors are."""
    held = [Held(job.expected_run, job.expected), Held(job.run.candidate, job.candidate)]
    if job.working is not None and job.run.working is not None:
        held.append(Held(job.run.working, job.working))
    return held


def _measure_one(job: Job, *, compiled: bool) -> Found:
    """Measure one pair by itself."""
    if is_exact(job.expected.dtype, job.candidate.dtype):
        return measure_exact(*tensors(job))
    if job.size < fast.WORTH:
        return measure(*tensors(job), compiled=compiled)
    return _measure_borrowed(job, compiled=compiled)


def _measure_borrowed(job: Job, *, compiled: bool) -> Found:
    """Measure a large pair, whose tensors are compared with their digests on the way."""
    borrowed = list(map(Held.borrow, _held(job)))
    found = measure(
        *map(attrgetter("tensor"), borrowed),
        compiled=compiled,
        watch=list(map(attrgetter("see"), borrowed)),
    )
    for tensor in borrowed:
        tensor.settle()
    return found
