"""`parity show` and `parity explain`: what a trace or a result holds, and everything about one address.

An address may be given in full, as a path without step and port, or as a pattern that must match the whole
address; an exact address always wins. Data go to stdout; `json` prints the same as JSON.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from parity import result as results
from parity.address import matches, path_of
from parity.compare.several import split
from parity.dtypes import is_float, widen
from parity.errors import AddressError, nearest
from parity.report import card, summary, terminal
from parity.report.words import FORMATS, NOTHING, plain, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from parity.result import Cause, Pair, Result
    from parity.trace import Record, RunReader, Trace

__all__ = ["explain", "show", "statistics"]

_ROWS: Final = 40
_FIRST_VALUES: Final = 6
_COLUMNS: Final = [known for known in results.MEASURES if known.column]


def show(folder: Path, address: str | None = None, *, json: bool = False, console: Console | None = None) -> None:
    """Print what `folder`, a trace or a result's folder, holds; with `address` only that.

    Raises:
        InputError: it is neither, or nothing has this address.
    """
    console = console or Console()
    if (folder / "result.json").exists() or folder.name == "result.json":
        _show_result(results.read(folder), address, console, json=json)
    else:
        from parity.trace import Trace

        _show_trace(Trace.open(folder, allow_incomplete=True), address, console, json=json)


def explain(folder: Path, address: str | None = None, *, console: Console | None = None) -> None:
    """Print all that a result knows about one address: every question side by side, the causes, the page of each.

    Raises:
        InputError: there is no result, or it does not know the address.
    """
    console = console or Console()
    result = results.read(folder)
    if address is None and result.first_divergence is not None:
        address = result.first_divergence.address
    for label, view in split(result).items():
        if label:
            terminal.say(console, f"{visible(label)}: {view.verdict}", "bold")
        _explain(view, address, console)


def _explain(result: Result, address: str | None, console: Console) -> None:
    """Explain one address of one candidate."""
    if address is None:
        terminal.say(console, f"{result.verdict}: no divergence to explain; name an address")
        return
    path = path_of(address)
    reason = result.coverage.not_compared.get(path) or result.coverage.not_compared.get(address)
    if reason is not None:
        terminal.say(console, f"{address} is not compared: {reason}")
        return
    pairs = _chosen(result, address)
    _cards(result, pairs, console)
    console.print()
    terminal.table(console, _pair_table(pairs))
    causes = [cause for cause in result.causes if path in {path_of(place) for place in (cause.address, *cause.others)}]
    for cause in causes:
        console.print()
        _cause(console, cause)
    if not causes and any(pair.verdict in summary.FAILING for pair in pairs):
        console.print()
        terminal.say(console, "no cause is known for this address" + _upstream(result, pairs))


def _cards(result: Result, pairs: Sequence[Pair], console: Console) -> None:
    """Print the five lines of the gravest pair of each question."""
    seen: set[str] = set()
    for pair in sorted(pairs, key=lambda pair: (pair.verdict == "MATCH", summary.excused(pair))):
        if pair.question not in seen and (pair.verdict != "MATCH" or not seen):
            if seen:
                console.print()
            seen.add(pair.question)
            for line in card.of(result, pair):
                terminal.say(console, line)


def _cause(console: Console, cause: Cause) -> None:
    """Print a cause and where it is documented."""
    terminal.cause(console, cause)
    terminal.say(console, f"  explained in docs/causes/{cause.slug}.md")


def _upstream(result: Result, pairs: Sequence[Pair]) -> str:
    """Name the first divergence where all failures of these pairs are inherited from it."""
    wrong = [pair for pair in pairs if pair.verdict in summary.FAILING]
    if result.first_divergence is None or not all(map(summary.excused, wrong)):
        return "; run parity diagnose"
    return f": it fails only because of others; the first divergence is {result.first_divergence.address}"


def _chosen(result: Result, address: str) -> list[Pair]:
    """Return the pairs of an address, of a path, or of a pattern.

    Raises:
        AddressError: there are none.
    """
    found = [pair for pair in result.pairs if pair.address == address]
    found = found or [pair for pair in result.pairs if path_of(pair.address) == address]
    found = found or [pair for pair in result.pairs if matches(address, pair.address)]
    if not found:
        close = nearest(
            address,
            dict.fromkeys(
                [*(pair.address for pair in result.pairs), *(path_of(pair.address) for pair in result.pairs)]
            ),
        )
        message = f"no pair has the address {visible(address)!r}{close}; a pattern must match the whole address"
        raise AddressError(message)
    return found


def _show_result(result: Result, address: str | None, console: Console, *, json: bool) -> None:
    """Print pairs: those of an address, else those that fail, else all."""
    if address is not None:
        pairs = _chosen(result, address)
    else:
        pairs = [pair for pair in result.pairs if pair.verdict in summary.FAILING] or result.pairs
    if json:
        _write(pairs)
        return
    terminal.say(console, summary.headline(result))
    terminal.table(console, _pair_table(pairs[:_ROWS]))
    _more(console, len(pairs), "pairs")


def _pair_table(pairs: Iterable[Pair]) -> Table:
    """Return pairs as a table, named by their candidate where there are several."""
    pairs = list(pairs)
    several = any(pair.candidate for pair in pairs)
    table = _table(
        *(("candidate",) if several else ()),
        *("address", "question", "replay", "type", "verdict"),
        *(known.column for known in _COLUMNS),
        *("limit", "detail"),
    )
    for pair in pairs:
        shown = summary.verdict_of(pair)
        numbers = [FORMATS[known.format](known.read(pair)) for known in _COLUMNS]
        texts = [visible(pair.address), pair.question, pair.mode, pair.dtype or NOTHING]
        if several:
            texts.insert(0, visible(pair.candidate))
        table.add_row(
            *map(Text, texts),
            Text(shown, style=terminal.STYLES[shown]),
            *map(Text, (*numbers, visible(pair.limit), visible(pair.detail))),
        )
    return table


def _table(*titles: str) -> Table:
    """Return an empty table that folds what is too wide."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _more(console: Console, total: int, noun: str) -> None:
    """Say how many rows were left out."""
    if total > _ROWS:
        terminal.say(console, f"and {total - _ROWS:,} more {noun}; give a pattern, or --json for all")


def _write(value: object) -> None:
    """Write a value to stdout as JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n")


def _show_trace(trace: Trace, address: str | None, console: Console, *, json: bool) -> None:
    """Print the runs of a trace, or the records of an address in every run."""
    if address is None:
        _runs(trace, console, json=json)
        return
    found = [(run, record) for name in trace.runs for run in (trace.run(name),) for record in _records(run, address)]
    if not found:
        known = dict.fromkeys(known for name in trace.runs for known in trace.run(name))
        close = nearest(address, known)
        message = f"{trace.folder} has no record of {visible(address)!r}{close}; a pattern must match the whole address"
        raise AddressError(message)
    rows = [_row(run, record) for run, record in (found if json else found[:_ROWS])]
    if json:
        _write(rows)
        return
    table = _table("run", *(name for name in rows[0] if name != "run"))
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row.values()))
    terminal.table(console, table)
    _more(console, len(found), "records")


def _records(run: RunReader, address: str) -> list[Record]:
    """Return the records of a run: the address itself, those of a path, or those that match a pattern."""
    if address in run:
        return [run.record(address)]
    return [record for record in run.records if path_of(record.address) == address] or [
        record for record in run.records if matches(address, record.address)
    ]


def _runs(trace: Trace, console: Console, *, json: bool) -> None:
    """Print the manifest's summary and one line per run."""
    manifest = trace.manifest
    if json:
        _write(
            {
                "side": manifest.side,
                "name": manifest.name,
                "status": manifest.status,
                "case": manifest.case,
                "checks": manifest.checks,
                "runs": manifest.runs,
            }
        )
        return
    told = (
        f"{manifest.side} {manifest.name}, {manifest.status}, store {manifest.store}, policy {manifest.policy or '?'}"
    )
    terminal.say(console, f"{trace.folder}: {told}")
    checks = manifest.checks
    terminal.say(
        console, f"recording changes nothing: {plain(checks.neutral)}; the run repeats: {plain(checks.repeatable)}"
    )
    table = _table("run", "mode", "type", "records", "recorded", "stored", "seconds", "complete")
    for name, info in manifest.runs.items():
        sizes = f"{info.bytes_recorded / 1e6:,.1f} MB", f"{info.bytes_stored / 1e6:,.1f} MB"
        texts = (
            visible(name),
            info.mode,
            info.dtype,
            f"{info.records:,}",
            *sizes,
            f"{info.wall_s:.1f}",
            plain(info.complete),
        )
        table.add_row(*map(Text, texts))
    terminal.table(console, table)


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
    values = (
        widen(array, dtype)
        if is_float(dtype)
        else np.abs(array)
        if np.iscomplexobj(array)
        else array.astype(np.float64)
    )
    finite = values[np.isfinite(values)]
    found: dict[str, Any] = {"min": None, "max": None, "mean": None, "rms": None}
    if finite.size:
        scale = float(np.abs(finite).max()) or 1.0
        rms = scale * float(np.sqrt(np.mean(np.square(finite / scale))))
        found = {
            "min": float(finite.min()),
            "max": float(finite.max()),
            "mean": scale * float((finite / scale).mean()),
            "rms": rms,
        }
    zeros = int(values.size - np.count_nonzero(values))
    first = [results.number(float(value)) for value in values.reshape(-1)[:_FIRST_VALUES]]
    return found | {"zeros": zeros, "not_finite": int(values.size - finite.size), "first": first}


def _shown(value: Any) -> str:
    """Return a cell of the table of records."""
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return "x".join(map(str, value)) or "0-d"
    return NOTHING if value is None else plain(value)
