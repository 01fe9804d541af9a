"""No tensor is read that is not the recorded one: alone or in a batch, in every store, and each is looked at once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from parity.errors import TraceError
from parity.trace import Trace, TraceWriter
from parity.trace.files import Tensors
from parity.trace.intact import Intact

from .helpers import STORES, edited, manifest, same

COUNT = 40
DAMAGED = "unet.b.17:output"


def written(folder, store):
    """A run of small tensors, some of which share their bytes."""
    writer = TraceWriter(folder, manifest(store))
    with writer.run("float32", mode="run", dtype="float32") as run:
        for number in range(COUNT):
            run.tensor(f"unet.b.{number}:output", np.arange(3 + number % 5, dtype=np.float32) + number)
            run.tensor(f"unet.b.{number + 1}:input.x", np.arange(3 + number % 5, dtype=np.float32) + number)
    writer.finish()
    return folder


def damage(folder, address):
    """Flip one bit of a tensor in its file."""
    record = Trace.open(folder).run("float32").record(address)
    path = folder / "float32" / record.shard
    data = bytearray(path.read_bytes())
    data[record.offset + 5] ^= 1
    path.write_bytes(data)


def outputs(run):
    """The outputs' records and their sizes."""
    records = [record for record in run.records if record.is_output_tensor]
    return records, np.array([record.shape[0] for record in records])


@pytest.fixture(params=[*STORES, "without offsets"])
def folder(request, tmp_path):
    folder = written(tmp_path / "t", "hdf5" if request.param == "without offsets" else request.param)
    if request.param == "without offsets":
        damage(folder, DAMAGED)
        edited(folder, lambda records: [record | {"offset": None} for record in records])
    else:
        damage(folder, DAMAGED)
    return folder


def test_a_damaged_tensor_is_not_read_under_any_of_its_addresses(folder):
    run = Trace.open(folder).run("float32")
    for address in (DAMAGED, "unet.b.18:input.x", DAMAGED):
        for read in (run.tensor, run.wide):
            words = rf"{address}' is damaged or was changed: its bytes have digest [0-9a-f]{{32}}; expected [0-9a-f]{{32}}; "
            with pytest.raises(TraceError, match=words + f"`parity verify {folder}`"):
                read(address)
    assert run.tensor("unet.b.16:output").shape == (4,)


def test_a_batch_with_a_damaged_tensor_is_not_read_and_names_it(folder):
    run = Trace.open(folder).run("float32")
    records, sizes = outputs(run)
    for _ in range(2):
        with pytest.raises(TraceError, match=f"'{DAMAGED}' is damaged or was changed"):
            run.flat(records, sizes)
    kept = [number for number, record in enumerate(records) if record.address != DAMAGED]
    whole = run.flat([records[number] for number in kept], sizes[kept])
    assert same(whole[:7], np.array([0, 1, 2, 1, 2, 3, 4], np.float32))


class Counting(Tensors):
    """Tensors in memory, and how often bytes of each were looked at: an array that is no longer the recorded one tells."""

    def __init__(self, arrays):
        self.arrays = arrays

    def read(self, record):
        """Return an array as it is now."""
        return self.arrays[record.address]


def test_each_distinct_tensor_is_looked_at_once(tmp_path):
    run = Trace.open(written(tmp_path / "t", "hdf5")).run("float32")
    arrays = {record.address: np.array(run.tensor(record.address)) for record in run.records}
    tensors = Intact(Counting(arrays), tmp_path)
    records, sizes = outputs(run)
    tensors.read(records[3])
    tensors.joined(records[4:], sizes[4:])
    arrays["unet.b.3:output"] += 1
    arrays["unet.b.4:input.x"] += 1  # the bytes of output 3
    arrays["unet.b.9:output"] += 1
    tensors.read(records[3])
    tensors.read(run.record("unet.b.4:input.x"))
    tensors.joined(records[4:], sizes[4:])
    arrays["unet.b.2:output"] += 1
    with pytest.raises(TraceError, match=r"'unet.b.2:output' is damaged"):
        tensors.joined(records[2:5], sizes[2:5])


def stretches(array):
    """An array in three parts."""
    return array[:2], array[2:3], array[3:]


def test_a_borrowed_tensor_is_compared_by_what_is_seen_of_it(folder):
    run = Trace.open(folder).run("float32")
    for address in ("unet.b.14:output", DAMAGED):
        borrowed = run.borrow(address)
        for stretch in stretches(borrowed.tensor.array):
            borrowed.see(stretch)
        if address == DAMAGED:
            with pytest.raises(TraceError, match=f"'{DAMAGED}' is damaged or was changed"):
                borrowed.settle()
        else:
            borrowed.settle()


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_what_was_not_seen_of_a_borrowed_tensor_is_read_in_the_end(folder, seen):
    run = Trace.open(folder).run("float32")
    for address in ("unet.b.14:output", DAMAGED):
        borrowed = run.borrow(address)
        for stretch in stretches(borrowed.tensor.array)[:seen]:
            borrowed.see(stretch)
        if address == DAMAGED:
            with pytest.raises(TraceError, match=f"'{DAMAGED}' is damaged or was changed"):
                borrowed.settle()
        else:
            borrowed.settle()


def test_a_large_mapped_tensor_is_compared_in_bounded_memory_by_several_threads(tmp_path):
    writer = TraceWriter(tmp_path / "t", manifest())
    array = np.arange(1 << 22, dtype=np.float32)
    with writer.run("float32", mode="run", dtype="float32") as run:
        run.tensor("unet:output", array)
    writer.finish()
    run = Trace.open(tmp_path / "t").run("float32")
    threads = [threading.Thread(target=run.tensor, args=("unet:output",)) for _ in range(4)]
    before = resident()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert resident() - before < array.nbytes / 2
    damage(tmp_path / "t", "unet:output")
    with pytest.raises(TraceError, match="is damaged"):
        Trace.open(tmp_path / "t").run("float32").tensor("unet:output")


def resident():
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
