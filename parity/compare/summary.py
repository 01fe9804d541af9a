"""The verdict of the whole: counts, stages, the first divergence.

MISMATCH if any MISMATCH or INCOMPARABLE stands without an excuse; else INCOMPLETE if anything is missing,
unexpected or not explained, if only an unbounded depth could excuse a difference, or if nothing was
compared; else MATCH.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Final, get_args

from parity.address import STAGES
from parity.result import FirstDivergence, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parity.result import Flag, Overall, Pair, Result

__all__ = [
    "EXCUSES",
    "failing",
    "first_divergence",
    "first_of",
    "is_excused",
    "is_finding",
    "is_undecided",
    "summarize",
    "verdict_of",
]

EXCUSES: Final[frozenset[Flag]] = frozenset({"contains", "inherited", "equivalent", "unbounded-depth"})
"""Flags that say why a failing pair is not a finding of its own. The other flags describe, they excuse nothing."""

_FAILING: Final = frozenset({"MISMATCH", "INCOMPARABLE"})
_ONE_SIDED: Final = frozenset({"MISSING", "UNEXPECTED"})
_NONE: Final[dict[str, int]] = dict.fromkeys(get_args(Verdict), 0)
_STAGE: Final = {stage: position for position, stage in enumerate(STAGES)}
_RANK: Final = {
    ("audit", "audit"): 0, ("semantics", "layers"): 1, ("precision", "layers"): 2, ("semantics", "steps"): 3,
    ("precision", "steps"): 4, ("semantics", "free"): 5, ("precision", "free"): 6,
}  # fmt: skip


def failing(pair: Pair) -> bool:
    """Tell whether a pair is a MISMATCH or INCOMPARABLE, excused or not."""
    return pair.verdict in _FAILING


def is_excused(pair: Pair) -> bool:
    """Tell whether a flag says that a failing pair follows from something else."""
    return not EXCUSES.isdisjoint(pair.flags)


def is_finding(pair: Pair) -> bool:
    """Tell whether a pair fails without an excuse."""
    return failing(pair) and not is_excused(pair)


def first_of(result: Result) -> FirstDivergence | None:
    """Return the first divergence of a result; pairs of plain folders have no order, and so no first."""
    return first_divergence(result.pairs) if result.checks.get("ordered", True) else None


def first_divergence(pairs: Iterable[Pair]) -> FirstDivergence | None:
    """Return the first finding: by stage, then question and mode, then order of completion."""
    first = min(filter(is_finding, pairs), key=_place, default=None)
    if first is None:
        return None
    return FirstDivergence(
        address=first.address,
        stage=first.stage,
        question=first.question,
        mode=first.mode,
        dtype=first.dtype,
        candidate=first.candidate,
    )


def _place(pair: Pair) -> tuple[int, int, int]:
    """Return what says which of two findings comes first."""
    return _STAGE[pair.stage], _RANK[pair.question, pair.mode], pair.order


def verdict_of(pairs: Sequence[Pair], unexplained: Sequence[str] = ()) -> Overall:
    """Return the verdict of these pairs together."""
    if any(map(is_finding, pairs)):
        return "MISMATCH"
    open_questions = [*unexplained, *filter(is_undecided, pairs)]
    compared = {pair.mode for pair in pairs if pair.verdict == "MATCH"} - {"audit"}
    if open_questions or not compared:
        return "INCOMPLETE"
    return "MATCH"


def is_undecided(pair: Pair) -> bool:
    """Tell whether a pair leaves open what it is: one side lacks it, or only its depth could excuse it."""
    return pair.verdict in _ONE_SIDED or (failing(pair) and "unbounded-depth" in pair.flags)


def summarize(result: Result) -> None:
    """Set verdict, counts, stages and first divergence of a result from its pairs."""
    result.counts = _counts(result.pairs)
    result.first_divergence = first_of(result)
    result.verdict = verdict_of(result.pairs, result.coverage.unexplained)
    by_stage: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in result.pairs:
        by_stage[pair.stage].append(pair)
    result.stages = {stage: _stage_verdict(by_stage[stage]) for stage in STAGES if stage in by_stage}


def _counts(pairs: Sequence[Pair]) -> dict[str, int]:
    """Count verdicts, flags and, as `findings`, the failing pairs without an excuse."""
    verdicts = Counter(pair.verdict for pair in pairs)
    flags = Counter(chain.from_iterable(pair.flags for pair in pairs))
    findings = sum(map(is_finding, pairs))
    return _NONE | verdicts | {"findings": findings} | flags


def _stage_verdict(pairs: Sequence[Pair]) -> str:
    """Return the verdict of one stage; INHERITED when it fails only by what came before."""
    if any(map(is_finding, pairs)):
        return "MISMATCH"
    verdicts = {pair.verdict for pair in pairs if "equivalent" not in pair.flags}
    if not _ONE_SIDED.isdisjoint(verdicts):
        return "INCOMPLETE"
    return "MATCH" if _FAILING.isdisjoint(verdicts) else "INHERITED"
