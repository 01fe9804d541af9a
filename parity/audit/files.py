"""Two files of weights: every tensor is judged by equality, and of one that differs it is said what became of it.

    MISMATCH  down.0.to_q:weight  the reference's value rounded to float16, stored as float16
    MISMATCH  down.1.to_q:weight  a small change of 99.9 % of the elements, by at most 1e-07

Equal values in another type (float16 that were widened) lose nothing: MATCH, flagged `mixed-dtype`. Everything else that
is not equal bit by bit is a MISMATCH, however small: a rounding, an optimizer's step, the sign of a zero.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from parity.changes import exact_change, measured_change
from parity.changes.elsewhere import Elsewhere
from parity.distance.blocks import blocks
from parity.distance.exact import same_value
from parity.distance.tensor import Tensor
from parity.distance.window import note_read
from parity.errors import TraceError
from parity.result import Pair, Worst, number
from parity.trace.contents import is_counted, parameter_address

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from parity.result import Verdict
    from parity.trace import Record, RunReader, Trace

__all__ = ["audit_files"]

_PARTS: Final = (2, 3, 4)
_MEASURED: Final = frozenset({"scaled", "elements", "update", "different"})
"""What is said of a tensor that equality does not explain."""


def audit_files(
    reference: Trace, candidate: Trace, threads: int, progress: Callable[[int, int], None] | None = None
) -> list[Pair]:
    """Compare two files of weights tensor by tensor: the reference's in its order, then those that it has not.

    Args:
        reference: The file that is right.
        candidate: The other one.
        threads: How many tensors may be compared at once.
        progress: Hears how many are done, of how many.

    Raises:
        TraceError: a tensor cannot be read.
    """
    return _Comparison(_parameters(reference), _parameters(candidate)).pairs(threads, progress)


class _Parameter(NamedTuple):
    """A parameter of one side: its record, and the run that has it."""

    record: Record
    run: RunReader

    @property
    def cuts(self) -> list[int]:
        """Into how many equal parts it can be cut along its first axis, as fused projections are."""
        length = next(iter(self.record.shape), 1)
        return [count for count in _PARTS if length % count == 0]

    def read(self, place: int = 0, count: int = 1) -> Tensor:
        """Return its tensor, or one of so many equal parts along its first axis."""
        array = self.run.tensor(self.record.address)
        if count > 1:
            array = np.split(array, count)[place]
        note_read((array,))  # few elements of it may be read, anywhere
        return Tensor(array, self.record.dtype)


Parameters = dict[str, _Parameter]
"""The parameters of one side by address."""


def _parameters(trace: Trace) -> Parameters:
    """Return the parameters of a file, in its order.

    Raises:
        TraceError: two have one address.
    """
    found: Parameters = {}
    for run in trace.readers:
        for record in run.records:
            address = parameter_address(record.address)
            other = found.setdefault(address, _Parameter(record, run))
            if other.record is not record:
                message = (
                    f"{trace.folder}: {other.record.native!r} and {record.native!r} both are {address!r}; rename one"
                )
                raise TraceError(message)
    return found


class _Comparison:
    """The parameters of both sides, by address."""

    def __init__(self, expected: Parameters, found: Parameters) -> None:
        """Take both sides."""
        self._expected, self._found = expected, found

    def pairs(self, threads: int, progress: Callable[[int, int], None] | None) -> list[Pair]:
        """Return the pairs of all parameters: the reference's in its order, then those that it has not."""
        common = list(filter(self._found.__contains__, self._expected))
        pairs: list[Pair] = []
        with ThreadPoolExecutor(threads) as pool:
            for pair in pool.map(self._compared, common):
                pairs.append(pair)
                if progress is not None:
                    progress(len(pairs), len(common))
        self._look_elsewhere(pairs)
        pairs += self._one_sided()
        order = {address: place for place, address in enumerate(self._expected | self._found)}
        for pair in pairs:
            pair.order = order[pair.address]
        return sorted(pairs, key=attrgetter("order"))

    def _compared(self, address: str) -> Pair:
        """Compare one parameter that both sides have."""
        expected, found = self._expected[address], self._found[address]
        pair = _pair(address, expected.record, "MATCH")
        pair.native = found.record.native
        pair.size = _size(expected)
        pair.basis, pair.limit = "exact", "equal"
        if {expected.record.kind, found.record.kind} == {"tensor"}:
            _compare_tensors(pair, expected.read(), found.read())
        elif not same_value(_value(expected), _value(found)):
            pair.verdict = "MISMATCH"
            pair.detail = f"{_value(found)!r:.80}; the reference has {_value(expected)!r:.80}"
        return pair

    def _look_elsewhere(self, pairs: Sequence[Pair]) -> None:
        """Say of what equality does not explain whether it is the value of another parameter."""
        unknown = [pair for pair in pairs if pair.change in _MEASURED]
        sizes = {math.prod(pair.shape) for pair in unknown}
        others, own = _index(self._expected, sizes), _index(self._found, sizes)
        for pair in unknown:
            tensor = self._found[pair.address].read()
            place, whose = others.find(tensor), "the reference's"
            if not place:
                place, whose = own.find(tensor, besides=pair.address), "the candidate's own"
            if place:
                pair.change, pair.detail = "another tensor", f"equals {whose} {place}"

    def _one_sided(self) -> Iterator[Pair]:
        """Yield the pairs of parameters that one side lacks, with what the other one calls their values."""
        yield from _absent(self._expected, self._found, "MISSING", "candidate")
        yield from _absent(self._found, self._expected, "UNEXPECTED", "reference")


def _absent(having: Parameters, others: Parameters, verdict: Verdict, lacking: str) -> Iterator[Pair]:
    """Yield the pairs of tensors of one side that the other one lacks, with the name under which that has their values.

    A plain value beside tensors (an epoch) is no weight, nor is a counter: `compare` notes those that one side lacks.
    """
    parameters = {address: each for address, each in having.items() if address not in others}
    index = _index(others, set(map(_size, parameters.values())))
    for address, each in parameters.items():
        if is_counted(each.record):
            continue
        pair = _pair(address, each.record, verdict)
        pair.detail = f"the {lacking} has no such parameter"
        place = index.find(each.read())
        if place:
            pair.change = "another tensor"
            pair.detail += f"; it has these values as {place}"
        yield pair


def _index(parameters: Parameters, sizes: Collection[int]) -> Elsewhere:
    """Return where values of these sizes are: tensors, and equal parts of larger ones, as fused projections have them."""
    index = Elsewhere()
    for address, each in parameters.items():
        if each.record.kind == "value" or not _size(each):
            continue
        if _size(each) in sizes:
            index.add(address, each.read)
        for count in each.cuts:
            if _size(each) // count not in sizes:
                continue
            for place in range(count):
                index.add(f"{address}, part {place + 1} of {count}", partial(each.read, place, count))
    return index


def _size(parameter: _Parameter) -> int:
    """Return how many elements a parameter has."""
    return math.prod(parameter.record.shape)


def _value(parameter: _Parameter) -> object:
    """Return a plain value, or the type of a tensor where the other side has a plain value."""
    record = parameter.record
    if record.kind == "value":
        return parameter.run.value(record.address)
    return f"a {record.dtype} tensor"


def _pair(address: str, record: Record, verdict: Verdict) -> Pair:
    """Return the pair of a parameter, without numbers."""
    return Pair(
        address=address,
        native=record.native,
        stage="weights",
        question="audit",
        mode="audit",
        verdict=verdict,
        shape=record.shape,
    )


def _compare_tensors(pair: Pair, expected: Tensor, candidate: Tensor) -> None:
    """Judge two tensors, and say what became of the one that is not equal."""
    obstacle = _obstacle(expected, candidate)
    if obstacle:
        pair.verdict, pair.detail = "INCOMPARABLE", obstacle
        if pair.size:
            _say_what_is_proven(pair, expected, candidate)
    elif not pair.size:
        pair.verdict, pair.detail = "MISSING", "empty on both sides; nothing was compared"
    elif not _are_equal(expected, candidate):
        _say_difference(pair, expected, candidate)


def _say_what_is_proven(pair: Pair, expected: Tensor, candidate: Tensor) -> None:
    """Say what became of a tensor that cannot be measured against the other one, where equality proves it."""
    proven = exact_change(expected, candidate)
    if proven is not None:
        pair.change = proven.kind
        pair.detail += f"; {proven.words}"


def _obstacle(expected: Tensor, candidate: Tensor) -> str:
    """Say why two tensors cannot be held against each other, or nothing."""
    if expected.array.shape != candidate.array.shape:
        return f"shape {list(candidate.array.shape)}; the reference has {list(expected.array.shape)}"
    if expected.dtype.startswith("complex") != candidate.dtype.startswith("complex"):
        return f"{candidate.dtype}; the reference has {expected.dtype}"
    return ""


def _are_equal(expected: Tensor, candidate: Tensor) -> bool:
    """Tell whether two tensors of one shape have the same type and bits."""
    if expected.dtype != candidate.dtype:
        return False
    words = f"u{min(expected.array.itemsize, 8)}"
    for first, second in blocks((expected.array, candidate.array)):
        if not np.array_equal(first.view(words), second.view(words)):
            return False
    return True


def _say_difference(pair: Pair, expected: Tensor, candidate: Tensor) -> None:
    """Say what became of a tensor whose bits or type are not the reference's."""
    proven = exact_change(expected, candidate)
    if proven is not None and proven.kind == "stored type":
        pair.flags.append("mixed-dtype")
        pair.detail = proven.words
        return
    measured = measured_change(expected, candidate)
    told = proven or measured
    pair.verdict, pair.change, pair.detail = "MISMATCH", told.kind, told.words
    pair.rel_l2 = number(measured.rel_l2)
    place = measured.place
    if place is not None:
        pair.outside = place.outside
        pair.worst = Worst.of(place.at, place.reference, place.candidate)
