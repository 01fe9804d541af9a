"""What the reader refuses: every damage and every name that leads out of the trace is one clear error."""

from __future__ import annotations

import os
import pickle
import threading

import h5py
import msgspec
import numpy as np
import pytest

from parity.errors import AddressError, ParityError, TraceError
from parity.trace import Trace, TraceWriter

from .helpers import STORES, assert_content, contents, edited, manifest, resealed, same, sealed_records, write

BAD_NAMES = [
    "/etc/passwd",
    "../secret.h5",
    "a/../../secret.h5",
    "",
    ".",
    "..",
    "a//b",
    "a/",
    "a\\b",
    "x\0.h5",
    "missing.h5",
]


@pytest.fixture(params=STORES)
def folder(tmp_path, request):
    """A small complete trace in each store."""
    return write(tmp_path / "t", request.param)


@pytest.fixture
def hdf5(tmp_path):
    """A small complete trace in HDF5."""
    return write(tmp_path / "t")


def test_what_is_not_there_is_said_with_the_nearest_name(folder):
    trace = Trace.open(folder)
    with pytest.raises(TraceError, match=r"has no run 'float23', did you mean 'float32'\?; its runs are float32"):
        trace.run("float23")
    run = trace.run("float32")
    with pytest.raises(AddressError, match=r"no record of 'unet.scalar:outptu', did you mean 'unet.scalar:output'\?"):
        run.tensor("unet.scalar:outptu")
    assert "unet.scalar:outptu" not in run
    assert "unet.scalar:output" in run
    assert len(run) == len(contents())
    with pytest.raises(TraceError, match=r"is a float64 tensor; read it with tensor\(\)"):
        run.value("unet.scalar:output")
    with pytest.raises(TraceError, match=r"is the value 0.5; read it with value\(\)"):
        run.tensor("scheduler.step@step=0:input.eta")


def test_runs_are_handed_out_all_of_them_or_those_of_some_modes(tmp_path):
    writer = TraceWriter(tmp_path / "t", manifest())
    for name, mode in (("float32", "run"), ("forced", "forced"), ("float64", "run")):
        with writer.run(name, mode=mode, dtype="float32") as run:
            run.tensor("unet:input.sample", np.zeros(2, np.float32))
            run.tensor("unet:output", np.ones(2, np.float32))
            run.value("unet:output.flag", 1)
    writer.finish()
    trace = Trace.open(tmp_path / "t")
    assert [run.name for run in trace.readers] == list(trace.runs) == ["float32", "forced", "float64"]
    assert [run.name for run in trace.in_modes("run")] == ["float32", "float64"]
    assert [run.name for run in trace.in_modes("forced", "run")] == list(trace.runs)
    assert trace.in_modes("free") == []
    assert trace.run("forced").output_tensors == ["unet:output"]


def test_a_folder_that_is_no_trace_is_refused(tmp_path):
    with pytest.raises(TraceError, match="missing is not a folder"):
        Trace.open(tmp_path / "missing")
    with pytest.raises(TraceError, match=r"has neither manifest.json nor .ckpt files of MindSpore, .npy files"):
        Trace.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(TraceError, match=r"manifest.json is no manifest of a trace: .*`side`"):
        Trace.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(schema=99), "has schema 99; this version reads schema 1"),
        (lambda content: content.update(extra=1), "unknown field `extra`"),
        (lambda content: content.update(status="recording"), "is not complete"),
        (lambda content: content["runs"].update({"../x": content["runs"]["float32"]}), "cannot name a run"),
        (lambda content: content["runs"].update({"gone": content["runs"]["float32"]}), "the manifest lists run 'gone'"),
        (lambda content: content["runs"]["float32"].update(records=3), "has 18|23 records; expected 3"),
        (lambda content: content["runs"]["float32"].update(complete=False), "run float32 unfinished"),
    ],
)
def test_a_wrong_manifest_is_refused(hdf5, change, message):
    resealed(hdf5, change)
    with pytest.raises(TraceError, match=message):
        Trace.open(hdf5)


def test_a_flipped_byte_in_manifest_or_records_is_found_by_its_digest(folder):
    for name in ("manifest.json", "float32/records.jsonl"):
        data = (folder / name).read_bytes()
        place = data.index(b"test" if name == "manifest.json" else b'"digest":"') + 11 * (name != "manifest.json")
        (folder / name).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(
            TraceError, match=r"is damaged or was changed: its digest is [0-9a-f]{32}; expected [0-9a-f]{32}"
        ):
            Trace.open(folder)
        (folder / name).write_bytes(data)
    assert_content(Trace.open(folder))


@pytest.mark.parametrize("change", [lambda content: content.pop("digest"), lambda content: content.update(digest="")])
def test_a_complete_trace_without_a_seal_is_refused_and_one_that_is_recorded_is_read(folder, change):
    resealed(folder, change)
    with pytest.raises(
        TraceError, match=r"manifest.json has no seal \(its last key, digest\), though the trace is complete"
    ):
        Trace.open(folder)
    resealed(folder, lambda content: (content.update(status="recording"), change(content)))
    assert_content(Trace.open(folder, allow_incomplete=True))


def test_a_complete_run_whose_records_have_no_digest_is_refused(folder):
    resealed(folder, lambda content: content["runs"]["float32"].update(records_digest=""))
    with pytest.raises(TraceError, match=r"records.jsonl is damaged .* expected one in the manifest"):
        Trace.open(folder)


def test_a_seal_that_is_not_the_last_key_is_none(folder):
    content = msgspec.json.decode((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_bytes(msgspec.json.encode({"digest": content.pop("digest"), **content}))
    with pytest.raises(TraceError, match="its digest is not its last key"):
        Trace.open(folder)


def test_a_flipped_byte_in_a_tensor_is_found_by_verify_and_names_the_address(folder):
    record = Trace.open(folder).run("float32").record("unet.nan:output")
    path = folder / "float32" / record.shard
    data = bytearray(path.read_bytes())
    data[record.offset + 5] ^= 4
    path.write_bytes(data)
    trace = Trace.open(folder)
    with pytest.raises(
        TraceError, match=r"'unet.nan:output' is damaged or was changed: its bytes have digest .*; expected "
    ):
        trace.verify()
    with pytest.raises(TraceError, match="is damaged"):
        Trace.open(folder, verify=True)
    with pytest.raises(TraceError, match="is damaged"):
        trace.run("float32").tensor("unet.nan:output")
    assert same(trace.run("float32").tensor("unet.scalar:output"), np.array(-0.0))


def test_a_truncated_shard_is_found_when_opening(folder):
    record = max(Trace.open(folder).run("float32").records, key=lambda each: each.offset or 0)
    path = folder / "float32" / record.shard
    os.truncate(path, record.offset + 3)
    with pytest.raises(TraceError, match=rf"{path.name} has {record.offset + 3} bytes; .* ends at byte"):
        Trace.open(folder)


def test_a_missing_shard_is_found_when_opening(folder):
    record = Trace.open(folder).run("float32").records[0]
    (folder / "float32" / record.shard).unlink()
    with pytest.raises(TraceError, match=f"{(folder / 'float32' / record.shard).name} cannot be opened: No such file"):
        Trace.open(folder)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_shards_name_never_leads_out_of_the_trace(folder, name):
    (folder.parent / "secret.h5").write_bytes(b"\0" * 10_000)
    edited(folder, lambda records: records[0].update(shard=name))
    with pytest.raises(TraceError, match=r"leads out of the trace|cannot be opened"):
        Trace.open(folder)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "parent"])
def test_a_shard_is_a_regular_file_in_regular_folders(folder, kind):
    record = Trace.open(folder).run("float32").records[0]
    path = folder / "float32" / record.shard
    moved = folder.parent / "outside"
    if kind == "parent":
        target = path.parent
        target.rename(moved)
        target.symlink_to(moved)
    else:
        path.rename(moved)
        {"link": lambda: path.symlink_to(moved), "fifo": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    with pytest.raises(TraceError, match=r"is no regular file|symbolic link|is not a folder"):
        Trace.open(folder)


@pytest.mark.parametrize("name", ["manifest.json", "float32/records.jsonl", "float32"])
def test_no_symbolic_link_is_followed(folder, name):
    path = folder / name
    path.rename(folder.parent / "outside")
    path.symlink_to(folder.parent / "outside")
    with pytest.raises(TraceError, match=r"symbolic link|is not a folder"):
        Trace.open(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": "float33"}, "'float33' is not a tensor type"),
        ({"dtype": "object"}, "'object' is not a tensor type"),
        ({"shape": [-1, 4]}, r"has shape \[-1, 4\], which no"),
        ({"shape": [-3, -4]}, r"has shape \[-3, -4\], which no"),
        ({"shape": [1 << 40, 1 << 40]}, "which no"),
        ({"shape": [1 << 62]}, "which no|ends at byte"),
        ({"shape": [0, 1 << 80]}, "which no"),
        ({"shape": [1] * 33}, "which no"),
        ({"shape": [3.5]}, "Expected `int`"),
        ({"offset": -8}, "a tensor needs both"),
        ({"offset": 1 << 70}, "ends at byte"),
        ({"offset": 1.5}, r"Expected `int \| null`"),
        ({"shard": None}, "a tensor needs both"),
        ({"digest": "xyz"}, "expected 32 hexadecimal digits"),
        ({"address": "unet"}, "'unet' is not an address"),
        ({"address": "unet@step=01:output"}, r"not in canonical form; expected 'unet@step=1:output'"),
        ({"address": f"unet@step={'9' * 5000}:output"}, "digits"),
        ({"stage": "stage"}, "has stage 'stage'; one of weights"),
        ({"kind": "pickle"}, "Invalid enum value 'pickle'"),
        ({"kind": "value", "value": {"a": 1}}, "which no recorder writes"),
        ({"kind": "value", "value": {"float": "1"}}, "which no recorder writes"),
        ({"surprise": 1}, "unknown field `surprise`"),
    ],
)
def test_a_record_that_no_recorder_writes_is_refused(folder, fields, message):
    edited(folder, lambda records: records[0].update(fields))
    with pytest.raises(TraceError, match=message):
        Trace.open(folder)


def test_an_address_recorded_twice_is_refused(folder):
    edited(folder, lambda records: [*records, records[0] | {"digest": records[1]["digest"]}])
    with pytest.raises(TraceError, match="occurs twice"):
        Trace.open(folder)


@pytest.mark.parametrize(
    "line", [b'{"address": "unet', b"[]\n", b"\xff\xfe\n", b"null\n", b"[" * 100_000 + b"\n", b"{}\n"]
)
def test_a_line_that_is_no_record_is_named_by_its_number(folder, line):
    path = folder / "float32" / "records.jsonl"
    count = path.read_bytes().count(b"\n")
    path.write_bytes(path.read_bytes() + line)
    sealed_records(folder, "float32")
    with pytest.raises(TraceError, match=f"records.jsonl, line {count + 1}: not a record"):
        Trace.open(folder)


def test_two_swapped_tensors_are_found_by_verify(folder):
    def swap(records):
        first, second = records[0], records[1]
        first["digest"], second["digest"] = second["digest"], first["digest"]

    edited(folder, swap)
    with pytest.raises(TraceError, match="is damaged"):
        Trace.open(folder, verify=True)


def virtual(file, name):
    """Make a virtual dataset that reads another file."""
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("../../secret.h5", "x", (4,))
    file.create_virtual_dataset(name, layout)


def without_offsets(folder):
    """Make every read go through h5py."""
    edited(folder, lambda records: [record | {"offset": None} for record in records])


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (
            lambda file, name: file.__setitem__(name, h5py.ExternalLink("../../secret.h5", "/x")),
            "soft or external link",
        ),
        (lambda file, name: file.__setitem__(name, h5py.SoftLink("/unet/scalar:output")), "soft or external link"),
        (lambda file, name: file.create_group(name), "is no dataset"),
        (lambda file, name: file.create_dataset(name, data=np.zeros(4)), r"is float64\[4\]; expected float32\[4\]"),
        (lambda file, name: file.create_dataset(name, data=np.zeros((2, 2), "f4")), r"is float32\[2, 2\]; expected"),
        (lambda file, name: file.create_dataset(name, data=np.zeros(4, "f4"), chunks=(2,)), "is not contiguous"),
        (lambda file, name: file.create_dataset(name, data=np.zeros(4, "f4"), compression="gzip"), "is not contiguous"),
        (
            lambda file, name: file.create_dataset(
                name, (4,), "f4", external=[("../../secret.h5", 0, h5py.h5f.UNLIMITED)]
            ),
            "is not contiguous in its own file",
        ),
        (lambda file, name: file.create_dataset(name, (4,), "f4"), r"stores 0 bytes; its shape \[4\] needs others"),
        (virtual, "is not contiguous"),
        (lambda *_: None, "cannot be read"),
    ],
)
def test_h5py_reads_only_plain_datasets_of_the_file_itself(hdf5, replace, message):
    with h5py.File(hdf5.parent / "secret.h5", "w") as file:
        file["x"] = np.zeros(4, "f4")
    without_offsets(hdf5)
    with h5py.File(hdf5 / "float32" / "tensors-0000.h5", "r+") as file:
        del file["unet/nan:output"]
        replace(file, "unet/nan:output")
    trace = Trace.open(hdf5)
    assert same(trace.run("float32").tensor("unet.scalar:output"), np.array(-0.0))
    with pytest.raises(TraceError, match=message):
        trace.run("float32").tensor("unet.nan:output")


def test_a_shard_that_is_no_hdf5_is_one_error_without_offsets(hdf5):
    without_offsets(hdf5)
    (hdf5 / "float32" / "tensors-0000.h5").write_bytes(b"no HDF5" * 5000)
    with pytest.raises(TraceError, match=r"tensors-0000.h5: 'unet.down_blocks.0@step=0:output' cannot be read"):
        Trace.open(hdf5, verify=True)


class Bomb:
    """Says so when it is unpickled."""

    def __reduce__(self):
        """Return what a pickle calls."""
        return (pytest.fail, ("unpickled",))


def test_a_pickle_in_an_npy_file_is_never_loaded(tmp_path):
    folder = write(tmp_path / "t", "npy")
    without_offsets(folder)
    path = folder / "float32" / "npy" / "unet.nan%3Aoutput.npy"
    np.save(path, np.array([Bomb()] * 4), allow_pickle=True)
    with pytest.raises(TraceError, match="objects are never unpickled"):
        Trace.open(folder, verify=True)
    path.write_bytes(pickle.dumps(Bomb()) * 20)
    with pytest.raises(TraceError, match=r"is no .npy file"):
        Trace.open(folder, verify=True)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("bool", [True, False], [1, 0]),
        ("bfloat16", [0x3F80, 0x4049, 0x0001], [1.0, 3.140625, 2.0**-133]),
        ("int64", [2**53, -(2**53)], [2.0**53, -(2.0**53)]),
        ("float16", [65504.0], [65504.0]),
        ("float64", [0.1], [0.1]),
    ],
)
def test_wide_is_the_exact_float64(tmp_path, name, content, expected):
    writer = TraceWriter(tmp_path / "t", manifest())
    with writer.run("r", mode="run", dtype="float32") as run:
        run.tensor("unet.a:output", np.array(content, "uint16" if name == "bfloat16" else name), dtype=name)
    writer.finish()
    wide = Trace.open(tmp_path / "t").run("r").wide("unet.a:output")
    assert wide.dtype == np.float64
    assert wide.tolist() == expected


@pytest.mark.parametrize(
    "array", [np.zeros(2, np.complex64), np.array([2**53 + 1]), np.array([-(2**53) - 1]), np.array([2**63], np.uint64)]
)
def test_what_has_no_exact_float64_is_refused_by_wide(tmp_path, array):
    writer = TraceWriter(tmp_path / "t", manifest())
    with writer.run("r", mode="run", dtype="float32") as run:
        run.tensor("unet.a:output", array)
    writer.finish()
    back = Trace.open(tmp_path / "t").run("r")
    with pytest.raises(TraceError, match="without an exact float64 form"):
        back.wide("unet.a:output")
    assert same(back.tensor("unet.a:output"), array)


def test_the_digest_is_of_content_and_case_and_not_of_place(tmp_path):
    plain = Trace.open(write(tmp_path / "a")).digest
    assert Trace.open(write(tmp_path / "b", "npy", shard_bytes=1)).digest == plain
    assert Trace.open(write(tmp_path / "c", runs=("float32", "float64"))).digest != plain
    resealed(tmp_path / "b", lambda content: content.update(case_digest=""))
    assert Trace.open(tmp_path / "b").digest != plain
    for number, change in enumerate(
        (
            lambda records: records[0].update(digest="0" * 32),
            lambda records: records[-1].update(value=1),
            lambda records: records[1].update(address="unet.other:output"),
            lambda records: records[::-1],
        )
    ):
        folder = write(tmp_path / str(number))
        edited(folder, change)
        assert Trace.open(folder).digest != plain


def test_several_threads_read_the_same_bytes(folder):
    run = Trace.open(folder).run("float32")
    wrong: list[str] = []

    def read() -> None:
        for _ in range(20):
            wrong.extend(
                address for address, kind, content in contents() if kind and not same(run.tensor(address), content)
            )

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_errors_are_of_the_family_that_ends_with_exit_code_two():
    assert issubclass(TraceError, ParityError)
    assert issubclass(TraceError, ValueError)


def test_a_trace_is_followed_while_it_is_recorded(tmp_path):
    """What is complete can be read before the rest is recorded, and nothing else."""
    opened = {}

    def follow(until):
        opened[until] = Trace.follow(tmp_path / "t", until, lambda: False)

    waiting = {
        until: threading.Thread(target=follow, args=(until,), daemon=True) for until in ("replayable", "complete")
    }
    for thread in waiting.values():
        thread.start()
    writer = TraceWriter(tmp_path / "t", manifest())
    with writer.run("float32", mode="run", dtype="float32") as run:
        run.tensor("unet:output", np.arange(6.0))
    assert waiting["replayable"].is_alive()
    writer.replayable()
    with writer.run("forced", mode="forced", dtype="float64") as run:
        run.tensor("unet:output", np.arange(6.0))
        waiting["replayable"].join()
        assert opened["replayable"].runs == ("float32",)
        later = Trace.follow(tmp_path / "t", "replayable", lambda: False)
        assert (later.runs, tuple(later.manifest.runs)) == (("float32",), ("float32",))
        assert same(opened["replayable"].run("float32").tensor("unet:output"), np.arange(6.0))
        with pytest.raises(TraceError, match="not complete"):
            Trace.open(tmp_path / "t")
    assert waiting["complete"].is_alive()
    writer.finish()
    waiting["complete"].join()
    assert opened["complete"].digest == Trace.open(tmp_path / "t").digest


@pytest.mark.parametrize("started", [False, True])
def test_who_follows_a_trace_gives_up_with_its_recorder(tmp_path, started):
    if started:
        TraceWriter(tmp_path / "t", manifest())
    with pytest.raises(TraceError, match="not replayable: the process that recorded it has ended"):
        Trace.follow(tmp_path / "t", "replayable", lambda: True)


def test_the_checkpoint_that_a_candidate_was_made_of_is_no_tensor_that_was_left_unread(folder):
    (folder / "weights.ckpt").write_bytes(b"parameters")
    assert Trace.open(folder).unread == {}
    (folder / "more.ckpt").write_bytes(b"tensors")
    assert Trace.open(folder).unread == {"more.ckpt": "is named by no record of the trace"}
