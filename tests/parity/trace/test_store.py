"""Both stores keep every tensor exactly: one class of tests, inherited by each store."""

# ruff: noqa: D101, D102 - a test's name is its sentence
from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from parity.dtypes import storage
from parity.trace import Trace, TraceWriter

from .helpers import TYPES, assert_content, contents, edited, example, manifest, same, write

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn


@st.composite
def tensors(draw: DrawFn) -> tuple[str, np.ndarray]:
    """A type's name and an array of it: any shape and bits, also 0-d, empty, strided, big-endian, Fortran order."""
    name = draw(st.sampled_from(TYPES))
    shape = draw(st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    array = example(name, draw(st.integers(0, 1 << 32)), shape)
    form = draw(st.sampled_from(["plain", "big", "reversed", "transposed", "strided", "fortran"]))
    if form == "big":
        array = array.astype(array.dtype.newbyteorder(">"))
    elif form == "fortran":
        array = np.asfortranarray(array)
    elif form == "transposed":
        array = array.T
    elif array.ndim and form == "reversed":
        array = array[::-1]
    elif array.ndim and form == "strided":
        array = np.repeat(array, 2, axis=0)[::2]
    return name, array


DESCRIPTORS = Path("/proc/self/fd")


class Conformance:
    """What every store does."""

    store: str

    @given(st.lists(tensors(), min_size=1, max_size=8))
    @settings(max_examples=settings.default.max_examples // 2, suppress_health_check=[HealthCheck.differing_executors])
    def test_every_tensor_comes_back_with_its_bytes(self, drawn):
        with TemporaryDirectory() as folder:
            writer = TraceWriter(folder + "/t", manifest(self.store), shard_bytes=64)
            with writer.run("r", mode="run", dtype="float32") as run:
                for number, (name, array) in enumerate(drawn):
                    run.tensor(f"unet.{number}:output", array, dtype=name)
            writer.finish()
            back = Trace.open(folder + "/t", verify=True).run("r")
            for number, (name, array) in enumerate(drawn):
                read = back.tensor(f"unet.{number}:output")
                assert same(read, array.astype(storage(name)))
                assert not read.flags.writeable
                assert back.record(f"unet.{number}:output").dtype == name

    def test_a_small_run_comes_back_whole(self, tmp_path):
        trace = Trace.open(write(tmp_path / "t", self.store), verify=True)
        assert_content(trace)
        assert trace.manifest.status == "complete"
        assert not trace.plain

    @pytest.mark.parametrize("shard_bytes", [64, 1 << 20])
    @pytest.mark.parametrize("name", ["float32", "bfloat16"])
    def test_tensors_of_a_type_are_read_end_to_end(self, tmp_path, name, shard_bytes):
        shapes = [(3,), (), (2, 4), (1,), (5, 1, 2)]
        writer = TraceWriter(tmp_path / "t", manifest(self.store), shard_bytes=shard_bytes)
        with writer.run("r", mode="run", dtype="float32") as run:
            for number, shape in enumerate([*shapes, (3,)]):  # the last has the bytes of the first
                run.tensor(f"unet.{number}:output", example(name, number % len(shapes), shape), dtype=name)
        writer.finish()
        wanted = np.concatenate([example(name, number, shapes[number]).reshape(-1) for number in (4, 0, 0, 2, 1)])
        for change in ({}, {"offset": None}):
            edited(tmp_path / "t", lambda records, change=change: [record | change for record in records], run="r")
            back = Trace.open(tmp_path / "t").run("r")
            chosen = [back.records[number] for number in (4, 0, 5, 2, 1)]
            for _ in range(2):  # not yet mapped, then mapped
                assert same(back.flat(chosen, np.array([10, 3, 3, 8, 1])), wanted)

    def test_a_run_of_many_shards_comes_back_whole(self, tmp_path):
        assert_content(Trace.open(write(tmp_path / "t", self.store, shard_bytes=100), verify=True))

    def test_a_reader_without_offsets_gets_the_same_bytes(self, tmp_path):
        folder = write(tmp_path / "t", self.store, shard_bytes=200)
        edited(folder, lambda records: [record | {"offset": None} for record in records])
        assert_content(Trace.open(folder, verify=True))

    def test_the_same_bytes_are_stored_once_whatever_shard_they_are_in(self, tmp_path):
        for shard_bytes in (1, 1 << 20):
            folder = tmp_path / str(shard_bytes)
            array = np.arange(1000.0)
            writer = TraceWriter(folder, manifest(self.store), shard_bytes=shard_bytes)
            with writer.run("r", mode="run", dtype="float64") as run:
                for step in range(50):
                    run.tensor(f"unet@step={step}:output", array)
            writer.finish()
            back = Trace.open(folder, verify=True)
            assert {(each.shard, each.offset) for each in back.run("r").records} == {
                (back.run("r").records[0].shard, back.run("r").records[0].offset)
            }
            info = back.manifest.runs["r"]
            assert (info.bytes_recorded, info.bytes_stored, info.records) == (50 * 8000, 8000, 50)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in {".h5", ".npy"})
            assert size < 8000 + 50 * 400

    def test_equal_bytes_of_another_type_or_shape_are_not_the_same(self, tmp_path):
        writer = TraceWriter(tmp_path / "t", manifest(self.store))
        zeros = {
            "unet.a:output": (np.zeros(4, np.float32), "float32"),
            "unet.b:output": (np.zeros((2, 2), np.float32), "float32"),
            "unet.c:output": (np.zeros(4, np.int32), "int32"),
            "unet.d:output": (np.zeros(4, np.uint16), "uint16"),
            "unet.e:output": (np.zeros(4, np.uint16), "bfloat16"),
        }
        with writer.run("r", mode="run", dtype="float32") as run:
            for address, (array, name) in zeros.items():
                run.tensor(address, array, dtype=name)
        writer.finish()
        back = Trace.open(tmp_path / "t").run("r")
        assert len({record.digest for record in back.records}) == len(zeros)
        for address, (array, name) in zeros.items():
            assert same(back.tensor(address), array)
            assert back.record(address).dtype == name

    def test_addresses_of_any_characters_are_kept(self, tmp_path):
        names = [
            "a/b",
            "a%2Fb",
            "..",
            "x<script>",
            "new\nline",
            "ünïcode",
            ".x",
            "x.",
            "n\0l",
            "q" * 600,
            "q" * 599 + "p",
            "%",
            "A",
            "~a",
        ]
        addresses = [f"unet.{name}:output" for name in names] + ["unet:output", "unet.:output", "unet@step=0:output"]
        writer = TraceWriter(tmp_path / "t", manifest(self.store))
        with writer.run("r", mode="run", dtype="float64") as run:
            for number, address in enumerate(addresses):
                run.tensor(address, np.array([number]))
        writer.finish()
        edited(tmp_path / "t", lambda records: [record | {"offset": None} for record in records], run="r")
        back = Trace.open(tmp_path / "t", verify=True).run("r")
        assert list(back) == addresses
        assert [int(back.tensor(address)[0]) for address in back] == list(range(len(addresses)))

    def test_a_record_that_points_behind_its_file_is_refused(self, tmp_path):
        folder = write(tmp_path / "t", self.store)
        edited(
            folder, lambda records: [record | ({"offset": 1 << 40} if record["offset"] else {}) for record in records]
        )
        with pytest.raises(ValueError, match=r"ends at byte 1099511627"):
            Trace.open(folder)


class TestHdf5(Conformance):
    store = "hdf5"

    def test_other_tools_see_a_tree_of_components(self, tmp_path):
        folder = write(tmp_path / "t")
        with h5py.File(folder / "float32" / "tensors-0000.h5") as file:
            assert set(file) == {"unet"}
            first = file["unet/conv_in@step=0:input.sample"]
            assert first == file["unet/conv_in@step=1,call=0:input.sample"]
            assert first.chunks is None
            assert first.id.get_offset() % 8 == 0
            number = TYPES.index("bfloat16")
            half = file[f"unet/down_blocks.{number}@step=0:output"]
            assert half.dtype == np.uint16
            assert half.attrs["dtype"] == b"bfloat16"
            for address, kind, content in contents():
                if kind:
                    name = address.removeprefix("unet.")
                    assert same(np.asarray(file["unet"][name]), content)

    def test_every_offset_is_a_multiple_of_eight(self, tmp_path):
        writer = TraceWriter(tmp_path / "t", manifest())
        with writer.run("r", mode="run", dtype="float32") as run:
            for length in range(1, 40):
                run.tensor(f"unet.{length}:output", np.full(length, length % 2, bool))
        writer.finish()
        back = Trace.open(tmp_path / "t").run("r")
        assert all(record.offset % 8 == 0 for record in back.records)

    def test_reading_maps_the_shard_and_copies_nothing(self, tmp_path):
        back = Trace.open(write(tmp_path / "t")).run("float32")
        one, two = (back.tensor("unet.conv_in@step=0:input.sample") for _ in range(2))
        assert np.shares_memory(one, two)

    def test_a_small_trace_is_a_small_file(self, tmp_path):
        folder = write(tmp_path / "t")
        assert (folder / "float32" / "tensors-0000.h5").stat().st_size < 40_000


class TestNpy(Conformance):
    store = "npy"

    def test_numpy_reads_the_files_by_their_addresses(self, tmp_path):
        folder = write(tmp_path / "t", "npy") / "float32" / "npy"
        array = np.load(folder / "unet.conv_in%40step%3D0%3Ainput.sample.npy", allow_pickle=False)
        assert same(array, example("float32", 9, (2, 5)))
        for path in folder.iterdir():
            np.load(path, allow_pickle=False)

    def test_a_file_system_that_ignores_case_keeps_both_tensors(self, tmp_path):
        writer = TraceWriter(tmp_path / "t", manifest("npy"))
        with writer.run("r", mode="run", dtype="float64") as run:
            (tmp_path / "t" / "r" / "npy").mkdir()
            (tmp_path / "t" / "r" / "npy" / "unet.a%3Aoutput.npy").touch()
            run.tensor("unet.a:output", np.arange(3.0))
        writer.finish()
        assert same(Trace.open(tmp_path / "t").run("r").tensor("unet.a:output"), np.arange(3.0))

    @pytest.mark.skipif(not DESCRIPTORS.exists(), reason="this system does not list open files there")
    def test_many_held_tensors_do_not_exhaust_descriptors(self, tmp_path):
        writer = TraceWriter(tmp_path / "t", manifest("npy"))
        with writer.run("r", mode="run", dtype="float64") as run:
            for number in range(1500):
                run.tensor(f"unet.{number}:output", np.array([number]))
        writer.finish()
        back = Trace.open(tmp_path / "t").run("r")
        before = len(list(DESCRIPTORS.iterdir()))
        held = [back.tensor(address) for address in back]
        after = len(list(DESCRIPTORS.iterdir()))
        assert [int(array[0]) for array in held] == list(range(1500))
        assert after - before < 50
