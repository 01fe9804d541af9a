"""Which traces are files of weights, and the result of comparing them: an audit, and nothing that ran."""

from __future__ import annotations

from itertools import filterfalse
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from parity.address import path_of
from parity.audit import audit_files
from parity.compare.leftover import left_over
from parity.compare.plan import Excludes
from parity.compare.several import join
from parity.compare.summary import summarize
from parity.errors import ToleranceError, TraceError
from parity.result import Coverage, Result
from parity.trace.contents import Holding, is_counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from parity.choices import Contents
    from parity.result import Pair
    from parity.trace import Trace

__all__ = ["compare_weights", "held", "refuse_rules"]

_NAMED: Final = 5


def held(reference: Trace, candidates: Sequence[Trace], asked: Contents | None) -> Holding:
    """Return what these traces are taken for; `asked` where the user says it of files without a manifest.

    Raises:
        TraceError: some hold weights and others activations, or a recording shall be taken for a file of weights.
    """
    traces = (reference, *candidates)
    recorded = list(filterfalse(attrgetter("plain"), traces))
    if asked == "weights" and recorded:
        message = (
            f"{recorded[0].folder} is a recording, whose weights are audited with its runs; --as weights is for files"
        )
        raise TraceError(message)
    if asked is not None:
        return Holding(asked, "--as says so")
    contents = reference.holding.contents
    unlike = next(filter(lambda trace: trace.holding.contents != contents, candidates), None)
    if unlike is not None:
        raise _unlike(reference, unlike)
    return reference.holding


def _unlike(first: Trace, second: Trace) -> TraceError:
    """Return the error of a file of weights beside a trace of activations."""
    told = " and ".join(map(_taken, (first, second)))
    way_out = "say --as weights or --as activations, or give the other file"
    if not (first.plain and second.plain):
        way_out = (
            "`parity replay … --weights FILE` has a candidate load a file, and its weights are audited with its runs"
        )
    return TraceError(f"{told} cannot be compared; {way_out}")


def _taken(trace: Trace) -> str:
    """Return what a trace is taken for, and why."""
    return f"{trace.folder} as {trace.holding.contents} ({trace.holding.reason})"


def refuse_rules(rules: Sequence[object]) -> None:
    """Refuse rules of tolerance for weights.

    Raises:
        ToleranceError: there are any.
    """
    if rules:
        message = f"these are weights, which are equal or not, and tolerances were given ({len(rules)}); leave them out, or say --as activations"
        raise ToleranceError(message)


def compare_weights(
    reference: Trace,
    candidates: Sequence[Trace],
    holding: Holding,
    *,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Compare files of weights, tensor by tensor; several candidates give a joined result.

    Raises:
        TraceError: a tensor cannot be read.
    """
    views: dict[str, Result] = {}
    for trace in candidates:
        pairs = audit_files(reference, trace, threads, progress)
        views[str(trace.folder)] = _result(reference, trace, holding, pairs)
    return join(views)


def _result(reference: Trace, candidate: Trace, holding: Holding, pairs: list[Pair]) -> Result:
    """Return the result of one file of weights."""
    expected, common = _owners(pairs, "UNEXPECTED"), _owners(pairs, "UNEXPECTED", "MISSING")
    rest = left_over(reference, [candidate], Excludes([]))
    result = Result(
        verdict="INCOMPLETE",
        counts={},
        first_divergence=None,
        causes=[],
        pairs=pairs,
        coverage=Coverage(
            paths=len(expected),
            compared=len(common),
            parameter_owners=len(expected),
            parameter_owners_compared=len(common),
            unread=rest.unread,
            notes=[*rest.notes, *_plain_values(reference, candidate)],
        ),
        platform={},
        provenance={"reference": reference.manifest.provenance, "candidate": candidate.manifest.provenance},
        case={},
        checks={"ordered": False, "compared_as": holding.contents, "because": holding.reason},
        traces={"reference": str(reference.folder), "candidate_0": str(candidate.folder)},
    )
    summarize(result)
    return result


def _owners(pairs: Sequence[Pair], *besides: str) -> set[str]:
    """Return the modules of the weights of these pairs, besides those with some verdicts."""
    return {path_of(pair.address) for pair in pairs if pair.verdict not in besides}


def _plain_values(reference: Trace, candidate: Trace) -> Iterator[str]:
    """Yield a note on plain values and counters beside the weights (an epoch) that one side alone has."""
    alone = sorted(_values_of(reference) ^ _values_of(candidate))
    if alone:
        yield f"plain values and counters that one side alone has are no weights: {', '.join(alone[:_NAMED])}{' …' * (len(alone) > _NAMED)}"


def _values_of(trace: Trace) -> set[str]:
    """Return the names of what a file holds beside weights."""
    (run,) = trace.readers
    return set(map(path_of, map(attrgetter("address"), filter(is_counted, run.records))))
