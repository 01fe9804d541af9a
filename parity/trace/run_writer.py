"""Writing one run: the caller's thread copies, a background thread hashes, dedups and writes.

A tensor whose type, shape and bytes were seen before in the run is not written again: within the open shard
its address becomes a further name of the dataset, later only a record. Records wait until their shard is
closed and synced, so what stands in records.jsonl can be trusted whenever the process is killed.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import msgspec
import numpy as np
import xxhash

from parity.address import STAGES, Address
from parity.errors import AddressError, TraceError
from parity.trace.buffers import Buffers
from parity.trace.digests import mark, storage_of
from parity.trace.pipeline import Pipeline
from parity.trace.records import encode, plain_value
from parity.trace.schema import Record
from parity.trace.stores import shards_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from parity.components import Components
    from parity.trace.hdf5 import Hdf5Shard
    from parity.trace.npy import NpyShard
    from parity.trace.recovery import Recovered
    from parity.trace.schema import RunInfo, Store

__all__ = ["RunWriter", "Settings"]

_ITEM_COST: Final = 512
_MOST_RECORDS_PER_SHARD: Final = 1 << 15


class Settings(NamedTuple):
    """Components, the store, how many new bytes close a shard, and how many may wait to be written."""

    program: Components
    store: Store
    shard_bytes: int
    queue_bytes: int


@lru_cache(maxsize=64)
def _type_name(dtype: np.dtype[np.generic]) -> str:
    """Return the name of a type, which numpy takes long to work out."""
    return dtype.name


class _Pending(NamedTuple):
    """A record on its way: `array`, which may lie in `buffer`, is None for a plain value, its JSON in `value`."""

    address: str
    stage: str
    array: NDArray[Any] | None
    dtype: str
    value: Any
    native: str | None
    island: str | None
    buffer: NDArray[np.uint8] | None


class RunWriter:
    """Records one run. Use it as a context manager; leaving it makes every record durable."""

    def __init__(
        self,
        folder: Path,
        info: RunInfo,
        recovered: Recovered,
        settings: Settings,
        finished: Callable[[], None],
    ) -> None:
        """Continue after `recovered`, which is empty for a new run; `finished` saves the manifest."""
        self.info = info
        self._folder = folder
        self._store = shards_of(settings.store)
        self._settings = settings
        self._finished = finished
        self._known = {record.address: record for record in recovered.records}
        self._seen: set[str] = set()
        # Digest -> file, offset, number of the shard, and the address under which it holds the bytes. Plain tuples
        # of plain values: the garbage collector does not visit them.
        self._stored: dict[str, tuple[str, int | None, int, str]] = {
            record.digest: (record.shard, record.offset, -1, record.address)
            for record in recovered.records
            if record.shard is not None
        }
        self._hasher = xxhash.xxh3_128(recovered.data)
        self._number = recovered.next_shard
        self._shard: Hdf5Shard | NpyShard | None = None
        self._shard_size = 0
        self._lines: list[bytes] = []
        self._buffers = Buffers(settings.queue_bytes // 4)
        self._start = time.perf_counter()
        self._open = True
        self._pipeline: Pipeline[_Pending] = Pipeline(
            self._handle, settings.queue_bytes, f"parity trace {folder.name}", finish=self._close_shard
        )

    def tensor(
        self,
        address: str | Address,
        array: NDArray[Any],
        *,
        dtype: str | None = None,
        native: str | None = None,
        island: str | None = None,
        stage: str | None = None,
        copy: bool = True,
    ) -> None:
        """Record a tensor.

        Args:
            address: Where it was seen.
            array: Its elements; bfloat16 as uint16.
            dtype: The true type, needed for bfloat16 alone.
            native: The candidate's own path.
            island: The operator that computed it in a narrower type than the run's.
            stage: Its stage, where the address alone does not tell it.
            copy: False hands the array over: the caller will never write to it again.

        Raises:
            TraceError: the address is recorded already or is none, the type is none of parity.dtypes, or
                writing has failed.
        """
        text, stage = self._admit(address, stage)
        if not isinstance(array, (np.ndarray, np.generic)):
            kind = type(array).__name__
            message = f"{text!r} is a {kind}; expected a numpy array, of bfloat16 as uint16 with dtype='bfloat16'"
            raise TraceError(message)
        array = np.asarray(array)
        name = dtype or _type_name(array.dtype)
        try:
            kind = storage_of(array, name)
        except ValueError as error:
            message = f"{text!r} cannot be recorded: {error}"
            raise TraceError(message) from error
        buffer = None
        if copy:
            array, buffer = self._buffers.copy(array, kind)
        else:
            array = np.asarray(array, dtype=kind, order="C")
        self._put(_Pending(text, stage, array, name, None, native, island, buffer), array.nbytes)

    def value(
        self, address: str | Address, value: object, *, native: str | None = None, stage: str | None = None
    ) -> None:
        """Record a value that is no tensor: None, a bool, a number, a string or a list of them.

        Raises:
            TraceError: it is something else, the address is recorded already or is none, or writing has failed.
        """
        text, stage = self._admit(address, stage)
        try:
            plain = plain_value(value)
            msgspec.json.encode(plain)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            message = f"{text!r} cannot be recorded: {error}"
            raise TraceError(message) from error
        self._put(_Pending(text, stage, None, "", plain, native, None, None), 0)

    def __contains__(self, address: str | Address) -> bool:
        """Tell whether the address is recorded, now or before a resume."""
        text = str(address)
        return text in self._seen or text in self._known

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Make all records durable. After an exception of the body the run stays incomplete.

        Raises:
            TraceError: writing failed and the body did not raise already.
        """
        self._open = False
        failure: Exception | None = None
        interruption: KeyboardInterrupt | None = None
        try:
            self._pipeline.close()
        except KeyboardInterrupt as raised:
            interruption = raised
        except Exception as raised:  # noqa: BLE001 - it is raised again below as the one error that the user sees
            failure = raised
            self._abandon()
        self.info.wall_s += time.perf_counter() - self._start
        if error is None and failure is None and interruption is None:
            self.info.complete = True
            self.info.records_digest = self._hasher.hexdigest()
        try:
            self._finished()
        except TraceError as raised:
            failure = failure or raised
        if interruption is not None:
            raise interruption
        if failure is not None and error is None:
            raise self._explained(failure) from failure

    def _admit(self, address: str | Address, stage: str | None) -> tuple[str, str]:
        """Return the canonical address and its stage, once per address."""
        if not self._open:
            message = f"{address!s}: the run {self._folder.name} is closed; record inside its with block"
            raise TraceError(message)
        try:
            parsed = address if isinstance(address, Address) else Address.parse(address)
            text = str(parsed)
            text.encode()
            stage = stage or self._settings.program.stage_of(parsed.path, parsed.port)
        except (AddressError, UnicodeEncodeError) as error:
            message = f"cannot be recorded: {error}"
            raise TraceError(message) from error
        if stage not in STAGES:
            message = f"{text!r} has stage {stage!r}; one of {', '.join(STAGES)}"
            raise TraceError(message)
        if text in self._seen:
            message = f"{text!r} is recorded twice in run {self._folder.name}; count calls in the address"
            raise TraceError(message)
        self._seen.add(text)
        return text, stage

    def _put(self, pending: _Pending, size: int) -> None:
        """Queue a record; the thread's failure, if any, surfaces here."""
        try:
            self._pipeline.put(pending, size + _ITEM_COST)
        except Exception as failure:
            raise self._explained(failure) from failure

    def _explained(self, failure: Exception) -> TraceError:
        """Return the one error that the user sees."""
        if isinstance(failure, TraceError):
            return TraceError(*failure.args)
        message = (
            f"{self._folder}: writing the trace failed: {failure}; its finished shards are intact, "
            f"make room or repair the disk, then resume"
        )
        return TraceError(message)

    def _handle(self, pending: _Pending) -> None:
        """Write one record; runs in the background thread."""
        self._write(pending)
        if pending.buffer is not None:
            self._buffers.give(pending.buffer)

    def _write(self, pending: _Pending) -> None:
        """Hash, place and note a record, or check it against the one before a resume."""
        array = pending.array
        if pending.address in self._known:
            self._compare(pending, "" if array is None else mark(array, pending.dtype))
            return
        record = self._value_of(pending) if array is None else self._tensor_of(pending, array)
        self._lines.append(encode(record))
        self.info.records += 1
        if self._shard_size >= self._settings.shard_bytes or len(self._lines) >= _MOST_RECORDS_PER_SHARD:
            self._close_shard()

    def _value_of(self, pending: _Pending) -> Record:
        """Return the record of a plain value."""
        return Record(
            address=pending.address, stage=pending.stage, kind="value", value=pending.value, native=pending.native
        )

    def _tensor_of(self, pending: _Pending, array: NDArray[Any]) -> Record:
        """Store a tensor and return its record."""
        seal = mark(array, pending.dtype)
        shard, offset = self._place(pending, array, seal)
        self.info.bytes_recorded += array.nbytes
        return Record(
            address=pending.address,
            stage=pending.stage,
            shape=array.shape,
            dtype=pending.dtype,
            digest=seal,
            shard=shard,
            offset=offset,
            native=pending.native,
            island=pending.island,
        )

    def _place(self, pending: _Pending, array: NDArray[Any], seal: str) -> tuple[str, int | None]:
        """Store the bytes unless they are stored already; return file and offset."""
        known = self._stored.get(seal)
        if known is not None:
            shard, offset, number, first = known
            if self._shard is not None and number == self._number:
                self._shard.link(pending.address, first)
            return shard, offset
        if self._shard is None:
            self._shard = self._store(self._folder, self._number)
        shard, offset = self._shard.put(pending.address, array, pending.dtype)
        self._stored[seal] = (shard, offset, self._number, pending.address)
        self._shard_size += array.nbytes
        self.info.bytes_stored += array.nbytes
        return shard, offset

    def _compare(self, pending: _Pending, seal: str) -> None:
        """Check a record that was there before the resume."""
        known = self._known[pending.address]
        found = (seal, pending.dtype, pending.value)
        if found != (known.digest, known.dtype, known.value):
            before, now = (known.digest or repr(known.value)), (seal or repr(pending.value))
            message = (
                f"{self._folder}: {pending.address!r} was {known.dtype} {before} before the interruption and is "
                f"{pending.dtype} {now} now; this run does not continue that one, record into a new folder"
            )
            raise TraceError(message)

    def _close_shard(self) -> None:
        """Close and sync the shard, then append its records."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None
            self._shard_size = 0
            self._number += 1
        if self._lines:
            data = b"".join(self._lines)
            self._lines.clear()
            with (self._folder / "records.jsonl").open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._hasher.update(data)

    def _abandon(self) -> None:
        """Remove the unfinished shard; what it held is recorded again on resume."""
        shard, self._shard = self._shard, None
        if shard is not None:
            try:
                shard.abandon()
            except (OSError, RuntimeError, ValueError):
                return
