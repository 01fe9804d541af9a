"""What a report of several candidates says: the same lines for each, side by side.

Every candidate's own result is worded by the modules that word one alone (`summary`, `card`, `price`, `facts`);
here their words become the rows of tables with a column for each candidate. The terminal and the page draw them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from parity.address import STAGES
from parity.compare.several import split
from parity.report import card, facts, price, summary
from parity.report.words import NOTHING, count, visible

if TYPE_CHECKING:
    from parity.report.summary import Shown
    from parity.result import Result

__all__ = ["Line", "StageLine", "lead", "overview", "priced", "provenance", "stages"]

_PLACES: Final = {"final_latents": "final latents", "image": "image"}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a table: what it is about, and one text for each candidate."""

    what: str
    texts: list[str]


class StageLine(msgspec.Struct, frozen=True, kw_only=True):
    """One stage: for each candidate its verdict and what of it fails; None where it has no such stage."""

    stage: str
    cells: list[tuple[Shown, str] | None]


def lead(result: Result) -> str:
    """Return how many candidates match, and each one that does not with its first divergence."""
    matching = sum(view.verdict == "MATCH" for view in result.candidates.values())
    sentences = [
        f"{matching} of {count(len(result.candidates), 'candidate')} {'match' if matching != 1 else 'matches'}."
    ]
    for label, view in split(result).items():
        if view.verdict != "MATCH":
            found = view.first_divergence
            where = f"first diverges at {visible(found.address)}" if found else summary.headline(view)
            sentences.append(f"{visible(label)}: {where}.")
    return " ".join(sentences)


def overview(result: Result) -> list[Line]:
    """Return what a person asks first of each candidate: verdict, where, why, how far, at which price."""
    views = list(split(result).values())
    rows: list[tuple[str, list[str]]] = [
        ("verdict", [view.verdict for view in views]),
        ("first divergence", [_divergence(view) for view in views]),
        ("cause", [_cause(view) for view in views]),
        ("pairs that fail by themselves", [_failures(view) for view in views]),
        ("worst local error in float64, limit 1e-9", [_worst(view, "semantics") for view in views]),
        ("worst local error in the working type, limit 3x its floor", [_worst(view, "precision") for view in views]),
        *((f"{words}, from the reference", [_cost(view, place) for view in views]) for place, words in _PLACES.items()),
        ("paths compared", [f"{view.coverage.compared:,} of {view.coverage.paths:,}" for view in views]),
        ("without a reason", [f"{len(view.coverage.unexplained):,}" for view in views]),
        ("between", [card.sides(view) for view in views]),
    ]
    return [Line(what=what, texts=texts) for what, texts in rows]


def _divergence(view: Result) -> str:
    """Return the first divergence with its stage and question, or a dash."""
    found = view.first_divergence
    if found is None:
        return NOTHING
    asked = found.question if found.question == "audit" else f"{found.question}, {found.mode}"
    return f"{visible(found.address)} (stage {visible(found.stage)}; {asked})"


def _cause(view: Result) -> str:
    """Return the first cause and how sure it is, or a dash."""
    if not view.causes:
        return NOTHING
    first, more = view.causes[0], len(view.causes) - 1
    sure = "confirmed" if first.confirmed else "not confirmed"
    return f"{visible(first.slug)}, {sure}" + (f", and {more} more" if more else "")


def _failures(view: Result) -> str:
    """Return how many pairs fail by themselves of how many."""
    own = sum(pair.verdict in summary.FAILING and not summary.excused(pair) for pair in view.pairs)
    return f"{own:,} of {len(view.pairs):,}"


def _worst(view: Result, question: str) -> str:
    """Return the worst error of a question in the layer replay."""
    return summary.worst(pair for pair in view.pairs if (pair.question, pair.mode) == (question, "layers")) or NOTHING


def _cost(view: Result, place: str) -> str:
    """Return how far the working type's free run ends from the reference at a place."""
    tables = [
        table for table in price.price(view) if table.what.startswith(_PLACES[place]) and "float64" not in table.what
    ]
    if not tables:
        return NOTHING
    value, name, _ = tables[0].shortest
    return f"{value} {name}"


def stages(result: Result) -> list[StageLine]:
    """Return the stages in order with a cell for each candidate."""
    views = split(result).values()
    rows = [{row.stage: row for row in summary.stages(view)} for view in views]
    known = dict.fromkeys(stage for by_stage in rows for stage in by_stage)
    order: list[str] = [stage for stage in STAGES if stage in known]
    order += [stage for stage in known if stage not in order]
    return [StageLine(stage=stage, cells=[_stage(by_stage.get(stage)) for by_stage in rows]) for stage in order]


def _stage(row: summary.StageRow | None) -> tuple[Shown, str] | None:
    """Return a stage's verdict, and how many of its pairs fail with the worst local errors."""
    if row is None:
        return None
    cells = dict(zip(summary.COLUMNS, row.cells, strict=True))
    wrong = sum(cell.failed for cell in row.cells if cell) or sum(cell.explained for cell in row.cells if cell)
    told = f"{wrong:,} of {row.pairs:,}" if wrong else f"{row.pairs:,}"
    local = [cell.worst for column in summary.COLUMNS if "layers" in column and (cell := cells[column]) and cell.worst]
    return row.verdict, "; ".join([told, *([f"worst {', '.join(local)}"] if local else [])])


def priced(result: Result) -> list[Line]:
    """Return the price: a row for each place, type and distance; the working type, which differs, is not named."""
    rows: dict[str, dict[str, str]] = {}
    views = split(result)
    for label, view in views.items():
        for table in price.price(view):
            place, _, dtype = table.what.rpartition(", ")
            what = f"{place}, {dtype if dtype == 'float64' else 'working type'}" if place else table.what
            for line in table.lines:
                told = ", ".join(f"{name} {value}" for name, value in line.measures.items())
                rows.setdefault(f"{what}: {line.who}", {})[label] = told
    return [Line(what=what, texts=[texts.get(label, NOTHING) for label in views]) for what, texts in rows.items()]


def provenance(result: Result) -> list[Line]:
    """Return what the numbers depend on: the reference first, then each candidate."""
    known = [result.provenance.get(side) for side in ("reference", *result.candidates)]
    sides = [facts.flat(each if isinstance(each, dict) else {}) for each in known]
    keys = dict.fromkeys(key for side in sides for key in side)
    return [Line(what=key, texts=[side.get(key, NOTHING) for side in sides]) for key in keys]
