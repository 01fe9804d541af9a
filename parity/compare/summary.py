"""The verdict of the whole: counts, stages, the first divergence.

MISMATCH if any MISMATCH or INCOMPARABLE stands without an excuse; else INCOMPLETE if anything is missing,
unexpected or not explained, if only an unbounded depth could excuse a difference, or if nothing was
compared; else MATCH.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from parity.address import STAGES
from parity.result import FirstDivergence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parity.result import Flag, Overall, Pair, Result

__all__ = ["EXCUSES", "failing", "first_divergence", "is_excused", "summarize", "verdict_of"]

EXCUSES: Final[frozenset[Flag]] = frozenset({"contains", "inherited", "equivalent", "unbounded-depth"})
"""Flags that say why a failing pair is not a finding of its own. The other flags describe, they excuse nothing."""

_FAILING: Final = frozenset({"MISMATCH", "INCOMPARABLE"})
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


def first_divergence(pairs: Iterable[Pair]) -> FirstDivergence | None:
    """Return the first finding: by stage, then question and mode, then order of completion."""
    findings = [pair for pair in pairs if failing(pair) and not is_excused(pair)]
    if not findings:
        return None
    first = min(findings, key=lambda pair: (_STAGE[pair.stage], _RANK[pair.question, pair.mode], pair.order))
    return FirstDivergence(
        address=first.address, stage=first.stage, question=first.question, mode=first.mode, dtype=first.dtype,
        candidate=first.candidate,
    )  # fmt: skip


def verdict_of(pairs: Sequence[Pair], unexplained: Sequence[str] = ()) -> Overall:
    """Return the verdict of these pairs together."""
    compared = False
    undecided = bool(unexplained)
    for pair in pairs:
        if failing(pair):
            if not is_excused(pair):
                return "MISMATCH"
            undecided = undecided or "unbounded-depth" in pair.flags
        elif pair.verdict == "MATCH":
            compared = compared or pair.mode != "audit"
        else:
            undecided = True
    return "MATCH" if compared and not undecided else "INCOMPLETE"


def summarize(result: Result) -> None:
    """Set verdict, counts, stages and first divergence of a result from its pairs; plain folders have no first."""
    result.counts = _counts(result.pairs)
    ordered = result.checks.get("ordered", True)
    result.first_divergence = first_divergence(result.pairs) if ordered else None
    result.verdict = verdict_of(result.pairs, result.coverage.unexplained)
    by_stage: dict[str, list[Pair]] = {}
    for pair in result.pairs:
        by_stage.setdefault(pair.stage, []).append(pair)
    result.stages = {stage: _stage_verdict(by_stage[stage]) for stage in STAGES if stage in by_stage}


def _counts(pairs: Iterable[Pair]) -> dict[str, int]:
    """Count verdicts, flags and, as `findings`, the failing pairs without an excuse."""
    counts = dict.fromkeys(("MATCH", "MISMATCH", "INCOMPARABLE", "MISSING", "UNEXPECTED", "findings"), 0)
    for pair in pairs:
        counts[pair.verdict] += 1
        counts["findings"] += failing(pair) and not is_excused(pair)
        for flag in pair.flags:
            counts[flag] = counts.get(flag, 0) + 1
    return counts


def _stage_verdict(pairs: Sequence[Pair]) -> str:
    """Return the verdict of one stage; INHERITED when it fails only by what came before."""
    if any(failing(pair) and not is_excused(pair) for pair in pairs):
        return "MISMATCH"
    if any(pair.verdict in {"MISSING", "UNEXPECTED"} for pair in pairs):
        return "INCOMPLETE"
    return "INHERITED" if any(failing(pair) and "equivalent" not in pair.flags for pair in pairs) else "MATCH"
