"""Writing a trace: the folder, its manifest, and its runs.

    with-blocks are the runs; `finish` says that nothing is missing:

        writer = TraceWriter(folder, manifest)
        with writer.run("float32", mode="run", dtype="float32") as run:
            run.tensor("unet.conv_in@step=0:output", array)
        writer.finish()

Until `finish` the manifest says `recording` or `replayable`, and a reader refuses the trace unless it is told otherwise.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from parity import disk
from parity.errors import OutputError, TraceError
from parity.trace.manifest import read_manifest, seal
from parity.trace.names import check_run_name
from parity.trace.records import checked_size
from parity.trace.recovery import Recovered, lock, recover
from parity.trace.run_writer import RunWriter, Settings
from parity.trace.schema import RunInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from parity.trace.schema import Manifest, RunMode

__all__ = ["TraceWriter", "check_same", "check_unused", "is_unfinished", "place"]

_MEBIBYTE: Final = 1 << 20
_SAME: Final = ("side", "name", "case_digest", "policy", "store", "conditions")
_TAKEN_OVER: Final = ("runs", "weights", "attributes", "provenance", "floors", "refused", "wall_s", "made")


@contextmanager
def place(folder: str | Path, *, resume: bool = False) -> Iterator[None]:
    """Keep a folder for the trace that is written in the block.

    A block that raises leaves the records that are whole, which a resume continues; without any, nothing is left.

    Raises:
        OutputError: it cannot be written to, or another process writes there.
        TraceError: it holds a trace already that is not to be resumed, or someone's own files.
    """
    folder = Path(folder)
    with disk.claimed(folder):
        check_unused(folder, resume=resume)
        new = not _others(folder)
        try:
            yield
        except BaseException:
            if new and not _holds_records(folder):
                _clear(folder)
            raise


def check_unused(folder: str | Path, *, resume: bool = False) -> None:
    """Refuse a folder in which a trace would be written over, or among someone's own files.

    Raises:
        TraceError: it holds a trace that is not to be resumed, or anything else.
    """
    folder = Path(folder)
    if _holds_a_trace(folder):
        if not resume:
            message = f"{folder} holds a trace already; choose another folder, or resume it"
            raise TraceError(message)
        read_manifest(folder)
        return
    others = _others(folder)
    if others:
        message = f"{folder} holds {others[0]!r} and no trace; give a folder that is new or empty"
        raise TraceError(message)


def is_unfinished(folder: Path) -> bool:
    """Tell whether a folder holds a trace that can be resumed."""
    try:
        return read_manifest(folder).status != "complete"
    except TraceError:
        return False


def _holds_records(folder: Path) -> bool:
    """Tell whether a trace, finished or not, has a record."""
    return any(path.stat().st_size for path in folder.glob("*/records.jsonl"))


def _holds_a_trace(folder: Path) -> bool:
    """Tell whether a recorder, finished or not, has been here."""
    return (folder / "manifest.json").exists()


def _others(folder: Path) -> list[str]:
    """Return what a folder holds, without what a writer is about to name or has left half written."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if not disk.is_partial(entry))


def _clear(folder: Path) -> None:
    """Remove what a folder holds."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def check_same(folder: Path, before: Manifest, now: Mapping[str, Any]) -> None:
    """Refuse to continue a trace of another case, kind or candidate.

    Args:
        folder: The trace's.
        before: Its manifest.
        now: The fields of the manifest that its continuation has.

    Raises:
        TraceError: one differs.
    """
    then = {field: getattr(before, field) for field in now if field != "conditions"} | before.conditions
    for field, new in {**now, **now.get("conditions", {})}.items():
        old = then.get(field, "unknown")
        if field != "conditions" and old != new:
            message = f"{folder} cannot be resumed: its {field} is {old!r}, now {new!r}; choose another folder"
            raise TraceError(message)


class TraceWriter:
    """A trace being recorded. `manifest` may be changed at any time; `save_manifest` writes it."""

    def __init__(
        self,
        folder: str | Path,
        manifest: Manifest,
        resume: bool = False,  # noqa: FBT001, FBT002 - part of the agreed interface
        *,
        shard_bytes: int = 256 * _MEBIBYTE,
        queue_bytes: int = 64 * _MEBIBYTE,
    ) -> None:
        """Create the folder, or continue an interrupted trace.

        Args:
            folder: The trace's folder.
            manifest: What is known so far; its `store` picks the store.
            resume: Continue the trace that is there; without one, begin.
            shard_bytes: A shard is closed once it holds this many new bytes.
            queue_bytes: How much may wait to be written; the caller waits beyond that.

        Raises:
            TraceError: a trace is there already, or is another one than is to be continued.
        """
        self.folder = Path(folder)
        self.manifest = manifest
        self._shard_bytes = shard_bytes
        self._queue_bytes = queue_bytes
        self._started: set[str] = set()
        self._running: RunWriter | None = None
        if _holds_a_trace(self.folder):
            check_unused(self.folder, resume=resume)
            self._continue(read_manifest(self.folder))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{self.folder} cannot be made a trace: {error.strerror}"
            raise TraceError(message) from error
        manifest.status = "recording"
        self.save_manifest()

    def _continue(self, before: Manifest) -> None:
        """Take over the runs of the interrupted trace, which must be of the same case and kind."""
        check_same(self.folder, before, {field: getattr(self.manifest, field) for field in _SAME})
        for field in _TAKEN_OVER:
            if not getattr(self.manifest, field):
                setattr(self.manifest, field, getattr(before, field))

    def discard_unfinished(self) -> None:
        """Remove the runs that an interruption left unfinished, so that they are recorded anew.

        Raises:
            TraceError: one cannot be removed.
        """
        for name in [name for name, info in self.manifest.runs.items() if not info.complete]:
            del self.manifest.runs[name]
            try:
                shutil.rmtree(self.folder / name)
            except FileNotFoundError:
                continue
            except OSError as error:
                message = f"{self.folder / name} cannot be removed: {error.strerror}; choose another folder"
                raise TraceError(message) from error

    def run(self, name: str, mode: RunMode, dtype: str, only: str | tuple[str, ...] | None = None) -> RunWriter:
        """Begin or continue a run.

        Args:
            name: Its folder, for example `layers-float64`.
            mode: What kind of run it is.
            dtype: The type that it runs in.
            only: The pattern that the run is restricted to, or several that must all match.

        Raises:
            TraceError: the name is unsafe or taken, or another run is open.
        """
        check_run_name(name)
        if self._running is not None:
            message = f"{self.folder}: a run is open; leave its with block before run {name!r} begins"
            raise TraceError(message)
        if name in self._started:
            message = f"{self.folder}: run {name!r} is recorded already; a trace has one run of a name"
            raise TraceError(message)
        info = RunInfo(mode=mode, dtype=dtype, only=only)
        before = self.manifest.runs.get(name)
        held, recovered = self._recovered(name, info, before)
        sizes = {record.address: checked_size(record, name) for record in recovered.records if record.kind == "tensor"}
        distinct = {record.digest: record.address for record in recovered.records if record.kind == "tensor"}
        info.records = len(recovered.records)
        info.bytes_recorded = sum(sizes.values())
        info.bytes_stored = sum(sizes[address] for address in distinct.values())
        if before is not None:
            info.wall_s = before.wall_s
        self.manifest.runs[name] = info
        self._started.add(name)
        self.save_manifest()
        self._running = RunWriter(
            self.folder / name,
            info,
            recovered,
            Settings(self.manifest.program, self.manifest.store, self._shard_bytes, self._queue_bytes),
            lambda: self._run_finished(held),
        )
        return self._running

    def _recovered(self, name: str, info: RunInfo, before: RunInfo | None) -> tuple[int, Recovered]:
        """Return the lock of the run's folder, made where there is none, and what an interrupted recorder left."""
        folder = self.folder / name
        if before is None:
            try:
                folder.mkdir(exist_ok=True)
                if any(entry.name != "records.jsonl" or entry.stat().st_size for entry in folder.iterdir()):
                    message = f"{folder} is not empty, and no run of the manifest; choose another folder for the trace"
                    raise TraceError(message)
                (folder / "records.jsonl").touch()
            except OSError as error:
                message = f"{folder} cannot be made a run: {error.strerror}; choose another folder for the trace"
                raise TraceError(message) from error
            return lock(folder), Recovered([], b"", 0)
        if (before.mode, before.dtype, before.only) != (info.mode, info.dtype, info.only):
            message = (
                f"{folder} cannot be resumed: it is mode {before.mode!r}, type {before.dtype}, only {before.only!r}; "
                f"now {info.mode!r}, {info.dtype}, {info.only!r}; choose another folder"
            )
            raise TraceError(message)
        folder.mkdir(exist_ok=True)
        held = lock(folder)
        if not (folder / "records.jsonl").is_symlink():
            (folder / "records.jsonl").touch()
        try:
            return held, recover(folder)
        except TraceError:
            os.close(held)
            raise

    def _run_finished(self, held: int) -> None:
        """Note that the open run was left."""
        self._running = None
        os.close(held)
        self.save_manifest()

    def save_manifest(self) -> None:
        """Write manifest.json so that at any moment the old or the new one is there, whole.

        Raises:
            TraceError: it cannot be written.
        """
        path = self.folder / "manifest.json"
        try:
            disk.write(path, seal(self.manifest))
        except OutputError as error:
            message = f"{error}, then resume"
            raise TraceError(message) from error
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            message = f"{path} cannot be written: the manifest is not JSON that reads back: {error}"
            raise TraceError(message) from error

    def note_made(self) -> None:
        """Keep in the manifest what lies in the folder beside the trace: what a candidate has made for itself."""
        known = {"manifest.json", *self.manifest.runs, *self.manifest.made}
        for name in _others(self.folder):
            if name in known or f"{name}/" in known:
                continue
            is_folder = (self.folder / name).is_dir()
            self.manifest.made += (f"{name}/" if is_folder else name,)
        self.save_manifest()

    def replayable(self) -> None:
        """Say that all a replay needs is there: candidates may begin while more runs are recorded."""
        self.manifest.status = "replayable"
        self.save_manifest()

    def finish(self) -> None:
        """Say that the trace is complete.

        Raises:
            TraceError: a run is open or was left by an exception.
        """
        unfinished = [name for name, info in self.manifest.runs.items() if not info.complete]
        if unfinished:
            message = f"{self.folder}: run {', '.join(unfinished)} is not complete; record it to its end before finish"
            raise TraceError(message)
        self.manifest.status = "complete"
        self.save_manifest()
