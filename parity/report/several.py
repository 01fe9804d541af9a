"""What a report of several candidates says: the same lines for each, side by side.

Every candidate's own result is worded by the modules that word one alone (`headline`, `stages`, `card`, `price_table`,
`facts`); here their words become the rows of tables with a column for each candidate. The terminal and the page draw
them.
"""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec

from parity.compare.several import split
from parity.report import card, facts
from parity.report.facts import Line, side_by_side
from parity.report.grouping import asked, in_order
from parity.report.headline import headline
from parity.report.price_table import price_tables
from parity.report.stages import stages as stages_of
from parity.report.verdicts import Shown, fails_alone, worst_local
from parity.report.words import NOTHING, after, count, joined, some, sure, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from parity.report.stages import StageRow
    from parity.result import Result

__all__ = ["StageCell", "StageLine", "coverage", "lead", "overview", "priced", "provenance", "stages"]


class StageCell(msgspec.Struct, frozen=True, kw_only=True):
    """A stage of one candidate: its verdict, and in words how many of its pairs fail with the worst local errors."""

    verdict: Shown
    told: str


class StageLine(msgspec.Struct, frozen=True, kw_only=True):
    """One stage: a cell for each candidate; None where it has no such stage."""

    stage: str
    cells: list[StageCell | None]


def lead(result: Result) -> str:
    """Return how many candidates match, and each one that does not with its first divergence."""
    matching = sum(view.verdict == "MATCH" for view in result.candidates.values())
    match = "matches" if matching == 1 else "match"
    sentences = [f"{matching} of {count(len(result.candidates), 'candidate')} {match}."]
    for label, view in split(result).items():
        if view.first_divergence is not None:
            sentences.append(f"{visible(label)}: first diverges at {visible(view.first_divergence.address)}.")
        elif view.verdict != "MATCH":
            sentences.append(f"{visible(label)}: {headline(view)}.")
    return " ".join(sentences)


def overview(result: Result) -> list[Line]:
    """Return what a person asks first of each candidate: verdict, where, why, how far, at which price."""
    views = split(result).values()
    left_out = set() if facts.makes_images(result) else _PICTURED
    lines = []
    for what, tell in _OVERVIEW.items():
        if what not in left_out:
            lines.append(Line(what=what, texts=list(map(tell, views))))
    return lines


def _divergence(view: Result) -> str:
    """Return the first divergence with its stage and question, or a dash."""
    found = view.first_divergence
    if found is None:
        return NOTHING
    return f"{visible(found.address)} (stage {visible(found.stage)}; {asked(found)})"


def _cause(view: Result) -> str:
    """Return the first cause and how sure it is, or a dash."""
    if not view.causes:
        return NOTHING
    first, *others = view.causes
    return joined(visible(first.slug), sure(first), after("and ", some(len(others), "more")))


def _failures(view: Result) -> str:
    """Return how many pairs fail by themselves of how many."""
    return f"{sum(map(fails_alone, view.pairs)):,} of {len(view.pairs):,}"


def _worst(question: str, view: Result) -> str:
    """Return the worst local error under a question."""
    return worst_local(view.pairs, question) or NOTHING


def _cost(place: str, view: Result) -> str:
    """Return how far the working type's free run ends from the reference at a place."""
    for table in price_tables(view):
        if table.names[0] == place and not table.exact:
            value, name, _ = table.shortest
            return f"{value} {name}"
    return NOTHING


def _paths(view: Result) -> str:
    """Return how many paths are compared."""
    return f"{view.coverage.compared:,} of {view.coverage.paths:,}"


def _unexplained(view: Result) -> str:
    """Return how many paths are not compared without a reason."""
    return f"{len(view.coverage.unexplained):,}"


_OVERVIEW: Final[dict[str, Callable[[Result], str]]] = {
    "verdict": attrgetter("verdict"),
    "first divergence": _divergence,
    "cause": _cause,
    "pairs that fail by themselves": _failures,
    "worst local error in float64, limit 1e-9": partial(_worst, "semantics"),
    "worst local error in the working type, limit 3x its floor": partial(_worst, "precision"),
    "final latents, from the reference": partial(_cost, "final latents"),
    "image, from the reference": partial(_cost, "image"),
    "paths compared": _paths,
    "without a reason": _unexplained,
    "between": card.sides,
}
_PICTURED: Final = {"final latents, from the reference", "image, from the reference"}
"""What nobody asks of a program that makes no images."""


def stages(result: Result) -> list[StageLine]:
    """Return the stages in order with a cell for each candidate."""
    columns = list(map(_stages, split(result).values()))
    known: set[str] = set().union(*columns)
    lines = []
    for stage in in_order(known):
        cells = [column.get(stage) for column in columns]
        lines.append(StageLine(stage=stage, cells=cells))
    return lines


def _stages(view: Result) -> dict[str, StageCell]:
    """Return the stages of one candidate."""
    return {row.stage: _stage(row) for row in stages_of(view)}


def _stage(row: StageRow) -> StageCell:
    """Return a stage's verdict, and how many of its pairs fail with the worst local errors."""
    cells = row.cells.values()
    wrong = sum(map(attrgetter("failed"), cells)) or sum(map(attrgetter("explained"), cells))
    told = joined(some(wrong, "of"), f"{row.pairs:,}", by=" ")
    return StageCell(verdict=row.verdict, told=joined(told, after("worst ", joined(*row.local)), by="; "))


def priced(result: Result) -> list[Line]:
    """Return the price: a row for each place, type and distance; the working type, which differs, is not named."""
    return side_by_side(map(_prices, split(result).values()))


def _prices(view: Result) -> dict[str, str]:
    """Return the distances of one candidate by place, type and who is held against whom."""
    told: dict[str, str] = {}
    for table in price_tables(view):
        *place, dtype = table.names
        # Candidates in several working types share a row, or each would stand in one of its own.
        if place and not table.exact:
            dtype = "working type"
        for line in table.lines:
            told[f"{joined(*place, dtype)}: {line.who}"] = line.named
    return told


def coverage(result: Result) -> list[Line]:
    """Return how much of the reference was compared with each candidate."""
    return side_by_side(map(dict, map(facts.coverage, split(result).values())))


def provenance(result: Result) -> list[Line]:
    """Return what the numbers depend on: the reference first, then each candidate."""
    sides = map(result.provenance.get, ("reference", *result.candidates))
    return side_by_side(map(facts.flat, sides))
