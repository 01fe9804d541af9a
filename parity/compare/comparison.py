"""`compare`: two traces in, a result out."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import msgspec

from parity.audit import audit_attributes, audit_weights
from parity.case import ToleranceRule
from parity.compare.coverage import coverage_of
from parity.compare.examine import examine_all
from parity.compare.flags import relate
from parity.compare.judge import decide
from parity.compare.pairing import Pairing, pairs_of
from parity.compare.plan import Excludes, describe_run, plan_run
from parity.compare.price import price_of
from parity.compare.references import is_reference, of_outputs, prepare, runs_of
from parity.compare.rules import Rule, RuleBook
from parity.compare.several import by_type, join, named
from parity.compare.summary import summarize
from parity.compare.work import measure_jobs
from parity.errors import TraceError
from parity.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parity.compare.plan import Job
    from parity.compare.work import Found
    from parity.result import Pair
    from parity.trace import Trace

__all__ = ["compare"]


def compare(
    reference: Trace,
    candidates: Sequence[Trace],
    *,
    tolerances: Sequence[Rule | ToleranceRule] = (),
    excludes: Sequence[dict[str, str]] = (),
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Compare candidates' traces with the reference's.

    Args:
        reference: The trusted side.
        candidates: Traces replayed from it, each run of a candidate in one of them only. More than one candidate,
            or one in several working types, gives a joined result (`parity.compare.several`).
        tolerances: Rules that come before those of the case.
        excludes: Tables of address and reason beside those of the case.
        jobs: Threads; one per core when None.
        progress: Called with the pairs measured so far and their number.

    Raises:
        TraceError: a candidate was replayed from another trace or case, is incomplete, or repeats a run.
        CaseError: an exclude matches nothing.
        ToleranceError: a rule is malformed or matches no pair.
    """
    started = time.perf_counter()
    _check(reference, candidates)
    for trace in candidates:
        if is_reference(trace):
            prepare(reference, trace)
    case = reference.manifest.case
    left_out = Excludes([*excludes, *(case.get("exclude") or [])])
    book = RuleBook([*tolerances, *(msgspec.convert(table, ToleranceRule) for table in case.get("tolerance") or [])])
    threads = jobs or os.cpu_count() or 1
    views: dict[str, Result] = {}
    for name, traces in named(candidates).items():
        pairs = _judged(reference, traces, left_out, book, threads, progress)
        for label, mine in by_type(name, pairs).items():
            whole = [*_audits(reference, _first(traces, label), left_out, book), *mine]
            relate(whole, reference.manifest.program)
            views[label] = _result(reference, traces, whole, left_out)
    _refuse_unused(reference, candidates, left_out, book)
    result = join(views or {"": _result(reference, (), [], left_out)})
    result.wall_s = {"compare": time.perf_counter() - started}
    return result


def _judged(
    reference: Trace, candidates: Sequence[Trace], excludes: Excludes, book: RuleBook, threads: int,
    progress: Callable[[int, int], None] | None,
) -> list[Pair]:  # fmt: skip
    """Return the judged pairs of one candidate."""
    pairs: list[Pair] = []
    work: list[tuple[Pair, Job]] = []
    planned: list[tuple[Pairing, list[Job]]] = []
    for trace in candidates:
        for name in runs_of(trace):
            run = describe_run(reference, trace, name)
            plan = plan_run(run, excludes)
            pairs += plan.pairs
            planned.append(
                (Pairing(run, reference.manifest), of_outputs(plan.jobs) if is_reference(trace) else plan.jobs)
            )
    found = measure_jobs([job for _, listed in planned for job in listed], threads, progress)
    start = 0
    for pairing, listed in planned:
        mine: Sequence[Found] = found[start : start + len(listed)]
        start += len(listed)
        measured = pairs_of(pairing, listed, mine)
        work += zip(measured, listed, strict=True)
        pairs += measured
    examine_all(work, threads, book)
    for pair in pairs:
        decide(pair, book)
    return pairs


def _check(reference: Trace, candidates: Sequence[Trace]) -> None:
    """Refuse traces that do not belong together.

    Raises:
        TraceError: they do not.
    """
    for traces in named(candidates).values():
        _check_runs(traces)
    for trace in candidates:
        for part in (reference, trace):
            if part.manifest.status != "complete" or not all(info.complete for info in part.manifest.runs.values()):
                message = f"{part.folder} is not complete; continue it with --resume, or record it again"
                raise TraceError(message)
        if not (reference.plain or trace.plain or is_reference(trace)):
            _check_origin(reference, trace)


def _check_runs(traces: Sequence[Trace]) -> None:
    """Refuse a run that two traces of one candidate have."""
    seen: dict[str, Any] = {}
    for trace in traces:
        for name in trace.runs:
            if name in seen:
                message = (
                    f"{trace.folder} and {seen[name]} are of the same candidate and both have a run {name!r}; "
                    "compare them one at a time"
                )
                raise TraceError(message)
            seen[name] = trace.folder


def _check_origin(reference: Trace, trace: Trace) -> None:
    """Refuse a candidate of another case or another recording."""
    mine, other = reference.manifest.case_digest, trace.manifest.case_digest
    if mine != other:
        message = (
            f"{trace.folder} is a trace of another case (digest {other}; {reference.folder} has {mine}); "
            "replay it from this reference"
        )
        raise TraceError(message)
    origin = trace.manifest.reference_digest
    if origin != reference.digest:
        message = (
            f"{trace.folder} was replayed from another trace (digest {origin}; {reference.folder} has "
            f"{reference.digest}); replay it from this reference"
        )
        raise TraceError(message)


def _first(candidates: Sequence[Trace], label: str) -> list[Trace]:
    """Return a candidate's traces, those with a run in the type of this column first: their audit is the column's."""
    dtype = label.rpartition(" ")[2]
    return sorted(candidates, key=lambda trace: all(trace.run(name).info.dtype != dtype for name in trace.runs))


def _audits(reference: Trace, candidates: Sequence[Trace], excludes: Excludes, book: RuleBook) -> list[Pair]:
    """Return weights and attributes of the first trace that reports them, judged."""
    pairs: list[Pair] = []
    for kind, audit in (("weights", audit_weights), ("attributes", audit_attributes)):
        for trace in candidates:
            if getattr(trace.manifest, kind):
                pairs += [
                    pair for pair in audit(reference.manifest, trace.manifest) if excludes.reason(pair.address) is None
                ]
                break
    for pair in pairs:
        decide(pair, book)
    return pairs


def _refuse_unused(reference: Trace, candidates: Sequence[Trace], excludes: Excludes, book: RuleBook) -> None:
    """Raise for excludes and rules that match nothing."""
    traces = (reference, *candidates)
    addresses = [record.address for trace in traces for name in trace.runs for record in trace.run(name).records]
    excludes.refuse_unused(addresses)
    if any(trace.run(name).info.only is not None for trace in candidates for name in trace.runs):
        book.note(addresses)
    book.refuse_unused()


def _result(reference: Trace, candidates: Sequence[Trace], pairs: list[Pair], excludes: Excludes) -> Result:
    """Put the result together."""
    manifest = reference.manifest
    sides = {"reference": reference} | {
        f"candidate {number}" if number else "candidate": trace for number, trace in enumerate(candidates)
    }
    types = {pair.dtype for pair in pairs if pair.mode == "free"}
    price = price_of(reference, candidates)
    result = Result(
        verdict="INCOMPLETE",
        counts={},
        first_divergence=None,
        causes=[],
        pairs=pairs,
        coverage=coverage_of(reference, candidates, pairs, excludes.found),
        platform={
            trace.manifest.name: trace.manifest.floors for trace in (reference, *candidates) if trace.manifest.floors
        },
        provenance={side: trace.manifest.provenance for side, trace in sides.items()},
        case=manifest.case,
        functions=manifest.functions,
        checks=_checks(reference, candidates, pairs),
        islands=[msgspec.to_builtins(island) for island in manifest.islands],
        price={what: {dtype: entry for dtype, entry in by.items() if dtype in types} for what, by in price.items()},
        traces={"reference": str(reference.folder)}
        | {f"candidate_{number}": str(trace.folder) for number, trace in enumerate(candidates)},
    )
    summarize(result)
    return result


def _checks(reference: Trace, candidates: Sequence[Trace], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return what the recorder proved, whether the order is one of execution, and which questions were answered."""
    checks = reference.manifest.checks
    asked = {pair.question for pair in pairs}
    questions = ("semantics", "precision")
    return {
        "neutral": checks.neutral,
        "repeatable": checks.repeatable,
        "ordered": all(trace.ordered for trace in (reference, *candidates)),
        **{question: "measured" if question in asked else "not measured" for question in questions},
    }
