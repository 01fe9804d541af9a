"""The result on a terminal: the first line names the first divergence, the rest says why and what it costs.

Nothing from a trace is ever read as markup or as a control sequence: all of it goes through `visible` and
into `rich.text.Text`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from parity.report import card, summary
from parity.report.words import number, visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import Console

    from parity.result import Cause, Pair, Result

__all__ = ["pair_lines", "render"]

STYLES: Final = {
    "MATCH": "bold cyan", "MISMATCH": "bold red", "INCOMPARABLE": "bold magenta", "MISSING": "bold magenta",
    "UNEXPECTED": "bold magenta", "INCOMPLETE": "bold magenta", "undecided": "bold magenta", "inherited": "yellow", "contains": "yellow", "equivalent": "cyan",
    "not measured": "dim",
}  # fmt: skip
_MARKS: Final = {"MATCH": "=", "equivalent": "=", "MISMATCH": "x", "inherited": "~", "contains": "~"}

_LEGEND: Final = "failed/all; = match, x mismatch, ~ explained by another, ? undecided; worst error: relative, or x its floor"


def render(result: Result, console: Console, files: Iterable[Path] = ()) -> None:
    """Print the result; `files` are those written, named at the end."""
    _say(console, summary.headline(result), STYLES[result.verdict])
    pair = card.first_pair(result)
    if pair is not None:
        console.print()
        for line in card.of(result, pair):
            _say(console, line)
    for cause in result.causes:
        console.print()
        _cause(console, cause)
    _section(console, "compared", summary.compared(result))
    if result.pairs or result.stages:
        console.print()
        console.print(_stage_table(result))
        _say(console, _LEGEND, "dim")
    _section(console, "coverage", [f"{what}: {amount}" for what, amount in summary.coverage(result)])
    prices = [f"{row.what}: {', '.join(f'{name} {value}' for name, value in row.measures.items())}" for row in summary.price(result)]
    _section(console, "price", prices)
    _section(console, "not measured", summary.not_measured(result) or ["nothing is left out"])
    _section(console, "again", [command for name, command in result.commands.items() if name == "repeat"])
    _section(console, "written", [str(path) for path in files])


def pair_lines(result: Result, pair: Pair) -> list[Text]:
    """Return the five lines of one pair, the verdict coloured."""
    lines = [Text(line) for line in card.of(result, pair)]
    lines[0].highlight_words([pair.verdict], STYLES[summary.verdict_of(pair)])
    return lines


def _say(console: Console, line: str, style: str = "") -> None:
    """Print one line as it is: no markup, no wrapping, no cutting."""
    console.print(Text(visible(line), style=style), soft_wrap=True)


def _section(console: Console, title: str, lines: list[str]) -> None:
    """Print a titled list, or nothing when it is empty."""
    if lines:
        console.print()
        _say(console, title, "bold")
        for line in lines:
            _say(console, f"  {line}")


def _cause(console: Console, cause: Cause) -> None:
    """Print one cause: what, where, how sure, the evidence and the repair."""
    sure = "confirmed by a counterfactual replay" if cause.confirmed else f"not confirmed, confidence {cause.confidence:.0%}"
    _say(console, f"cause: {cause.slug} at {cause.address} ({sure})", "bold")
    for sentence in cause.evidence:
        _say(console, f"  - {visible(sentence)}")
    if cause.before is not None or cause.after is not None:
        _say(console, f"  - rel_l2 {number(cause.before)} before the repair, {number(cause.after)} after it")
    _say(console, f"  repair: {visible(cause.repair)}")
    if cause.others:
        _say(console, f"  also at: {summary.listed(cause.others)}")


def _stage_table(result: Result) -> Table:
    """Return the stages as a table: verdict, pairs, and failures of each question and mode with the worst number."""
    rows = summary.stages(result)
    used = [place for place, _ in enumerate(summary.COLUMNS) if any(row.cells[place] for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("stage", overflow="fold")
    table.add_column("verdict")
    for place in used:
        question, mode = summary.COLUMNS[place]
        table.add_column(question if question == mode else f"{question}\n{mode}", justify="right")
    for row in rows:
        cells = [_cell(row.cells[place]) for place in used]
        table.add_row(Text(row.stage), Text(row.verdict, style=STYLES.get(row.verdict, "")), *cells)
    return table


def _cell(cell: summary.Cell | None) -> Text:
    """Return `2/40 x 3.1e-02`: failed of all (explained ones only where none fails by itself), a mark, and the worst number."""
    if cell is None:
        return Text("")
    wrong = cell.failed or cell.explained
    told = f"{wrong}/{cell.total}" if wrong else f"{cell.total}"
    return Text(f"{told} {_MARKS.get(cell.verdict, '?')} {cell.worst}".rstrip(), style=STYLES[cell.verdict])

