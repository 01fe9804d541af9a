"""`compare`: two traces in, a result out."""

from __future__ import annotations

import os
import time
from itertools import chain, count, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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
from parity.compare.sameness import sameness
from parity.compare.several import by_type, join, named
from parity.compare.soundness import Work, find_errors
from parity.compare.summary import summarize
from parity.compare.weights import compare_weights, held, refuse_rules
from parity.compare.work import measure_jobs, pays_to_compile
from parity.errors import InputError, TraceError
from parity.result import Result
from parity.trace.sides import check_sides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from parity.choices import Contents
    from parity.compare.plan import Job
    from parity.result import Pair
    from parity.trace import RunReader, Trace

__all__ = ["compare"]

_AUDITS: Final = ((audit_weights, attrgetter("weights")), (audit_attributes, attrgetter("attributes")))
"""What is audited, and what a manifest has to have for it."""


def compare(
    reference: Trace,
    candidates: Sequence[Trace],
    *,
    tolerances: Sequence[Rule | ToleranceRule] = (),
    excludes: Sequence[dict[str, str]] = (),
    contents: Contents | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Compare candidates' traces with the reference's; files of weights by equality (`parity.compare.weights`).

    Args:
        reference: The trusted side.
        candidates: Traces replayed from it, each run of a candidate in one of them only. More than one candidate,
            or one in several working types, gives a joined result (`parity.compare.several`).
        tolerances: Rules that come before those of the case.
        excludes: Tables of address and reason beside those of the case.
        contents: What files without a manifest hold, where their names do not tell.
        jobs: Threads, at least 1; one per core when None.
        progress: Called with the pairs measured so far and their number.

    Raises:
        TraceError: a candidate was replayed from another trace or case, is incomplete, repeats a run, or is given as the
            reference; or a trace is given twice.
        CaseError: an exclude matches nothing.
        ToleranceError: a rule is malformed, matches no pair, or is given for weights.
        InputError: there are to be no threads.
    """
    started = time.perf_counter()
    threads = _threads(jobs)
    check_sides(reference, candidates)
    holding = held(reference, candidates, contents)
    if holding.contents == "weights":
        refuse_rules(tolerances)
        result = compare_weights(reference, candidates, holding, threads=threads, progress=progress)
        result.wall_s = {"compare": time.perf_counter() - started}
        return result
    _check(reference, candidates)
    for trace in filter(is_reference, candidates):
        prepare(reference, trace)
    case = reference.manifest.case
    of_case = msgspec.convert(case.get("tolerance", []), list[ToleranceRule])
    comparison = _Comparison(
        reference,
        Excludes([*excludes, *case.get("exclude", [])]),
        RuleBook([*tolerances, *of_case]),
        threads=threads,
        progress=progress,
    )
    views: dict[str, Result] = {}
    for name, traces in named(candidates).items():
        pairs = comparison.judged(traces)
        for label, mine in by_type(name, pairs).items():
            views[label] = comparison.result(traces, [*comparison.audits(_own_first(traces, label)), *mine])
    comparison.refuse_unused(candidates)
    result = join(views or {"": comparison.result((), [])})
    if reference.plain:
        result.checks |= {"compared_as": holding.contents, "because": holding.reason}
    result.wall_s = {"compare": time.perf_counter() - started}
    return result


def _threads(jobs: int | None) -> int:
    """Return how many threads there are to be.

    Raises:
        InputError: none.
    """
    if jobs is None:
        return os.cpu_count() or 1
    if jobs < 1:
        message = f"jobs is {jobs}; give at least 1 thread, or None for one per core"
        raise InputError(message)
    return jobs


class _Planned(NamedTuple):
    """A run whose jobs are to be measured."""

    pairing: Pairing
    jobs: list[Job]


class _Comparison:
    """One reference, and how it is compared with each of its candidates."""

    def __init__(
        self,
        reference: Trace,
        excludes: Excludes,
        book: RuleBook,
        *,
        threads: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Keep what all candidates are compared with."""
        self.reference = reference
        self.excludes = excludes
        self.book = book
        self.threads = threads
        self.progress = progress

    def judged(self, candidates: Sequence[Trace]) -> list[Pair]:
        """Plan, measure, look again, judge: return the pairs of one candidate."""
        pairs: list[Pair] = []
        planned: list[_Planned] = []
        jobs: list[Job] = []
        for trace in candidates:
            for replayed in runs_of(trace):
                run = describe_run(self.reference, trace, replayed.name)
                plan = plan_run(run, self.excludes)
                pairs += plan.pairs
                mine = of_outputs(plan.jobs) if is_reference(trace) else plan.jobs
                planned.append(_Planned(Pairing(run, self.reference.manifest), mine))
                jobs += mine
        # All runs are measured at once, so that the threads run dry once and not at the end of every run.
        compiled = pays_to_compile(jobs)
        found = iter(measure_jobs(jobs, self.threads, self.progress, compiled=compiled))
        measured: list[Pair] = []
        for part in planned:
            measured += pairs_of(part.pairing, part.jobs, list(islice(found, len(part.jobs))))
        find_errors(list(map(Work, measured, jobs)), self.reference.manifest.policy)
        examine_all(zip(measured, jobs, strict=True), self.threads, self.book, compiled=compiled)
        pairs += measured
        for pair in pairs:
            decide(pair, self.book)
        return pairs

    def audits(self, candidates: Sequence[Trace]) -> list[Pair]:
        """Return weights and attributes of the first trace that reports them, judged."""
        pairs: list[Pair] = []
        for audit, reported in _AUDITS:
            manifests = [trace.manifest for trace in candidates]
            first = next(filter(reported, manifests), None)
            if first is not None:
                pairs += audit(self.reference.manifest, first)
        kept = [pair for pair in pairs if self.excludes.reason(pair.address) is None]
        for pair in kept:
            decide(pair, self.book)
        return kept

    def result(self, candidates: Sequence[Trace], pairs: list[Pair]) -> Result:
        """Relate the pairs of one candidate to each other, and put its result together."""
        relate(pairs, self.reference.manifest.program)
        reference, manifest = self.reference, self.reference.manifest
        names = chain(["candidate"], map("candidate {}".format, count(1)))
        sides = {"reference": reference} | dict(zip(names, candidates, strict=False))
        result = Result(
            verdict="INCOMPLETE",
            counts={},
            first_divergence=None,
            causes=[],
            pairs=pairs,
            coverage=coverage_of(reference, candidates, pairs, self.excludes),
            platform={trace.manifest.name: trace.manifest.floors for trace in sides.values() if trace.manifest.floors},
            provenance={side: trace.manifest.provenance for side, trace in sides.items()},
            case=manifest.case,
            functions=manifest.functions,
            checks=_checks(reference, candidates, pairs),
            islands=msgspec.to_builtins(manifest.islands),
            price=_price(reference, candidates, pairs),
            traces={"reference": str(reference.folder)}
            | {f"candidate_{number}": str(trace.folder) for number, trace in enumerate(candidates)},
        )
        result.checks["same"] = sameness(reference, candidates, pairs)
        summarize(result)
        return result

    def refuse_unused(self, candidates: Sequence[Trace]) -> None:
        """Raise for excludes and rules that match nothing."""
        addresses = list(chain.from_iterable(_runs((self.reference, *candidates))))
        self.excludes.refuse_unused(addresses)
        if any(run.info.only is not None for run in _runs(candidates)):
            self.book.note(addresses)
        self.book.refuse_unused()


def _check(reference: Trace, candidates: Sequence[Trace]) -> None:
    """Refuse traces that do not belong together.

    Raises:
        TraceError: they do not.
    """
    for traces in named(candidates).values():
        _check_runs(traces)
    for trace in candidates:
        _check_complete(reference)
        _check_complete(trace)
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


def _check_complete(trace: Trace) -> None:
    """Refuse a trace whose recorder has not finished."""
    manifest = trace.manifest
    if manifest.status != "complete" or not all(info.complete for info in manifest.runs.values()):
        message = f"{trace.folder} is not complete; continue it with --resume, or record it again"
        raise TraceError(message)


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


def _own_first(candidates: Sequence[Trace], label: str) -> list[Trace]:
    """Return a candidate's traces, those with a run in the type of this column first: their audit is the column's."""
    dtype = label.rpartition(" ")[2]
    return sorted(candidates, key=lambda trace: all(run.info.dtype != dtype for run in _runs([trace])))


def _runs(traces: Iterable[Trace]) -> Iterator[RunReader]:
    """Yield every run of every trace."""
    for trace in traces:
        yield from trace.readers


def _price(reference: Trace, candidates: Sequence[Trace], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return what the differences cost in the types of these pairs."""
    types = {pair.dtype for pair in pairs if pair.mode == "free"}
    found: dict[str, Any] = {}
    for what, by_type_ in price_of(reference, candidates).items():
        found[what] = {dtype: entry for dtype, entry in by_type_.items() if dtype in types}
    return found


def _checks(reference: Trace, candidates: Sequence[Trace], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return what the recorder proved, whether the order is one of execution, and which questions were answered."""
    proved = reference.manifest.checks
    found: dict[str, Any] = {
        "neutral": proved.neutral,
        "repeatable": proved.repeatable,
        "ordered": all(trace.ordered for trace in (reference, *candidates)),
    }
    asked = {pair.question for pair in pairs}
    found |= dict.fromkeys(("semantics", "precision"), "not measured")
    return found | dict.fromkeys(asked - {"audit"}, "measured")
