"""The result on a terminal: the first line names the first divergence, the rest says why and what it costs.

Nothing from a trace is ever read as markup or as a control sequence: all of it goes through `visible` and
into `rich.text.Text`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from parity.compare.several import split
from parity.report import card, facts, price, several, summary
from parity.report.words import number, visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from parity.result import Cause, Result

__all__ = ["STYLES", "cause", "render", "say", "table"]

STYLES: Final = {
    "MATCH": "bold cyan", "MISMATCH": "bold red", "INCOMPARABLE": "bold magenta", "MISSING": "bold magenta",
    "UNEXPECTED": "bold magenta", "INCOMPLETE": "bold magenta", "undecided": "bold magenta",
    "inherited": "yellow", "contains": "yellow",
    "equivalent": "cyan", "not measured": "dim",
}  # fmt: skip
_MARKS: Final = {"MATCH": "=", "equivalent": "=", "MISMATCH": "x", "inherited": "~", "contains": "~"}

_PIPE_COLUMNS: Final = 150
_LEGEND: Final = (
    "failed/all; = match, x mismatch, ~ explained by another, ? undecided; worst error: relative, or x its floor"
)


def render(result: Result, console: Console, files: Iterable[Path] = ()) -> None:
    """Print the result; `files` are those written, named at the end."""
    say(console, summary.headline(result), STYLES[result.verdict])
    if result.candidates:
        _several(result, console)
        _section(console, "written", [str(path) for path in files])
        return
    pair = card.first_pair(result)
    if pair is not None:
        console.print()
        for line in card.of(result, pair):
            say(console, line)
    for found in result.causes:
        console.print()
        cause(console, found)
    _section(console, "compared", summary.compared(result))
    if result.pairs or result.stages:
        console.print()
        table(console, _stage_table(result))
        say(console, _LEGEND, "dim")
    _section(console, "coverage", [f"{what}: {amount}" for what, amount in facts.coverage(result)])
    _section(console, "price", [price.told(table) for table in price.price(result)])
    _section(console, "not measured", facts.not_measured(result) or ["nothing is left out"])
    _section(console, "again", [command for name, command in result.commands.items() if name == "repeat"])
    _section(console, "written", [str(path) for path in files])


def _several(result: Result, console: Console) -> None:
    """Print several candidates side by side, then what each that does not match is wrong with."""
    views = split(result)
    labels = [visible(label) for label in views]
    console.print()
    table(
        console,
        _side_by_side(
            "", labels, [(line.what, [Text(text) for text in line.texts]) for line in several.overview(result)]
        ),
    )
    for label, view in views.items():
        pair = card.first_pair(view)
        _section(console, visible(label), card.of(view, pair) if pair is not None else [])
        for found in view.causes:
            cause(console, found)
    console.print()
    rows = [
        (line.stage, [Text(" ".join(cell), style=STYLES[cell[0]]) if cell else Text("") for cell in line.cells])
        for line in several.stages(result)
    ]
    table(console, _side_by_side("stage", labels, rows))
    gaps = [f"{label}: {gap}" for label, view in views.items() for gap in facts.not_measured(view)]
    _section(console, "not measured", gaps or ["nothing is left out"])
    _section(console, "again", [command for name, command in result.commands.items() if name == "repeat"])


def _side_by_side(what: str, labels: Iterable[str], rows: Iterable[tuple[str, list[Text]]]) -> Table:
    """Return a table with a column for each candidate."""
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in (what, *labels):
        drawn.add_column(title, overflow="fold")
    for name, texts in rows:
        drawn.add_row(Text(name), *texts)
    return drawn


def say(console: Console, line: str, style: str = "") -> None:
    """Print one line as it is: no markup, no wrapping, no cutting."""
    console.print(Text(visible(line), style=style), soft_wrap=True)


def table(console: Console, drawn: Table) -> None:
    """Print a table; a pipe or a file gets it wide, where nobody's window limits it."""
    if not console.is_terminal:
        console = Console(file=console.file, width=max(console.width, _PIPE_COLUMNS), force_terminal=False)
    console.print(drawn)


def _section(console: Console, title: str, lines: list[str]) -> None:
    """Print a titled list, or nothing when it is empty."""
    if lines:
        console.print()
        say(console, title, "bold")
        for line in lines:
            say(console, f"  {line}")


def cause(console: Console, found: Cause) -> None:
    """Print one cause: what, where, how sure, the evidence and the repair."""
    sure = (
        "confirmed by a counterfactual replay"
        if found.confirmed
        else f"not confirmed, confidence {found.confidence:.0%}"
    )
    say(console, f"cause: {found.slug} at {found.address} ({sure})", "bold")
    for sentence in found.evidence:
        say(console, f"  - {visible(sentence)}")
    if found.before is not None or found.after is not None:
        say(console, f"  - rel_l2 {number(found.before)} before the repair, {number(found.after)} after it")
    say(console, f"  repair: {visible(found.repair)}")
    if found.others:
        say(console, f"  also at: {facts.listed(found.others)}")


def _stage_table(result: Result) -> Table:
    """Return the stages as a table: verdict, pairs, and failures of each question and mode with the worst number."""
    rows = summary.stages(result)
    used = [place for place, _ in enumerate(summary.COLUMNS) if any(row.cells[place] for row in rows)]
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    drawn.add_column("stage", overflow="fold")
    drawn.add_column("verdict", overflow="fold")
    for place in used:
        question, mode = summary.COLUMNS[place]
        drawn.add_column(question if question == mode else f"{question}\n{mode}", justify="right")
    for row in rows:
        cells = [_cell(row.cells[place]) for place in used]
        drawn.add_row(Text(row.stage), Text(row.verdict, style=STYLES.get(row.verdict, "")), *cells)
    return drawn


def _cell(cell: summary.Cell | None) -> Text:
    """Return `2/40 x 3.1e-02`: failed (or, without those, explained) of all, a mark, and the worst number."""
    if cell is None:
        return Text("")
    wrong = cell.failed or cell.explained
    told = f"{wrong}/{cell.total}" if wrong else f"{cell.total}"
    return Text(f"{told} {_MARKS.get(cell.verdict, '?')} {cell.worst}".rstrip(), style=STYLES[cell.verdict])
