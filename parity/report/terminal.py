"""The result on a terminal: the first line names the first divergence, the rest says why and what it costs.

Nothing from a trace is ever read as markup or as a control sequence: all of it goes through `visible` and
into `rich.text.Text`.
"""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from parity.compare.several import split
from parity.report import card, facts, several
from parity.report.differences import differences, taken_as
from parity.report.grouping import rank
from parity.report.headline import compared, headline
from parity.report.price_table import price_tables
from parity.report.stages import stages
from parity.report.words import joined, number, visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from parity.report.stages import Cell, StageRow
    from parity.result import Cause, Result

__all__ = ["STYLES", "block", "cause", "empty_table", "render", "say", "table"]

STYLES: Final = {
    "MATCH": "bold cyan", "MISMATCH": "bold red", "INCOMPARABLE": "bold magenta", "MISSING": "bold magenta",
    "UNEXPECTED": "bold magenta", "INCOMPLETE": "bold magenta", "undecided": "bold magenta",
    "reference off": "bold magenta",
    "inherited": "yellow", "contains": "yellow",
    "equivalent": "cyan", "not measured": "dim",
}  # fmt: skip
_SURE: Final = {True: "confirmed by a counterfactual replay", False: "not confirmed, confidence {:.0%}"}
_MARKS: Final = {"MATCH": "=", "equivalent": "=", "MISMATCH": "x", "inherited": "~", "contains": "~"}

_PIPE_COLUMNS: Final = 150
_LEGEND: Final = (
    "failed/all; = match, x mismatch, ~ explained by another, ? undecided; worst error: relative, or x its floor"
)


def render(result: Result, console: Console, files: Iterable[Path] = ()) -> None:
    """Print the result; `files` are those written, named at the end."""
    say(console, headline(result), STYLES[result.verdict])
    taken = taken_as(result)
    if taken:
        say(console, taken)
    if result.candidates:
        _several(result, console)
    else:
        _one(result, console)
    _section(console, "written", map(str, files))


def _one(result: Result, console: Console) -> None:
    """Print what is known of one candidate, under the headline."""
    block(console, card.first(result))
    _section(console, "what differs, worst first", differences(result))
    for found in result.causes:
        console.print()
        cause(console, found)
    _section(console, "compared", compared(result))
    rows = stages(result)
    if rows:
        console.print()
        table(console, _stage_table(rows))
        say(console, _LEGEND, "dim")
    _section(console, "coverage", map(": ".join, facts.coverage(result)))
    _section(console, "not read", facts.unread(result))
    _section(console, "read", map(visible, result.coverage.notes))
    _section(console, "price", map(attrgetter("told"), price_tables(result)))
    _gaps(console, facts.not_measured(result))
    _section(console, "again", _repeat(result))


def _several(result: Result, console: Console) -> None:
    """Print several candidates side by side, then what each that does not match is wrong with."""
    views = split(result)
    console.print()
    table(console, _overview(result, views))
    gaps: list[str] = []
    for label, view in views.items():
        _section(console, label, card.first(view) or differences(view))
        for found in view.causes:
            cause(console, found)
        _section(console, f"not read, {label}", facts.unread(view))
        _section(console, f"read, {label}", map(visible, view.coverage.notes))
        gaps += [f"{label}: {gap}" for gap in facts.not_measured(view)]
    console.print()
    table(console, _stages_side_by_side(result, views))
    _gaps(console, gaps)
    _section(console, "again", _repeat(result))


def _overview(result: Result, labels: Iterable[str]) -> Table:
    """Return what is asked first of every candidate, a column for each."""
    drawn = empty_table("", *map(visible, labels))
    for line in several.overview(result):
        drawn.add_row(*map(Text, (line.what, *line.texts)))
    return drawn


def _stages_side_by_side(result: Result, labels: Iterable[str]) -> Table:
    """Return the stages, a column for each candidate."""
    drawn = empty_table("stage", *map(visible, labels))
    for row in several.stages(result):
        drawn.add_row(Text(row.stage), *map(_stage, row.cells))
    return drawn


def _stage(cell: several.StageCell | None) -> Text:
    """Return a stage of one candidate: its verdict, and what of it fails."""
    return Text("") if cell is None else Text(f"{cell.verdict} {cell.told}", style=STYLES[cell.verdict])


def _gaps(console: Console, gaps: list[str]) -> None:
    """Print what was not measured, or that nothing was left out."""
    _section(console, "not measured", gaps or ["nothing is left out"])


def _repeat(result: Result) -> list[str]:
    """Return the command that gives the whole result again, where it is known."""
    return [command for name, command in result.commands.items() if name == "repeat"]


def say(console: Console, line: str, style: str = "") -> None:
    """Print one line as it is: no markup, no wrapping, no cutting."""
    console.print(Text(visible(line), style=style), soft_wrap=True)


def block(console: Console, lines: Iterable[str]) -> None:
    """Print some lines below an empty one, or nothing where there are none."""
    for place, line in enumerate(lines):
        if place == 0:
            console.print()
        say(console, line)


def empty_table(*titles: str) -> Table:
    """Return a table without rows that folds what is too wide."""
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        drawn.add_column(title, overflow="fold")
    return drawn


def table(console: Console, drawn: Table) -> None:
    """Print a table; a pipe or a file gets it wide, where nobody's window limits it."""
    # A table that is cut at a width that nobody sees could not be read from a log.
    if not console.is_terminal:
        console = Console(file=console.file, width=max(console.width, _PIPE_COLUMNS), force_terminal=False)
    console.print(drawn)


def _section(console: Console, title: str, lines: Iterable[str]) -> None:
    """Print a titled list, or nothing when it is empty."""
    for place, line in enumerate(lines):
        if place == 0:
            console.print()
            say(console, title, "bold")
        say(console, f"  {line}")


def cause(console: Console, found: Cause) -> None:
    """Print one cause: what, where, how sure, the evidence and the repair."""
    if found.is_about_reference:
        say(console, f"about the reference: {found.slug} at {found.address}", "bold")
    else:
        sure = _SURE[found.confirmed].format(found.confidence)
        say(console, f"cause: {found.slug} at {found.address} ({sure})", "bold")
    for sentence in found.evidence:
        say(console, f"  - {sentence}")
    if found.before is not None or found.after is not None:
        say(console, f"  - rel_l2 {number(found.before)} before the repair, {number(found.after)} after it")
    say(console, f"  repair: {found.repair}")
    if found.others:
        say(console, f"  also at: {facts.listed(found.others)}")


def _stage_table(rows: list[StageRow]) -> Table:
    """Return the stages as a table: verdict, pairs, and failures of each question and mode with the worst number."""
    used = set(chain.from_iterable(map(attrgetter("cells"), rows)))
    columns = sorted(used, key=rank)
    drawn = empty_table("stage", "verdict")
    for question, mode in columns:
        drawn.add_column("\n".join(dict.fromkeys((question, mode))), justify="right")
    for row in rows:
        cells = [_cell(row.cells.get(column)) for column in columns]
        drawn.add_row(Text(row.stage), Text(row.verdict, style=STYLES[row.verdict]), *cells)
    return drawn


def _cell(cell: Cell | None) -> Text:
    """Return `2/40 x 3.1e-02`: failed (or, without those, explained) of all, a mark, and the worst number."""
    if cell is None:
        return Text("")
    told = f"{cell.wrong}/{cell.total}" if cell.wrong else f"{cell.total}"
    return Text(joined(told, _MARKS.get(cell.verdict, "?"), cell.worst, by=" "), style=STYLES[cell.verdict])
