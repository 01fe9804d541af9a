"""What a run's tensors are read from: which files stay mapped, and what reads a record without an offset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity.errors import TraceError
from parity.trace import Record, RunInfo, RunReader
from parity.trace.files import Files, Tensors

COUNT = 30_000  # float32 numbers, more than what is read instead of mapped


def folder_of(path, count=5):
    """Write files of plain numbers and return their records."""
    records = []
    for number in range(count):
        np.full(COUNT, number, np.float32).tofile(path / f"{number}.bin")
        record = Record(
            address=f"unet.{number}:output", stage="unet", shape=(COUNT,), dtype="float32", shard=f"{number}.bin",
            offset=0,
        )  # fmt: skip
        records.append(record)
    return records


def maps_of(path):
    """Return how many files of a folder this process has mapped."""
    return sum(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.parametrize(("one_tensor_each", "kept"), [(True, 0), (False, 5)])
def test_only_files_of_many_tensors_stay_mapped(tmp_path, one_tensor_each, kept):
    records = folder_of(tmp_path)
    files = Files(tmp_path, one_tensor_each=one_tensor_each)
    for number, record in enumerate(records):
        assert files.read(record)[0] == number
    assert maps_of(tmp_path) == kept
    held = [files.read(record) for record in records]
    assert maps_of(tmp_path) == 5  # a view keeps the map that it looks at
    del held
    assert maps_of(tmp_path) == kept


def test_a_small_file_of_one_tensor_is_read_and_not_mapped(tmp_path):
    np.arange(4, dtype=np.float32).tofile(tmp_path / "x")
    record = Record(address="unet.x:output", stage="unet", shape=(4,), dtype="float32", shard="x", offset=0)
    array = Files(tmp_path, one_tensor_each=True).read(record)
    assert (array.tolist(), array.flags.writeable, maps_of(tmp_path)) == ([0, 1, 2, 3], False, 0)


def test_a_record_without_an_offset_is_read_by_the_opener_alone(tmp_path):
    record = Record(address="unet.x:output", stage="unet", shape=(2,), dtype="int8", shard="x")
    with pytest.raises(TraceError, match=r"'unet.x:output' has no offset"):
        Files(tmp_path, one_tensor_each=False).read(record)
    files = Files(tmp_path, one_tensor_each=False, opener=lambda wanted, _: np.array([len(wanted.address), 7], np.int8))
    assert files.read(record).tolist() == [13, 7]
    assert not files.read(record).flags.writeable


def test_a_run_reads_whatever_supplies_its_tensors(tmp_path):
    class Counting(Tensors):
        def read(self, record):
            return np.full(record.shape, len(record.address), np.float64)

    shapes = {"unet.a:output": (2,), "unet.bb:output": (1, 2)}
    records = [Record(address=each, stage="unet", shape=shape, dtype="float64") for each, shape in shapes.items()]
    run = RunReader(tmp_path, "r", RunInfo(mode="run", dtype="float64"), records, Counting())
    assert run.tensor("unet.bb:output").tolist() == [[14, 14]]
    assert run.wide("unet.a:output").tolist() == [13, 13]
    assert run.flat(records, np.array([2, 2])).tolist() == [13, 13, 14, 14]
    assert list(run.with_records(records[1:])) == ["unet.bb:output"]
