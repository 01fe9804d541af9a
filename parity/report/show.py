"""`parity show` and `parity explain`: what a trace or a result holds, and everything about one address.

An address may be given in full, as a path without step and port, or as a pattern that must match the whole
address; an exact address always wins. Data go to stdout; `json` prints the same as JSON.
"""

from __future__ import annotations

import sys
from itertools import chain, repeat
from operator import attrgetter, eq
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import msgspec
import numpy as np
from rich.console import Console
from rich.text import Text

from parity import result as results
from parity.address import matches, path_of
from parity.compare.several import split
from parity.dtypes import is_float, widen
from parity.errors import AddressError, nearest
from parity.report import card, facts, terminal
from parity.report.grouping import grouped
from parity.report.headline import headline
from parity.report.verdicts import excused, fails, fails_alone, shown
from parity.report.words import FORMATS, NOTHING, plain, some, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.table import Table

    from parity.result import Cause, Pair, Result
    from parity.trace import Record, RunReader, Trace

__all__ = ["explain", "show", "statistics"]

_ROWS: Final = 40
_FIRST_VALUES: Final = 6
_OF_MANIFEST: Final = ("side", "name", "status", "case", "checks", "runs")
_COLUMNS: Final = [known for known in results.MEASURES if known.column]
_HEADS: Final = (
    *("candidate", "address", "question", "replay", "type", "verdict"), *(known.column for known in _COLUMNS), *("limit", "detail"),
)  # fmt: skip
_Held = TypeVar("_Held", "Pair", "Record")


def show(folder: Path, address: str | None = None, *, json: bool = False, console: Console | None = None) -> None:
    """Print what `folder`, a trace or a result's folder, holds; with `address` only that.

    Raises:
        InputError: it is neither, or nothing has this address.
    """
    console = console or Console()
    if (folder / "result.json").exists() or folder.name == "result.json":
        _show_result(results.read(folder), address, console, json=json)
    else:
        from parity.trace import Trace  # here, because a result needs no reader of files

        _show_trace(Trace.open(folder, allow_incomplete=True), address, console, json=json)


def explain(folder: Path, address: str | None = None, *, console: Console | None = None) -> None:
    """Print all that a result knows about one address: every question side by side, the causes, the page of each.

    Raises:
        InputError: there is no result, or it does not know the address.
    """
    console = console or Console()
    result = results.read(folder)
    first = result.first_divergence
    if address is None and first is not None:
        address = first.address
    for label, view in split(result).items():
        if label:
            terminal.say(console, f"{visible(label)}: {view.verdict}", "bold")
        _explain(view, address, console)


def _explain(result: Result, address: str | None, console: Console) -> None:
    """Explain one address of one candidate."""
    if address is None:
        terminal.say(console, f"{result.verdict}: no divergence to explain; name an address")
        return
    path, left_out = path_of(address), result.coverage.not_compared
    reason = left_out.get(path, left_out.get(address, ""))
    if reason:
        terminal.say(console, f"{address} is not compared: {reason}")
        return
    pairs = _chosen(result, address)
    _cards(result, pairs, console)
    console.print()
    terminal.table(console, _pair_table(pairs))
    causes = [cause for cause in result.causes if path in map(path_of, (cause.address, *cause.others))]
    for cause in causes:
        console.print()
        _cause(console, cause)
    if not causes:
        _no_cause(result, pairs, console)


def _cards(result: Result, pairs: Iterable[Pair], console: Console) -> None:
    """Print the five lines of the gravest pair of each question; of those that match only where nothing fails."""
    ranked = sorted(pairs, key=lambda pair: (pair.verdict == "MATCH", excused(pair)))
    told = list(filter(fails, ranked)) or ranked[:1]
    cards = [card.of(result, asked[0]) for asked in grouped(told, key=lambda pair: pair.question).values()]
    for line in cards[0]:
        terminal.say(console, line)
    for lines in cards[1:]:
        terminal.block(console, lines)


def _cause(console: Console, cause: Cause) -> None:
    """Print a cause and where it is documented."""
    terminal.cause(console, cause)
    terminal.say(console, f"  explained in docs/causes/{cause.slug}.md")


def _no_cause(result: Result, pairs: Iterable[Pair], console: Console) -> None:
    """Say where to look for the cause of what fails here: at the first divergence, where all of it is inherited."""
    wrong = list(filter(fails, pairs))
    if not wrong:
        return
    first, hint = result.first_divergence, "; run parity diagnose"
    if first is not None and not any(map(fails_alone, wrong)):
        hint = f": it fails only because of others; the first divergence is {first.address}"
    console.print()
    terminal.say(console, f"no cause is known for this address{hint}")


def _chosen(result: Result, address: str) -> list[Pair]:
    """Return the pairs of an address, of a path, or of a pattern.

    Raises:
        AddressError: there are none.
    """
    found = _at(result.pairs, address)
    if not found:
        known = [pair.address for pair in result.pairs]
        _refuse("no pair has the address", address, [*known, *map(path_of, known)])
    return found


def _at(held: Sequence[_Held], address: str) -> list[_Held]:
    """Return what is held of an address, else of a path, else of a pattern."""
    for fits in (eq, _on_path, matches):
        found = [each for each in held if fits(address, each.address)]
        if found:
            return found
    return []


def _on_path(path: str, address: str) -> bool:
    """Tell whether an address belongs to a path, at any step, call and port."""
    return path_of(address) == path


def _refuse(nothing: str, address: str, known: Iterable[str]) -> NoReturn:
    """Say that nothing has an address, and the nearest one that something has.

    Raises:
        AddressError: always.
    """
    close = nearest(address, dict.fromkeys(known))
    message = f"{nothing} {visible(address)!r}{close}; a pattern must match the whole address"
    raise AddressError(message)


def _show_result(result: Result, address: str | None, console: Console, *, json: bool) -> None:
    """Print pairs: those of an address; without one those that fail, or all where none does."""
    pairs = list(filter(fails, result.pairs)) or result.pairs
    if address is not None:
        pairs = _chosen(result, address)
    if json:
        _write(pairs)
        return
    terminal.say(console, headline(result))
    terminal.table(console, _pair_table(pairs[:_ROWS]))
    _more(console, len(pairs), "pairs")


def _pair_table(pairs: Sequence[Pair]) -> Table:
    """Return pairs as a table, named by their candidate where there are several."""
    first = 0 if any(map(attrgetter("candidate"), pairs)) else 1
    table = terminal.empty_table(*_HEADS[first:])
    for pair in pairs:
        table.add_row(*_cells(pair)[first:])
    return table


def _cells(pair: Pair) -> list[Text]:
    """Return a pair as cells under `_HEADS`."""
    verdict = shown(pair)
    texts = visible(pair.candidate), visible(pair.address), pair.question, pair.mode, pair.dtype or NOTHING
    numbers = [FORMATS[known.format](known.read(pair)) for known in _COLUMNS]
    judged = *numbers, visible(pair.limit), visible(pair.detail)
    return [*map(Text, texts), Text(verdict, style=terminal.STYLES[verdict]), *map(Text, judged)]


def _more(console: Console, total: int, noun: str) -> None:
    """Say how many rows were left out."""
    more = some(max(0, total - _ROWS), f"more {noun}")
    if more:
        terminal.say(console, f"and {more}; give a pattern, or --json for all")


def _write(value: object) -> None:
    """Write a value to stdout as JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n")


def _show_trace(trace: Trace, address: str | None, console: Console, *, json: bool) -> None:
    """Print the runs of a trace, or the records of an address in every run."""
    if address is None:
        _runs(trace, console, json=json)
        return
    found = _recorded(trace, address)
    if json:
        _write([_row(run, record) for run, record in found])
    else:
        _records(found, console)


def _recorded(trace: Trace, address: str) -> list[tuple[RunReader, Record]]:
    """Return the records of an address, of a path or of a pattern in every run.

    Raises:
        AddressError: there are none.
    """
    found: list[tuple[RunReader, Record]] = []
    for run in map(trace.run, trace.runs):
        found += zip(repeat(run), _at(list(run.records), address))
    if not found:
        _refuse(f"{trace.folder} has no record of", address, chain.from_iterable(map(trace.run, trace.runs)))
    return found


def _records(found: Sequence[tuple[RunReader, Record]], console: Console) -> None:
    """Print records of runs, the first ones of many."""
    rows = [_row(run, record) for run, record in found[:_ROWS]]
    table = terminal.empty_table(*rows[0])
    for row in rows:
        table.add_row(*map(Text, map(_shown, row.values())))
    terminal.table(console, table)
    _more(console, len(found), "records")


def _runs(trace: Trace, console: Console, *, json: bool) -> None:
    """Print the manifest's summary and one line per run."""
    manifest, checks = trace.manifest, trace.manifest.checks
    if json:
        _write(
            {name: getattr(manifest, name) for name in _OF_MANIFEST} | {"unread": trace.unread, "notes": trace.notes}
        )
        return
    made = (
        f"{manifest.side} {manifest.name}, {manifest.status}, store {manifest.store}, policy {manifest.policy or '?'}"
    )
    proven = f"recording changes nothing: {plain(checks.neutral)}; the run repeats: {plain(checks.repeatable)}"
    terminal.say(console, f"{trace.folder}: {made}")
    terminal.say(console, proven)
    table = terminal.empty_table("run", "mode", "type", "records", "recorded", "stored", "seconds", "complete")
    for name, info in manifest.runs.items():
        table.add_row(
            Text(visible(name)),
            Text(info.mode),
            Text(info.dtype),
            Text(f"{info.records:,}"),
            Text(f"{info.bytes_recorded / 1e6:,.1f} MB"),
            Text(f"{info.bytes_stored / 1e6:,.1f} MB"),
            Text(f"{info.wall_s:.1f}"),
            Text(plain(info.complete)),
        )
    terminal.table(console, table)
    for line in facts.first_of(trace.unread):
        terminal.say(console, f"not read: {line}")
    for note in trace.notes:
        terminal.say(console, note)


def _row(run: RunReader, record: Record) -> dict[str, Any]:
    """Return one record with the statistics of its tensor, or its value."""
    row: dict[str, Any] = {
        "run": run.name,
        "address": record.address,
        "shape": list(record.shape),
        "dtype": record.dtype,
    }
    if record.kind == "value":
        return row | {"value": record.value}
    return row | statistics(run.tensor(record.address), record.dtype)


def statistics(array: np.ndarray, dtype: str) -> dict[str, Any]:
    """Return minimum, maximum, mean, rms, how many elements are zero or not finite, and the first values.

    Args:
        array: In its storage type.
        dtype: Its true type; bfloat16 is stored as uint16.
    """
    values = _real(array, dtype)
    finite = values[np.isfinite(values)]
    found: dict[str, Any] = {"min": None, "max": None, "mean": None, "rms": None}
    if finite.size:
        # Divided by the largest value first: a square of 1e300 would be infinite.
        scale = float(np.abs(finite).max()) or 1.0
        found = {
            "min": float(finite.min()),
            "max": float(finite.max()),
            "mean": scale * float((finite / scale).mean()),
            "rms": scale * float(np.sqrt(np.mean(np.square(finite / scale)))),
        }
    zeros = int(values.size - np.count_nonzero(values))
    first = [results.number(float(value)) for value in values.reshape(-1)[:_FIRST_VALUES]]
    return found | {"zeros": zeros, "not_finite": int(values.size - finite.size), "first": first}


def _real(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return an array as real numbers in float64; complex ones by their magnitude."""
    if is_float(dtype):
        return widen(array, dtype)
    return np.abs(array) if np.iscomplexobj(array) else array.astype(np.float64)


def _shown(value: Any) -> str:
    """Return a cell of the table of records."""
    if value is None:
        return NOTHING
    if isinstance(value, list) and {int}.issuperset(map(type, value)):
        return "x".join(map(str, value)) or "0-d"
    return plain(value)
