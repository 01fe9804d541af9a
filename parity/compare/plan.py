"""Which address of a candidate's run is compared with what, under which question.

`X-float64` runs answer semantics and are held against the reference's `float64`; runs in a working type
answer precision and are held against `forced` (layers), `steps` or `float64` (free), with the reference's own
working run beside them. Where the reference has no such run, its working run is all there is.

The candidate has to have every tensor output of the run that it is held against, but what it does not compare, the
case excludes, or a partial replay leaves out; in steps mode only addresses inside the loop. Between two dumps of other
tools both sides have to have every parameter, gradient and plain value as well: what a call is given is recorded in full
there, and a call that lacks an argument is another call. A None is as good as no argument.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import filterfalse
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec

from parity.address import is_input, is_output, path_of, pattern, step_of
from parity.dtypes import is_float
from parity.errors import AddressError, CaseError, TraceError
from parity.result import Pair

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from parity.result import Ground, PairMode, Question, Verdict
    from parity.trace import Manifest, Record, RunReader, Trace

__all__ = ["Excludes", "Job", "Kind", "Plan", "RunPlan", "Types", "blank", "describe_run", "is_same_tensor", "plan_run"]

Types: TypeAlias = tuple[str, str, str | None]
"""Of the expected tensor, the candidate's and the working one."""

Kind: TypeAlias = tuple[int, int, Types]

_EXPECTED_RUN: Final = {"layers": "forced", "steps": "steps", "free": "float64"}
_GROUND_ALONE: Final[dict[Ground, Ground]] = {"float64": "float64", "floor": "model", "model": "model"}
"""The ground of a pair without a tensor of the working run, by that of its run: no floor is measured without one."""

_TWIN: Final = "float64"


class RunPlan(NamedTuple):
    """One run of a candidate with the runs that it is held against.

    Attributes:
        expected: The reference's run that says what the candidate should be: a float64 one where there is one.
        working: The reference's own run in its working type, where there is one.
        are_dumps: Whether neither side has a manifest.
    """

    candidate: RunReader
    manifest: Manifest
    question: Question
    mode: PairMode
    dtype: str
    expected: RunReader
    working: RunReader | None
    ground: Ground
    are_dumps: bool

    @property
    def working_dtype(self) -> str:
        """The type of the working run, or of the expected one where that is all there is."""
        return (self.working or self.expected).info.dtype

    def has_to_have(self, record: Record) -> bool:
        """Tell whether what one side recorded has to be on the other, too."""
        if not self.are_dumps:
            return is_output(record.address)
        if record.kind == "value":
            return record.value is not None
        return not is_input(record.address)


class Job(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One pair to measure.

    Attributes:
        working: The reference's record in its working type, where the expected one is another and the floor is measured.
        witness: The same also beside two float64 runs, which is asked where they disagree.
    """

    address: str
    order: int
    expected: Record
    candidate: Record
    working: Record | None
    witness: Record | None
    run: RunPlan
    expected_run: RunReader
    ground: Ground

    @property
    def types(self) -> Types:
        """The types of the tensors."""
        working = self.working
        if working is None:
            return self.expected.dtype, self.candidate.dtype, None
        return self.expected.dtype, self.candidate.dtype, working.dtype

    @property
    def size(self) -> int:
        """How many elements the expected tensor has."""
        return math.prod(self.expected.shape)

    @property
    def are_floats(self) -> bool:
        """Whether both sides are tensors of real floating types, which are measured and not compared by equality."""
        return is_float(self.expected.dtype) and is_float(self.candidate.dtype)

    @property
    def kind(self) -> Kind:
        """What jobs have in common whose tensors may be read and measured end to end: their runs and types."""
        return id(self.run), id(self.expected_run), self.types


class Plan(NamedTuple):
    """What is to be measured in a run, and the pairs that are decided without measuring."""

    jobs: list[Job]
    pairs: list[Pair]


class _Exclude:
    """One `[[exclude]]` table, and whether it matched an address yet."""

    def __init__(self, address: str, reason: str) -> None:
        """Compile the pattern."""
        self.pattern = pattern(address)
        self.reason = reason
        self.used = False


class Excludes:
    """The case's `[[exclude]]` tables; every one must match an address. `found` are those that one did, with its reason."""

    def __init__(self, tables: Sequence[dict[str, str]]) -> None:
        """Compile the patterns.

        Raises:
            CaseError: one is not a regular expression.
        """
        try:
            self._excludes = [_Exclude(table["address"], table["reason"]) for table in tables]
        except AddressError as error:
            raise CaseError(str(error)) from error
        self.found: dict[str, str] = {}

    def reason(self, address: str) -> str | None:
        """Return why an address is excluded, or None."""
        for exclude in self._excludes:
            if exclude.pattern.matches(address):
                exclude.used = True
                self.found[address] = exclude.reason
                return exclude.reason
        return None

    def refuse_unused(self, addresses: Iterable[str]) -> None:
        """Raise for a table that matches none of `addresses`.

        Raises:
            CaseError: a table matches nothing.
        """
        for address in addresses:
            self.reason(address)
        unused = [exclude for exclude in self._excludes if not exclude.used]
        if not unused:
            return
        message = (
            f"the exclude {unused[0].pattern.text!r} ({unused[0].reason}) matches no address; "
            "a pattern matches the whole address, port included"
        )
        raise CaseError(message)


def describe_run(reference: Trace, candidate: Trace, name: str) -> RunPlan:
    """Find the reference's runs that a candidate's run is held against.

    Raises:
        TraceError: the reference has no run to hold it against.
    """
    run = candidate.run(name)
    mode, dtype = _mode_of(run), run.info.dtype
    plan = partial(
        RunPlan,
        candidate=run,
        manifest=candidate.manifest,
        mode=mode,
        dtype=dtype,
        are_dumps=reference.plain and candidate.plain,
    )
    working = _working_run(reference, dtype)
    if dtype == _TWIN and _TWIN in reference.runs:
        return plan(question="semantics", expected=reference.run(_TWIN), working=working, ground="float64")
    if working is None:
        runs = ", ".join(reference.runs) or "none"
        message = f"{reference.folder} has no run that {name!r} can be held against; its runs are {runs}"
        raise TraceError(message)
    expected = _EXPECTED_RUN[mode]
    if expected in reference.runs:
        return plan(question="precision", expected=reference.run(expected), working=working, ground="floor")
    return plan(question="precision", expected=working, working=None, ground="model")


def _mode_of(run: RunReader) -> PairMode:
    """Return the mode of a replay; a run that is none was left to itself."""
    mode = run.info.mode
    if mode in {"steps", "layers"}:
        return mode
    return "free"


def _working_run(reference: Trace, dtype: str) -> RunReader | None:
    """Return the reference's run in a type, else its first working run, else what it has."""
    whole = [run for run in map(reference.run, reference.runs) if run.info.mode == "run"]
    return min(whole, key=lambda run: (run.name == _TWIN, run.info.dtype != dtype), default=None)


def plan_run(run: RunPlan, excludes: Excludes) -> Plan:
    """List the jobs of a run, and its pairs that are missing or unexpected."""

    def is_left_out(record: Record) -> bool:
        return path_of(record.address) in run.manifest.not_compared or excludes.reason(record.address) is not None

    plan = Plan([], [])
    places = {record.address: place for place, record in enumerate(run.expected.records)}
    for record in filterfalse(is_left_out, run.candidate.records):
        job = _job(run, record, places)
        if job is not None:
            plan.jobs.append(job)
        elif run.has_to_have(record):
            detail = "the reference has no such address"
            plan.pairs.append(blank(run, record, record.native, len(places), "UNEXPECTED", detail))
    for record in filterfalse(is_left_out, _missing(run)):
        detail = "the candidate recorded nothing here"
        plan.pairs.append(blank(run, record, record.native, places[record.address], "MISSING", detail))
    return plan


def _missing(run: RunPlan) -> Iterator[Record]:
    """Return what was asked of the candidate and is not there."""
    asked = pattern(run.candidate.info.only)
    missing = filterfalse(run.candidate.__contains__, _wanted(run))
    return map(run.expected.record, filter(asked.matches, missing))


def _wanted(run: RunPlan) -> list[str]:
    """Return the reference's addresses that a whole run of the candidate has to have too."""
    if run.are_dumps:
        return [record.address for record in run.expected.records if run.has_to_have(record)]
    outputs = run.expected.output_tensors
    if run.mode != "steps":
        return outputs
    # What comes before and after the loop is not replayed step by step.
    return [address for address in outputs if step_of(address) is not None]


def _job(run: RunPlan, record: Record, places: Mapping[str, int]) -> Job | None:
    """Pair a candidate's record with the expected one, else with the working run's."""
    expected = run.expected.find(record.address)
    if expected is None:
        return _job_of_working(run, record, order=len(places))
    witness = _working_record(run, expected)
    working, ground = None, _GROUND_ALONE[run.ground]
    if run.ground == "floor" and witness is not None:
        working, ground = witness, run.ground
    return Job(
        address=record.address,
        order=places[record.address],
        expected=expected,
        candidate=record,
        working=working,
        witness=witness,
        run=run,
        expected_run=run.expected,
        ground=ground,
    )


def _working_record(run: RunPlan, expected: Record) -> Record | None:
    """Return the working run's record of the expected tensor, where it has one of the same shape."""
    if run.working is None:
        return None
    working = run.working.find(expected.address)
    if working is None or not is_same_tensor(working, expected):
        return None
    return working


def _job_of_working(run: RunPlan, record: Record, order: int) -> Job | None:
    """Pair a candidate's record with the working run's, where that alone has the address."""
    if run.ground != "floor" or run.working is None or record.address not in run.working:
        return None
    return Job(
        address=record.address,
        order=order,
        expected=run.working.record(record.address),
        candidate=record,
        working=None,
        witness=None,
        run=run,
        expected_run=run.working,
        ground="model",
    )


def is_same_tensor(first: Record, second: Record) -> bool:
    """Tell whether two records are of tensors of one shape."""
    return first.kind == second.kind == "tensor" and first.shape == second.shape


def blank(run: RunPlan, record: Record, native: str | None, order: int, verdict: Verdict, detail: str = "") -> Pair:
    """Return a pair without numbers: a record, and what the candidate calls its place."""
    return Pair(
        address=record.address,
        native=native,
        stage=record.stage,
        question=run.question,
        mode=run.mode,
        dtype=run.dtype,
        verdict=verdict,
        order=order,
        shape=record.shape,
        detail=detail,
    )
