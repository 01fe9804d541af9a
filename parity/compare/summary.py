"""The verdict of the whole: counts, stages, the first divergence.

MISMATCH if any MISMATCH or INCOMPARABLE stands without an excuse; else INCOMPLETE if anything is missing,
unexpected, not explained or not read, if only an unbounded depth or the candidate's platform could excuse a
difference, or if nothing was compared; else MATCH.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import chain, filterfalse
from typing import TYPE_CHECKING, Final, get_args

from parity.address import STAGES
from parity.compare.findings import with_findings
from parity.result import OF_REFERENCE, FirstDivergence, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from parity.result import Flag, Overall, Pair, Result

__all__ = [
    "EXCUSES",
    "STAGE_VERDICTS",
    "failing",
    "first_divergence",
    "first_of",
    "is_about_reference",
    "is_excused",
    "is_finding",
    "is_undecided",
    "keeps_from_match",
    "summarize",
    "verdict_of",
]

EXCUSES: Final[tuple[Flag, ...]] = ("unbounded-depth", "platform-undecided", "contains", "inherited", "equivalent")
"""Flags that say why a failing pair is not a finding of its own; the first that it has counts. The others only describe."""

STAGE_VERDICTS: Final = ("MATCH", "INHERITED", "INCOMPLETE", "MISMATCH")
"""What is said of a stage, the mildest first; INHERITED: it fails only by what came before."""

_EXCUSING: Final = frozenset(EXCUSES)
_FINDING: Final = "finding"
_OFF: Final = frozenset(OF_REFERENCE)
_EXCUSED_BY: Final = {"MISMATCH": _EXCUSING, "INCOMPARABLE": _EXCUSING | _OFF}
"""Flags by which a pair with this verdict is no finding about the candidate."""
_OF_STAGE: Final = {
    "MATCH": "MATCH",
    "equivalent": "MATCH",
    "contains": "INHERITED",
    "inherited": "INHERITED",
    "unbounded-depth": "INHERITED",
    "platform-undecided": "INCOMPLETE",
    "MISSING": "INCOMPLETE",
    "UNEXPECTED": "INCOMPLETE",
    "reference-error": "INCOMPLETE",
    "twin-error": "INCOMPLETE",
    _FINDING: "MISMATCH",
}
"""What is said of a stage for a pair that stands so; the gravest of its pairs counts."""
_UNDECIDED: Final = frozenset({"unbounded-depth", "platform-undecided"})
"""How a pair stands that differs and may be right: only its depth, or only the candidate's platform, could excuse it."""
_OPEN: Final = _UNDECIDED | {"MISSING", "UNEXPECTED", *OF_REFERENCE}
"""How a pair stands that leaves open what it is: it is undecided, one side lacks it, or a run of the reference is off."""
_KEEPING: Final = _OPEN | {_FINDING}
_REASONS: Final = (*OF_REFERENCE, *EXCUSES)
"""How a failing pair that is no finding may stand. Whatever excuses it, what rests on a run that is off is never a match."""
_FAILING: Final = frozenset({"MISMATCH", "INCOMPARABLE"})
_NONE: Final[dict[str, int]] = dict.fromkeys(get_args(Verdict), 0)
_STAGE: Final = {stage: position for position, stage in enumerate(STAGES)}
_RANK: Final = {
    ("audit", "audit"): 0, ("semantics", "layers"): 1, ("precision", "layers"): 2, ("semantics", "steps"): 3,
    ("precision", "steps"): 4, ("semantics", "free"): 5, ("precision", "free"): 6,
}  # fmt: skip


def failing(pair: Pair) -> bool:
    """Tell whether a pair is a MISMATCH or INCOMPARABLE, excused or not."""
    return pair.verdict in _FAILING


def is_about_reference(pair: Pair) -> bool:
    """Tell whether a pair cannot be judged because a run of the reference is off, and says nothing of the candidate."""
    return pair.verdict == "INCOMPARABLE" and not _OFF.isdisjoint(pair.flags)


def is_excused(pair: Pair) -> bool:
    """Tell whether a flag says that a failing pair follows from something else."""
    return not _EXCUSED_BY.get(pair.verdict, _EXCUSING).isdisjoint(pair.flags)


def is_finding(pair: Pair) -> bool:
    """Tell whether a pair fails without an excuse."""
    return pair.verdict in _FAILING and not is_excused(pair)  # asked of every pair more than once


def keeps_from_match(pair: Pair) -> bool:
    """Tell whether a pair keeps the whole from a MATCH: it is a finding, or leaves open what it is."""
    return _standing(pair) in _KEEPING


def _standing(pair: Pair) -> str:
    """Return how a pair stands: its verdict, or where it fails the flag that excuses it, or that it is a finding."""
    if pair.verdict not in _FAILING:
        return pair.verdict
    if is_finding(pair):
        return _FINDING
    return next(filter(pair.flags.__contains__, _REASONS))


def first_of(result: Result) -> FirstDivergence | None:
    """Return the first divergence of a result; pairs of plain folders have no order, and so no first."""
    if not result.checks.get("ordered", True):
        return None
    return first_divergence(result.pairs)


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


def verdict_of(pairs: Sequence[Pair], left_out: Collection[str] = (), *, audits: bool = False) -> Overall:
    """Return the verdict of these pairs together.

    Args:
        pairs: All pairs of a result.
        left_out: What was neither compared nor has a reason.
        audits: Whether nothing but audits was asked for.
    """
    standings = set(map(_standing, pairs))
    if _FINDING in standings:
        return "MISMATCH"
    compared = {pair.mode for pair in pairs if pair.verdict == "MATCH"}
    if not audits:
        compared.discard("audit")
    # Where nothing was compared, nothing is said by there being no finding.
    if left_out or not compared or not standings.isdisjoint(_OPEN):
        return "INCOMPLETE"
    return "MATCH"


def is_undecided(result: Result) -> bool:
    """Tell whether undecided pairs alone keep one candidate's result from a MATCH: nothing is blamed and nothing proven."""
    decided = list(filterfalse(_is_open, result.pairs))
    without = verdict_of(decided, result.coverage.left_out)
    return (result.verdict, without) == ("INCOMPLETE", "MATCH")


def _is_open(pair: Pair) -> bool:
    """Tell whether a pair is undecided."""
    return _standing(pair) in _UNDECIDED


def summarize(result: Result) -> None:
    """Set verdict, counts, stages, first divergence and the findings about the reference of a result from its pairs."""
    result.causes = with_findings(result)
    result.counts = _counts(result.pairs)
    result.first_divergence = first_of(result)
    result.verdict = verdict_of(result.pairs, result.coverage.left_out, audits=result.is_of_weights)
    standings: defaultdict[str, set[str]] = defaultdict(set)
    for pair in result.pairs:
        standings[pair.stage].add(_standing(pair))
    result.stages = {stage: _stage_verdict(standings[stage]) for stage in STAGES if stage in standings}


def _counts(pairs: Sequence[Pair]) -> dict[str, int]:
    """Count verdicts, flags and, as `findings`, the failing pairs without an excuse."""
    verdicts = Counter(pair.verdict for pair in pairs)
    flags = Counter(chain.from_iterable(pair.flags for pair in pairs))
    findings = sum(map(is_finding, pairs))
    return _NONE | verdicts | {"findings": findings} | flags


def _stage_verdict(standings: Iterable[str]) -> str:
    """Return the verdict of one stage: the gravest of what is said for how its pairs stand."""
    return max(map(_OF_STAGE.__getitem__, standings), key=STAGE_VERDICTS.index)
