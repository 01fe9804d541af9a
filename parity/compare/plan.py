"""Which address of a candidate's run is compared with what, under which question.

`X-float64` runs answer semantics and are held against the reference's `float64`; runs in a working type
answer precision and are held against `forced` (layers), `steps` or `float64` (free), with the reference's own
working run beside them. Where the reference has no such run, its working run is all there is.

Every tensor output of the exact run is expected, but what the candidate does not compare, the case excludes,
or a partial replay leaves out; in steps mode only addresses inside the loop.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from parity.address import pattern
from parity.errors import AddressError, CaseError, TraceError
from parity.result import Pair

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Sequence

    from parity.result import Ground, PairMode, Question, Verdict
    from parity.trace import Manifest, Record, RunReader, Trace

__all__ = ["Excludes", "Job", "Plan", "RunPlan", "describe_run", "path_of", "plan_run", "port_of"]

_EXACT_RUN: Final = {"layers": "forced", "steps": "steps", "free": "float64"}
_TWIN: Final = "float64"


class Job(msgspec.Struct, frozen=True, gc=False):
    """One pair to measure. `own` is the reference's record in its working type, where the exact one is another."""

    address: str
    order: int
    exact: Record
    candidate: Record
    own: Record | None
    run: RunPlan
    exact_run: RunReader
    ground: Ground


class RunPlan(NamedTuple):
    """One run of a candidate with the runs that it is held against."""

    candidate: RunReader
    manifest: Manifest
    question: Question
    mode: PairMode
    dtype: str
    exact: RunReader
    own: RunReader | None
    ground: Ground


class Plan(NamedTuple):
    """What is to be measured in a run, and the pairs that are decided without measuring."""

    jobs: list[Job]
    pairs: list[Pair]


class Excludes:
    """The case's `[[exclude]]` tables; every one must match an address."""

    def __init__(self, tables: Sequence[dict[str, str]]) -> None:
        """Compile the patterns.

        Raises:
            CaseError: one is not a regular expression.
        """
        try:
            self._rules = [(pattern(table["address"]), table["reason"]) for table in tables]
        except AddressError as error:
            raise CaseError(str(error)) from error
        self._used = [False] * len(self._rules)
        self.found: dict[str, str] = {}

    def reason(self, address: str) -> str | None:
        """Return why an address is excluded, or None."""
        if not self._rules:
            return None
        known = self.found.get(address)
        if known is not None:
            return known
        for number, (expression, reason) in enumerate(self._rules):
            if expression.fullmatch(address):
                self._used[number] = True
                self.found[address] = reason
                return reason
        return None

    def refuse_unused(self, addresses: Iterable[str]) -> None:
        """Raise for a table that matches none of `addresses`.

        Raises:
            CaseError: a table matches nothing.
        """
        for address in addresses:
            self.reason(address)
        for (expression, reason), used in zip(self._rules, self._used, strict=True):
            if not used:
                message = (
                    f"the exclude {expression.pattern!r} ({reason}) matches no address; "
                    "a pattern matches the whole address, port included"
                )
                raise CaseError(message)


@lru_cache(maxsize=65536)
def path_of(address: str) -> str:
    """Return the path of an address."""
    return address.rpartition(":")[0].partition("@")[0]


@lru_cache(maxsize=65536)
def port_of(address: str) -> str:
    """Return the port of an address."""
    return address.rpartition(":")[2]


def describe_run(reference: Trace, candidate: Trace, name: str) -> RunPlan:
    """Find the reference's runs that a candidate's run is held against.

    Raises:
        TraceError: the reference has no run to hold it against.
    """
    run = candidate.run(name)
    recorded = run.info.mode
    mode: PairMode = recorded if recorded in {"steps", "layers"} else "free"
    dtype = run.info.dtype
    own = _working_run(reference, dtype)
    if dtype == _TWIN and _TWIN in reference.runs:
        return RunPlan(run, candidate.manifest, "semantics", mode, dtype, reference.run(_TWIN), None, "float64")
    exact = _EXACT_RUN[mode]
    if exact in reference.runs and own is not None:
        return RunPlan(run, candidate.manifest, "precision", mode, dtype, reference.run(exact), own, "floor")
    if own is None:
        runs = ", ".join(reference.runs) or "none"
        message = f"{reference.folder} has no run that {name!r} can be held against; its runs are {runs}"
        raise TraceError(message)
    return RunPlan(run, candidate.manifest, "precision", mode, dtype, own, None, "model")


def _working_run(reference: Trace, dtype: str) -> RunReader | None:
    """Return the reference's run in a type, else its only working run."""
    runs = [reference.run(name) for name in reference.runs if reference.run(name).info.mode == "run"]
    same = [run for run in runs if run.info.dtype == dtype and run.name != _TWIN]
    others = [run for run in runs if run.name != _TWIN]
    found = same or others or runs
    return found[0] if found else None


def plan_run(run: RunPlan, excludes: Excludes) -> Plan:
    """List the jobs of a run, and its pairs that are missing or unexpected."""
    only = None if run.candidate.info.only is None else pattern(run.candidate.info.only)
    left_out = run.manifest.not_compared
    order = {record.address: position for position, record in enumerate(run.exact.records)}
    jobs: list[Job] = []
    pairs: list[Pair] = []
    for record in run.candidate.records:
        address = record.address
        if path_of(address) in left_out or excludes.reason(address) is not None:
            continue
        job = _job(run, record, order)
        if job is not None:
            jobs.append(job)
        elif port_of(address).startswith("output"):
            pairs.append(_bare(run, record, "UNEXPECTED", len(order), "the reference has no such address"))
    pairs += [
        _bare(run, record, "MISSING", order[record.address], "the candidate recorded nothing here")
        for record in run.exact.records
        if record.address not in run.candidate
        and _is_expected(run, record, only)
        and path_of(record.address) not in left_out
        and excludes.reason(record.address) is None
    ]
    return Plan(jobs, pairs)


def _is_expected(run: RunPlan, record: Record, only: re.Pattern[str] | None) -> bool:
    """Tell whether the candidate has to have this address."""
    address = record.address
    if record.kind != "tensor" or not port_of(address).startswith("output"):
        return False
    if run.mode == "steps" and "@step=" not in address:
        return False
    return only is None or only.fullmatch(address) is not None


def _job(run: RunPlan, record: Record, order: dict[str, int]) -> Job | None:
    """Pair a candidate's record with the exact one, else with the working run's."""
    address = record.address
    own = None if run.own is None else run.own.find(address)
    exact = run.exact.find(address)
    if exact is not None:
        usable = own if own is not None and own.kind == exact.kind == "tensor" and own.shape == exact.shape else None
        ground: Ground = run.ground if usable is not None or run.ground != "floor" else "model"
        return Job(address, order[address], exact, record, usable, run, run.exact, ground)
    if own is not None and run.own is not None:
        return Job(address, len(order), own, record, None, run, run.own, "model")
    return None


def _bare(run: RunPlan, record: Record, verdict: Verdict, order: int, detail: str) -> Pair:
    """Make a pair without numbers."""
    return Pair(
        address=record.address,
        native=record.native,
        stage=record.stage,
        question=run.question,
        mode=run.mode,
        dtype=run.dtype,
        verdict=verdict,
        order=order,
        shape=record.shape,
        detail=detail,
    )
