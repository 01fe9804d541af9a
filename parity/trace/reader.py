"""Opening a trace.

`Trace.open` checks everything but the tensors' bytes: the manifest and each records.jsonl against their
digests, every record's address, type, shape and place. Tensors are read when asked for, and compared with their digests
then (`parity.trace.intact`); `verify` reads all of them.
"""

from __future__ import annotations

import os
import re
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

import msgspec
import xxhash

from parity import disk
from parity.errors import TraceError, nearest
from parity.trace.contents import Holding, holding
from parity.trace.digests import digest
from parity.trace.dumps.dump import RUN as FOREIGN
from parity.trace.dumps.dump import as_run
from parity.trace.dumps.recognise import read_foreign
from parity.trace.dumps.tree import is_note, tree_of
from parity.trace.injection import intact_file
from parity.trace.intact import Intact
from parity.trace.manifest import read_manifest
from parity.trace.run_reader import RunReader, read_records
from parity.trace.stores import files_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from parity.choices import RunMode
    from parity.trace.schema import Manifest, Record

__all__ = ["Trace", "Verified"]

_LOOK_S: Final = 0.05
_OF_TRACE: Final = re.compile(r"manifest\.json|init_(latent|noise_scheduler)(_[0-9]{4,})?\.npy|weights\.ckpt")
"""The files of a trace beside its runs; `weights.ckpt` is what a candidate made of the model, by parameter in its manifest."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What `Trace.verify` read: tensors and bytes are distinct ones."""

    runs: int
    records: int
    tensors: int
    size_bytes: int


class Trace:
    """A recorded trace.

    `plain` is true for files without a manifest, of anyone or of another tool; `ordered` where the order of the
    records is that of execution; `holding` says whether the tensors are weights or activations. `unread` holds what lies in
    the folder and is none of the trace, by its path there, each with the reason as what follows it in a sentence; `notes`
    are sentences about how the rest was read.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        runs: dict[str, RunReader],
        *,
        plain: bool,
        ordered: bool = True,
        unread: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Wrap checked runs; use `Trace.open`."""
        self.folder = folder
        self.manifest = manifest
        self.plain = plain
        self.ordered = ordered
        self.unread = dict(unread or {})
        self.notes = tuple(notes)
        self._runs = runs
        self.holding = Holding("activations", "a recording holds what a run made")
        run = runs.get(FOREIGN)  # also of a trace that was packed from someone's files
        if run is not None:
            self.holding = holding(run.records, str(manifest.provenance.get("tool", "")))

    @classmethod
    def open(
        cls,
        folder: str | Path,
        verify: bool = False,  # noqa: FBT001, FBT002 - part of the agreed interface
        allow_incomplete: bool = False,  # noqa: FBT001, FBT002
    ) -> Self:
        """Open a trace.

        Args:
            folder: A trace's folder, a plain folder of `.npy` files, or what another tool wrote (docs/other-dumps.md).
            verify: Also read every tensor, which compares its bytes with its digest.
            allow_incomplete: Accept a trace whose recorder has not finished; what is there can be trusted.

        Raises:
            TraceError: it is no trace, is incomplete, or is damaged.
        """
        folder = Path(folder)
        if os.path.lexists(folder / "manifest.json"):
            manifest = read_manifest(folder)
            _check_complete(folder, manifest, allow_incomplete=allow_incomplete)
            runs = _runs(folder, manifest)
            trace = cls(folder, manifest, runs, plain=False, unread=_left_over(folder, manifest, runs.values()))
        else:
            dump = read_foreign(folder)
            manifest, run = as_run(dump, folder.name)
            found = {run.name: run}
            trace = cls(folder, manifest, found, plain=True, ordered=dump.ordered, unread=dump.unread, notes=dump.notes)
        if verify:
            trace.verify()
        return trace

    @classmethod
    def follow(
        cls, folder: str | Path, until: Literal["replayable", "complete"], abandoned: Callable[[], bool]
    ) -> Self:
        """Wait until the recorder of a trace says that it has come so far, and open the runs that are complete by then.

        Args:
            folder: A trace's folder, which its recorder need not have made yet.
            until: What its status must be; a complete trace is replayable too.
            abandoned: Tells whether to stop waiting.

        Raises:
            TraceError: it is damaged, or the wait was abandoned.
        """
        folder, reached = Path(folder), {until, "complete"}
        while not (folder / "manifest.json").exists() or read_manifest(folder).status not in reached:
            if abandoned():
                message = f"{folder} is not {until}: the process that recorded it has ended; record it again"
                raise TraceError(message)
            time.sleep(_LOOK_S)
        manifest = read_manifest(folder)
        manifest.runs = {name: info for name, info in manifest.runs.items() if info.complete}
        return cls(folder, manifest, _runs(folder, manifest), plain=False)

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the runs."""
        return tuple(self._runs)

    @property
    def readers(self) -> tuple[RunReader, ...]:
        """The runs themselves, in the order of their names."""
        return tuple(self._runs.values())

    def in_modes(self, *modes: RunMode) -> list[RunReader]:
        """Return the runs of some modes."""
        return [run for run in self.readers if run.info.mode in modes]

    def run(self, name: str) -> RunReader:
        """Return a run.

        Raises:
            TraceError: there is none of this name.
        """
        found = self._runs.get(name)
        if found is None:
            there = ", ".join(self._runs) or "none"
            message = f"{self.folder} has no run {name!r}{nearest(name, self._runs)}; its runs are {there}"
            raise TraceError(message)
        return found

    @cached_property
    def digest(self) -> str:
        """The identity of what was recorded: case, addresses, types, shapes, bytes and values.

        A packed trace keeps the identity of the trace that it was cut from, so that its partner still fits.
        """
        if self.manifest.origin is not None:
            return self.manifest.origin
        hasher = xxhash.xxh3_128(self.manifest.case_digest.encode())
        for name in sorted(self._runs):
            run = self._runs[name]
            for record in run.records:
                mark = record.digest
                if record.kind == "tensor" and not mark:
                    mark = digest(run.tensor(record.address), record.dtype)
                hasher.update(msgspec.json.encode([name, record.address, record.kind, mark, record.value]))
        return hasher.hexdigest()

    @property
    def output_digests(self) -> frozenset[str]:
        """The digests of all tensors that were returned; of someone's files there are none."""
        outputs = [record.digest for run in self.readers for record in run.records if record.is_output_tensor]
        return frozenset(filter(None, outputs))

    def verify(self) -> Verified:
        """Read every distinct tensor, and so compare it with its digest unless that was done before.

        Raises:
            TraceError: the first one, or the first injection file, whose bytes are not the recorded ones.
        """
        records = tensors = size = 0
        for run in self._runs.values():
            records += len(run)
            distinct: dict[tuple[object, ...], Record] = {}
            for record in run.records:
                if record.kind == "tensor":
                    distinct.setdefault(_bytes_of(record), record)
            tensors += len(distinct)
            size += sum(run.tensor(record.address).nbytes for record in distinct.values())
        for name, wanted in self.manifest.injection.items():
            intact_file(self.folder, name, wanted)
        return Verified(runs=len(self._runs), records=records, tensors=tensors, size_bytes=size)


def _bytes_of(record: Record) -> tuple[object, ...]:
    """Return what two records share that stand for the same bytes; where only its format knows them, its address."""
    if record.offset is None and not record.digest:
        return (record.address,)
    return record.shard, record.offset, record.digest, record.dtype, record.shape


def _runs(folder: Path, manifest: Manifest) -> dict[str, RunReader]:
    """Return the runs of a trace, their records read and checked."""
    runs: dict[str, RunReader] = {}
    for name, info in manifest.runs.items():
        place = folder / name
        if place.is_symlink() or not place.is_dir():
            message = f"{place} is not a folder; the manifest lists run {name!r}"
            raise TraceError(message)
        records = read_records(place, info)
        tensors = Intact(files_of(manifest.store, place, records), place)
        runs[name] = RunReader(place, name, info, records, tensors)
    return runs


def _left_over(folder: Path, manifest: Manifest, runs: Iterable[RunReader]) -> dict[str, str]:
    """Return what lies in a trace's folder and neither manifest nor record names, but notes and what is never named."""
    tree = tree_of(folder, own=("manifest.json",))
    named = set()
    for run in runs:
        named.add(f"{run.name}/records.jsonl")
        named.update(f"{run.name}/{record.shard}" for record in run.records if record.shard is not None)
    for name in tree.files:
        is_known = name in named or _OF_TRACE.fullmatch(name) or disk.is_partial(folder / name)
        if not is_known and not is_note(folder, name):
            tree.unread[name] = "is named by no record of the trace"
    return {name: reason for name, reason in tree.unread.items() if not _is_made(name, manifest.made)}


def _is_made(name: str, made: Sequence[str]) -> bool:
    """Tell whether a candidate has made a file, or a folder that it lies in."""
    return name in made or f"{name.partition('/')[0]}/" in made


def _check_complete(folder: Path, manifest: Manifest, *, allow_incomplete: bool) -> None:
    """Refuse a trace whose recorder has not finished."""
    if allow_incomplete:
        return
    unfinished = [name for name, info in manifest.runs.items() if not info.complete]
    if manifest.status != "complete" or unfinished:
        runs = f", run {', '.join(unfinished)} unfinished" if unfinished else ""
        message = f"{folder} is not complete (status {manifest.status!r}{runs}); continue it with --resume"
        raise TraceError(message)
