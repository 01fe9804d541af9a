"""What every renderer says about a result, worked out once: sentences, the stage table, the price, the gaps.

Renderers only draw. What is here is text and counts; the numbers stay in the pairs.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

from parity.address import STAGES, path_of
from parity.compare.judge import limits_of
from parity.compare.limits import RMS_FACTOR, SEMANTICS_RMS
from parity.compare.summary import failing, is_excused
from parity.report.words import as_float, count, largest, number, ratio, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.result import Pair, Result

__all__ = [
    "COLUMNS", "FAILING", "Cell", "StageRow", "compared", "excess", "excused", "failures", "headline", "lead",
    "quiet", "scope", "stages", "subject", "verdict_of", "worst",
]  # fmt: skip

Shown = Literal[
    "MATCH", "MISMATCH", "INCOMPARABLE", "MISSING", "UNEXPECTED", "INCOMPLETE",
    "undecided", "inherited", "contains", "equivalent", "not measured",
]  # fmt: skip

_LIMITED: Final = frozenset({"float64", "floor", "model"})
FAILING: Final = frozenset({"MISMATCH", "INCOMPARABLE", "MISSING", "UNEXPECTED"})
COLUMNS: Final = (
    ("audit", "audit"), ("semantics", "layers"), ("semantics", "steps"), ("semantics", "free"),
    ("precision", "layers"), ("precision", "steps"), ("precision", "free"),
)  # fmt: skip
_SEVERITY: Final = (
    "MISMATCH",
    "INCOMPARABLE",
    "MISSING",
    "UNEXPECTED",
    "undecided",
    "inherited",
    "contains",
    "equivalent",
    "MATCH",
)
_EXCUSES: Final[dict[str, Shown]] = {
    "inherited": "inherited",
    "contains": "contains",
    "equivalent": "equivalent",
    "unbounded-depth": "undecided",
}
_STAGE_WORDS: Final[dict[str, Shown]] = {shown: shown for shown in get_args(Shown)} | {"INHERITED": "inherited"}


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One stage under one question and mode: the verdict, how many pairs, how many fail, the worst number.

    `failed` counts those that fail by themselves, `explained` those that fail only because of others.
    """

    verdict: Shown
    total: int
    failed: int
    explained: int
    worst: str


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stage: its verdict, its pairs, and a cell for each of `COLUMNS` (None where nothing was measured)."""

    stage: str
    verdict: Shown
    pairs: int
    cells: list[Cell | None]


def excused(pair: Pair) -> bool:
    """Tell whether a failing pair is explained by another one and does not count against the whole."""
    return failing(pair) and is_excused(pair)


def verdict_of(pair: Pair) -> Shown:
    """Return the verdict as it is shown: an excused failure reads as its excuse, such as `inherited`."""
    if not excused(pair):
        return pair.verdict
    return next(shown for flag, shown in _EXCUSES.items() if flag in pair.flags)


def excess(pair: Pair) -> float | None:
    """Return how many times over its limit a pair is (1 is the limit), or None; no number counts as infinite."""
    errors = as_float(pair.error_rms), as_float(pair.error_max)
    found: float | None = None
    if pair.ground in _LIMITED:
        limits = limits_of(pair)
        found = largest(
            error / limit for error, limit in zip(errors, limits, strict=True) if error is not None and limit > 0
        )
    elif pair.question == "precision":
        over_floor = as_float(pair.ratio_to_floor)
        found = None if over_floor is None else over_floor / RMS_FACTOR
    elif pair.question == "semantics":
        distance = as_float(pair.rel_l2)
        found = None if distance is None else distance / SEMANTICS_RMS
    return math.inf if found is not None and math.isnan(found) else found


def failures(result: Result) -> str:
    """Return how many pairs fail by themselves and how many only because of others, as one sentence."""
    wrong = Counter(verdict_of(pair) for pair in result.pairs if pair.verdict in FAILING)
    own = sum(amount for verdict, amount in wrong.items() if verdict in FAILING)
    fails = "fails by itself" if own == 1 else "fail by themselves"
    sentence = f"{own:,} of {count(len(result.pairs), 'pair')} {fails}"
    because = wrong["inherited"] + wrong["contains"]
    parts = [
        f"{because:,} only because of {'it' if own == 1 else 'them'}" if because else "",
        f"{wrong['equivalent']:,} without effect" if wrong["equivalent"] else "",
        f"{wrong['undecided']:,} cannot be decided without a float64 run" if wrong["undecided"] else "",
    ]
    return ", ".join([sentence, *(part for part in parts if part)])


def headline(result: Result) -> str:
    """Return the first line: the first divergence, address first; else the verdict first."""
    found = result.first_divergence
    if found is not None:
        slugs = [
            f"{visible(cause.slug)}, {'confirmed' if cause.confirmed else 'not confirmed'}"
            for cause in result.causes
            if path_of(cause.address) == path_of(found.address) and cause.candidate == found.candidate
        ]
        whose = f" of {visible(found.candidate)}" if found.candidate else ""
        where = f"first divergence{whose}, stage {visible(found.stage)}, {found.question}"
        return f"{visible(found.address)}: {result.verdict}; {where}{'; ' + slugs[0] if slugs else ''}"
    gaps = {name: result.counts.get(name, 0) for name in ("MISSING", "UNEXPECTED")}
    told = ", ".join(f"{amount} {name.lower()}" for name, amount in gaps.items() if amount)
    if result.verdict == "MATCH":
        return f"MATCH: {_agreement(result)}: {scope(result)}"
    if not result.pairs:
        return f"{result.verdict}: nothing was compared"
    unexplained = len(result.coverage.unexplained)
    paths = f"{count(unexplained, 'path')} not compared without a reason" if unexplained else ""
    return f"{result.verdict}: {'; '.join(part for part in (told, paths) if part) or 'see the pairs that fail'}"


def _agreement(result: Result) -> str:
    """Return how many pairs agree within their limits, and how many are beyond them by the platform's precision."""
    coarse = sum("platform-precision" in pair.flags for pair in result.pairs)
    agree = f"{count(len(result.pairs) - coarse, 'pair')} agree within their limits"
    return f"{agree}, {coarse:,} are beyond them by the platform's precision alone" if coarse else agree


def subject(result: Result) -> str:
    """Return what was run, from the case: the model, the sampler and its steps, the size."""

    def section(name: str) -> dict[str, Any]:
        found = result.case.get(name)
        return found if isinstance(found, dict) else {}

    model, sampling, size = section("model"), section("sampling"), section("size")
    parts = [
        model.get("folder") or model.get("file"),
        f"{sampling['sampler']}, {sampling.get('steps', '?')} steps" if "sampler" in sampling else None,
        f"{size['width']} x {size['height']} pixels" if {"width", "height"} <= set(size) else None,
    ]
    return " · ".join(visible(str(part)) for part in parts if part)


def lead(result: Result) -> str:
    """Return two or three sentences for the top of the page: what happened, why, and what follows from it."""
    found = result.first_divergence
    sentences = []
    if found is None:
        sentences.append(headline(result).partition(": ")[2] + ".")
    else:
        sentences.append(
            f"The first divergence is {visible(found.address)} (stage {visible(found.stage)}, {found.question})."
        )
    if result.causes:
        cause = result.causes[0]
        sure = "confirmed by running the candidate again with the repair" if cause.confirmed else "not confirmed"
        many = f"{len(result.causes)} causes were found; the first" if len(result.causes) > 1 else "Its cause"
        sentences.append(f"{many} is {visible(cause.slug)}, {sure}.")
    if any(pair.verdict in FAILING for pair in result.pairs):
        sentences.append(failures(result) + ".")
    return " ".join(sentences)


def scope(result: Result) -> str:
    """Return under which questions, replays and types the pairs stand."""
    asked: dict[str, dict[str, None]] = {}
    for pair in sorted(
        result.pairs,
        key=lambda pair: COLUMNS.index((pair.question, pair.mode)) if (pair.question, pair.mode) in COLUMNS else 0,
    ):
        name = "audits" if pair.question == "audit" else f"{pair.question} in {pair.dtype}"
        asked.setdefault(name, {})[pair.mode] = None
    return "; ".join(name if name == "audits" else f"{name} ({', '.join(modes)})" for name, modes in asked.items())


def compared(result: Result) -> list[str]:
    """Return one sentence per (question, mode, type): how many pairs, how many of each verdict."""
    groups: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in result.pairs:
        groups[pair.question, pair.mode, "" if pair.question == "audit" else pair.dtype or ""].append(pair)
    rank = {column: place for place, column in enumerate(COLUMNS)}
    sentences = []
    for (question, mode, dtype), pairs in sorted(
        groups.items(), key=lambda item: (rank.get(item[0][:2], len(rank)), item[0])
    ):
        name = "audits" if question == "audit" else f"{question}, {mode}"
        if dtype:
            name += f", {dtype}"
        tally = Counter(verdict_of(pair) for pair in pairs)
        told = ", ".join(f"{tally[verdict]:,} {verdict}" for verdict in reversed(_SEVERITY) if tally[verdict])
        sentences.append(f"{name}: {told}{_worst_of(pairs)}")
    return sentences


def _worst_of(pairs: Iterable[Pair]) -> str:
    """Return `; worst 1.3x of the limit` style words, or nothing."""
    told = worst(pairs)
    return f"; worst {told}" if told else ""


def worst(pairs: Iterable[Pair]) -> str:
    """Return the largest distance of these pairs, in the unit that judges them."""
    pairs = list(pairs)
    over_floor = largest(pair.ratio_to_floor for pair in pairs if pair.question == "precision")
    if over_floor is not None:
        return ratio(over_floor, RMS_FACTOR)
    distance = largest(pair.rel_l2 for pair in pairs)
    return "" if distance is None else number(distance)


def quiet(verdicts: Iterable[str]) -> Shown:
    """Return the gravest of several shown verdicts."""
    found = set(verdicts)
    return next((verdict for verdict in _SEVERITY if verdict in found), "not measured")


def stages(result: Result) -> list[StageRow]:
    """Return the stages in order: those with pairs, and those that the result names."""
    grouped: dict[str, list[Pair]] = defaultdict(list)
    for pair in result.pairs:
        grouped[pair.stage].append(pair)
    names: list[str] = [stage for stage in STAGES if stage in grouped or stage in result.stages]
    names += sorted((set(grouped) | set(result.stages)) - set(names))
    return [_stage(name, grouped.get(name, []), result.stages.get(name)) for name in names]


def _stage(name: str, pairs: list[Pair], told: str | None) -> StageRow:
    """Return one row; the result's own word for the stage stands where it is a verdict, else the pairs decide."""
    by_column: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_column[pair.question, pair.mode].append(pair)
    cells = [_cell(by_column[column]) if by_column[column] else None for column in COLUMNS]
    verdict = _STAGE_WORDS.get(told or "", quiet(verdict_of(pair) for pair in pairs))
    return StageRow(stage=visible(name), verdict=verdict, pairs=len(pairs), cells=cells)


def _cell(pairs: list[Pair]) -> Cell:
    """Summarise the pairs of one stage, question and mode."""
    explained = sum(map(excused, pairs))
    failed = sum(pair.verdict in FAILING for pair in pairs) - explained
    return Cell(
        verdict=quiet(map(verdict_of, pairs)), total=len(pairs), failed=failed, explained=explained, worst=worst(pairs)
    )
