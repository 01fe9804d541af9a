"""Cutting out of a trace what travels: the records whose address matches a pattern, as a trace of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from parity import disk
from parity.address import pattern
from parity.errors import TraceError
from parity.trace.injection import intact_file
from parity.trace.manifest import read_manifest
from parity.trace.reader import Trace
from parity.trace.records import restored_value
from parity.trace.schema import Manifest
from parity.trace.writer import TraceWriter, place

if TYPE_CHECKING:
    from parity.trace.run_reader import RunReader
    from parity.trace.run_writer import RunWriter
    from parity.trace.schema import Record

__all__ = ["pack"]


def pack(trace: Trace, only: str, out: str | Path) -> Trace:
    """Write the records whose whole address matches `only` to a new trace, and open it; half a pack is continued.

    The new trace keeps the identity (`digest`) of the old one, so that its partner still fits; each of its runs
    says what it was restricted to. Weight digests, alignment, floors and injection files go along.

    Raises:
        AddressError: `only` is not a regular expression.
        TraceError: nothing matches, `out` holds a trace already or someone's own files, or a tensor is damaged.
        OutputError: `out` cannot be written to, or another process writes there.
    """
    expression = pattern(only)
    out = Path(out)
    if out.resolve() == trace.folder.resolve():
        message = f"{out} is the trace itself; pack into another folder"
        raise TraceError(message)
    chosen: dict[str, list[Record]] = {}
    for name in trace.runs:
        matching = [record for record in trace.run(name).records if expression.matches(record.address)]
        if matching:
            chosen[name] = matching
    if not chosen:
        message = f"{trace.folder}: no address matches {only!r}; `parity show {trace.folder}` lists them"
        raise TraceError(message)
    manifest = msgspec.convert(msgspec.to_builtins(trace.manifest), type=Manifest)
    manifest.runs = {}
    manifest.origin = trace.digest
    resume = _is_half_a_pack(out, trace.digest)
    with place(out, resume=resume):
        writer = TraceWriter(out, manifest, resume=resume)
        for name, records in chosen.items():
            run = trace.run(name)
            with writer.run(name, run.info.mode, run.info.dtype, _all(run.info.only, only)) as target:
                for record in records:
                    _copy(run, record, target)
        if not trace.plain:
            _copy_injection(trace, out)
        writer.finish()
    return Trace.open(out)


def _is_half_a_pack(out: Path, origin: str) -> bool:
    """Tell whether a pack of the same trace was interrupted here."""
    if not (out / "manifest.json").exists():
        return False
    before = read_manifest(out)
    return before.status != "complete" and before.origin == origin


def _copy_injection(trace: Trace, out: Path) -> None:
    """Copy the injection files of a trace."""
    for name, wanted in trace.manifest.injection.items():
        disk.write(out / name, intact_file(trace.folder, name, wanted))


def _copy(run: RunReader, record: Record, target: RunWriter) -> None:
    """Record one address again."""
    if record.kind == "value":
        target.value(record.address, restored_value(record.value), native=record.native, stage=record.stage)
        return
    target.tensor(
        record.address,
        run.tensor(record.address),
        dtype=record.dtype,
        native=record.native,
        island=record.island,
        stage=record.stage,
        copy=False,
    )


def _all(first: str | tuple[str, ...] | None, last: str) -> str | tuple[str, ...]:
    """Return the patterns that an address of a part of a part matches, each of them."""
    if first is None:
        return last
    return (*([first] if isinstance(first, str) else first), last)
