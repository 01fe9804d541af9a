"""Packing and sizes."""

from __future__ import annotations

import numpy as np
import pytest

from parity.errors import AddressError, TraceError
from parity.trace import Record, Trace, TraceWriter, estimate, is_unfinished, pack, packing, write_injection
from parity.trace.injection import seals_of

from .helpers import STORES, contents, manifest, resealed, same, write


@pytest.mark.parametrize("store", STORES)
def test_packing_keeps_what_matches_and_the_identity(tmp_path, store):
    write(tmp_path / "t", store, runs=("float32", "float64"))
    noise = np.zeros((2, 1, 4, 2, 2), np.float32)
    files = seals_of(write_injection(tmp_path / "t", noise[0], noise))
    resealed(tmp_path / "t", lambda content: content.update(injection=files))
    trace = Trace.open(tmp_path / "t")
    packed = pack(trace, r"unet\.(conv_in|nan).*|scheduler\.step.*", tmp_path / "p")
    assert packed.digest == trace.digest
    assert packed.manifest.origin == trace.digest
    assert packed.runs == ("float32", "float64")
    kept = [each for each in contents() if each[0].startswith(("unet.conv_in", "unet.nan", "scheduler"))]
    for name in packed.runs:
        run = packed.run(name)
        assert list(run) == [address for address, _, _ in kept]
        for address, kind, content in kept:
            found = run.tensor(address) if kind else run.value(address)
            assert same(found, content) if kind else found == content
            before, after = trace.run(name).record(address), run.record(address)
            assert (after.stage, after.native, after.digest) == (before.stage, before.native, before.digest)
        assert run.info.only == r"unet\.(conv_in|nan).*|scheduler\.step.*"
    assert (tmp_path / "p" / "init_latent.npy").read_bytes() == (tmp_path / "t" / "init_latent.npy").read_bytes()
    again = pack(packed, r".*step=0.*", tmp_path / "q")
    assert again.run("float32").info.only == (r"unet\.(conv_in|nan).*|scheduler\.step.*", r".*step=0.*")
    assert list(again.run("float32")) == [address for address, _, _ in kept if "step=0" in address]
    assert again.digest == trace.digest
    assert again.verify().records == 2 * len(again.run("float32"))


def test_packing_a_plain_folder_makes_a_trace(tmp_path):
    (tmp_path / "plain").mkdir()
    np.save(tmp_path / "plain" / "x.npy", np.arange(3.0))
    packed = pack(Trace.open(tmp_path / "plain"), ".*", tmp_path / "p")
    assert not packed.plain
    assert same(packed.run("plain").tensor("x:output"), np.arange(3.0))


def test_packing_nothing_or_onto_itself_is_refused(tmp_path):
    trace = Trace.open(write(tmp_path / "t"))
    with pytest.raises(TraceError, match=r"no address matches 'unet.*nowhere'; `parity show"):
        pack(trace, r"unet\.nowhere", tmp_path / "p")
    assert not (tmp_path / "p").exists()
    with pytest.raises(AddressError, match="is not a regular expression"):
        pack(trace, "(", tmp_path / "p")
    with pytest.raises(TraceError, match="is the trace itself"):
        pack(trace, ".*", tmp_path / "t")
    with pytest.raises(TraceError, match="holds a trace already"):
        pack(trace, ".*", write(tmp_path / "u"))


def test_packing_does_not_launder_a_damaged_tensor(tmp_path):
    folder = write(tmp_path / "t")
    record = Trace.open(folder).run("float32").record("unet.nan:output")
    with (folder / "float32" / record.shard).open("r+b") as file:
        file.seek(record.offset)
        file.write(b"\1")
    with pytest.raises(TraceError, match="is damaged"):
        pack(Trace.open(folder), ".*", tmp_path / "p")
    with pytest.raises(TraceError, match="not complete"):
        Trace.open(tmp_path / "p")


@pytest.mark.parametrize(("store", "shape"), [("hdf5", (40,)), ("hdf5", (50, 40)), ("npy", (40,)), ("npy", (50, 40))])
def test_the_estimate_is_near_what_the_files_take(tmp_path, store, shape):
    writer = TraceWriter(tmp_path / "t", manifest(store))
    with writer.run("r", mode="run", dtype="float32") as run:
        for number in range(400):
            array = np.full(shape, number % 300, np.float32)
            run.tensor(f"unet.down_blocks.1.attentions.{number}.to_q@step=3,call=0:output", array)
        run.value("unet:input.scale", 1.0)
    writer.finish()
    records = Trace.open(tmp_path / "t").run("r").records
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    after = estimate(records, store=store)
    item = 4 * int(np.prod(shape))
    assert (after.records, after.bytes_recorded, after.bytes_stored) == (401, 400 * item, 300 * item)
    assert after.bytes_on_disk == pytest.approx(size, rel=0.2)
    before = estimate(
        [
            Record(address=each.address, stage=each.stage, kind=each.kind, shape=each.shape, dtype=each.dtype)
            for each in records
        ]
    )
    assert before.bytes_stored == before.bytes_recorded == 400 * item


def test_the_estimate_refuses_what_no_tensor_can_be():
    with pytest.raises(TraceError, match="is not a tensor type"):
        estimate([Record(address="unet:output", stage="unet", shape=(2,), dtype="float33")])


def test_half_a_pack_is_continued_and_a_whole_one_is_not_written_over(tmp_path, monkeypatch):
    source = Trace.open(write(tmp_path / "t"))
    copied = packing._copy

    def interrupted(run, record, target):
        if len(target._seen) == 2:
            raise KeyboardInterrupt
        copied(run, record, target)

    monkeypatch.setattr(packing, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(source, ".*", tmp_path / "p")
    monkeypatch.undo()
    assert is_unfinished(tmp_path / "p")
    packed = pack(source, ".*", tmp_path / "p")
    assert packed.verify().records == source.verify().records
    with pytest.raises(TraceError, match="p holds a trace already"):
        pack(source, ".*", tmp_path / "p")


def test_nothing_is_packed_among_someones_own_files(tmp_path):
    source = Trace.open(write(tmp_path / "t"))
    with pytest.raises(TraceError, match=r"holds 't' and no trace"):
        pack(source, ".*", tmp_path)
