"""Whatever lies under a folder is read, or named with the reason."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from parity.compare import compare
from parity.errors import TraceError
from parity.trace import Trace
from parity.trace.dumps import tree
from tests.parity.trace.helpers import write

from .made import network, write_safetensors

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def save(path, array=X):
    """Save an array into folders that are made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def two(tmp_path):
    """Return two folders that hold the same tensor."""
    for side in "ab":
        save(tmp_path / side / "x.npy")
    return tmp_path / "a", tmp_path / "b"


def verdict(a, b):
    """Return the verdict over two folders, and what was not read of them by its name there."""
    result = compare(Trace.open(a), [Trace.open(b)])
    return result.verdict, sorted({name.removeprefix(f"{a}/").removeprefix(f"{b}/") for name in result.coverage.unread})


def test_a_difference_in_a_subfolder_however_deep_is_found(tmp_path):
    a, b = two(tmp_path)
    deep = "/".join(f"level{number}" for number in range(30))
    for side in (a, b):
        save(side / deep / "y.npy")
    assert verdict(a, b) == ("MATCH", [])
    save(b / deep / "y.npy", X + 1)
    result = compare(Trace.open(a), [Trace.open(b)])
    assert [pair.address for pair in result.pairs if pair.verdict == "MISMATCH"] == [
        f"{deep.replace('/', '.')}.y:output"
    ]
    (b / deep / "y.npy").unlink()
    assert verdict(a, b)[0] == "INCOMPLETE"


@pytest.mark.parametrize("beside", ["y.npz", "y.safetensors", "sub/y.npz"])
def test_a_difference_in_a_file_of_another_format_beside_is_found(tmp_path, beside):
    a, b = two(tmp_path)
    for side, factor in ((a, 1), (b, 2)):
        (side / beside).parent.mkdir(exist_ok=True)
        if beside.endswith("npz"):
            np.savez(side / beside, w=X * factor)
        else:
            write_safetensors(side / beside, {"w": (X * np.float32(factor), "float32")})
    result = compare(Trace.open(a), [Trace.open(b)])
    assert [pair.verdict for pair in result.pairs] == ["MATCH", "MISMATCH"]
    assert result.pairs[1].address.endswith("w:output")


def test_the_folder_of_a_step_is_the_step_and_steps_are_in_natural_order(tmp_path):
    for number in (10, 9, 0):
        save(tmp_path / f"step_{number}" / "unet" / "conv_in.npy", X + number)
    np.savez(tmp_path / "step_2.npz", **{"unet.conv_in": X + 2})
    run = Trace.open(tmp_path).run("plain")
    assert sorted(run) == [f"unet.conv_in@step={number}:output" for number in (0, 10, 2, 9)]
    assert [address for address in run if "step=2" not in address] == [
        f"unet.conv_in@step={number}:output" for number in (0, 9, 10)
    ]
    assert run.tensor("unet.conv_in@step=2:output")[0, 0] == 2
    assert run.record("unet.conv_in@step=9:output").stage == "unet"


def test_two_ways_to_write_one_name_meet_and_in_one_folder_both_files_are_named(tmp_path):
    save(tmp_path / "a" / "vae" / "decoder.npy")
    save(tmp_path / "b" / "vae.decoder.npy")
    assert verdict(tmp_path / "a", tmp_path / "b") == ("MATCH", [])
    save(tmp_path / "a" / "vae.decoder.npy")
    with pytest.raises(TraceError, match=r"vae.decoder.npy and vae/decoder.npy both hold 'vae.decoder:output'"):
        Trace.open(tmp_path / "a")


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_one_name_in_two_formats_is_refused_with_the_way_to_choose(tmp_path, name):
    save(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", X)
    with pytest.raises(
        TraceError, match=rf"x.npy and x.npz both hold 'x:output'; .*`parity compare {tmp_path}/x.npy …`"
    ):
        Trace.open(tmp_path)
    assert list(Trace.open(tmp_path / name).run("plain")) == ["tensor:output"]


SIDES = [(name, "candidate") for name in ("reference", "ref", "expected", "golden", "torch", "pytorch", "Ref")]
SIDES += [("reference", name) for name in ("cand", "actual", "mindspore", "ms", "MindSpore")]


@pytest.mark.parametrize("sides", SIDES)
def test_a_folder_of_two_sides_is_refused_and_the_command_named(tmp_path, sides):
    for side in sides:
        save(tmp_path / side / "x.npy")
    with pytest.raises(
        TraceError, match=f"holds two sides, {sides[0]} and {sides[1]}.*parity compare {tmp_path}/{sides[0]}"
    ):
        Trace.open(tmp_path)


@pytest.mark.parametrize("name", ["y.pkl", "y.json", "y.csv", "y.h5", "y", "sub/y.png", ".hidden", "y.NPY", "._y.npy"])
def test_what_is_of_no_known_format_is_named_and_no_match(tmp_path, name):
    a, b = two(tmp_path)
    (b / name).parent.mkdir(exist_ok=True)
    (b / name).write_bytes(b"1 2 3")
    assert verdict(a, b) == ("INCOMPLETE", [name])
    (a / name).parent.mkdir(exist_ok=True)
    (a / name).write_bytes(b"1 2 4")
    assert verdict(a, b) == ("INCOMPLETE", [name])


def damaged(path, how):
    """Damage a `.npy` file."""
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": data[:-1], "no header": data[4:]}[how])


@pytest.mark.parametrize("how", ["empty", "truncated", "no header"])
def test_a_damaged_file_is_named_and_the_others_are_compared(tmp_path, how):
    a, b = two(tmp_path)
    for side in (a, b):
        save(side / "sub" / "y.npy")
        damaged(side / "sub" / "y.npy", how)
    save(b / "x.npy", X + 1)
    assert verdict(a, b) == ("MISMATCH", [])  # both are damaged in the same way, byte for byte
    save(b / "x.npy", X)
    save(b / "sub" / "y.npy", X + 1)
    damaged(b / "sub" / "y.npy", how)
    (b / "sub" / "y.npy").write_bytes((b / "sub" / "y.npy").read_bytes()[:-1] + b"!!" * (how != "truncated"))
    save(a / "x.npy", X)
    assert verdict(a, b) == ("INCOMPLETE", ["sub/y.npy"])


@pytest.mark.parametrize(
    "array", [np.array([object()]), np.zeros(1, "f4,i4"), np.array(["text"]), np.zeros(1, "M8[s]")]
)
def test_objects_structures_and_strings_are_named(tmp_path, array):
    a, b = two(tmp_path)
    np.save(b / "y.npy", array, allow_pickle=True)
    assert verdict(a, b) == ("INCOMPLETE", ["y.npy"])


def test_links_pipes_and_names_that_are_no_text_are_named_and_not_opened(tmp_path):
    a, b = two(tmp_path)
    save(tmp_path / "outside" / "secret.npy", X + 7)
    (b / "link.npy").symlink_to(tmp_path / "outside" / "secret.npy")
    (b / "folder").symlink_to(tmp_path / "outside")
    (b / "inside.npy").symlink_to(b / "x.npy")
    os.mkfifo(b / "pipe.npy")
    (b / "here").mkdir()
    (b / "here" / "up").symlink_to(b)
    with open(os.fsencode(b) + b"/\xff.npy", "wb"):  # noqa: PTH123 - no text, so no path of pathlib
        pass
    assert verdict(a, b) == (
        "INCOMPLETE", ["\\xff.npy", "folder", "here/up", "inside.npy", "link.npy", "pipe.npy"],
    )  # fmt: skip


def test_a_folder_that_may_not_be_entered_is_named(tmp_path, monkeypatch):
    a, b = two(tmp_path)
    save(b / "closed" / "y.npy")
    scandir = os.scandir

    def closed(path):
        if str(path).rstrip("/").endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    trace = Trace.open(b)
    assert trace.unread == {"closed/": "cannot be opened: Permission denied"}
    assert compare(Trace.open(a), [trace]).verdict == "INCOMPLETE"


def test_traces_and_dumps_that_lie_in_a_folder_are_named_as_what_they_are(tmp_path):
    a, b = two(tmp_path)
    write(b / "own", "npy")
    network(b / "dumps" / "msprobe" / "step0" / "rank0")
    assert verdict(a, b) == ("INCOMPLETE", ["dumps/msprobe/step0/rank0/", "own/"])
    (b / "own" / "manifest.json").unlink()
    assert verdict(a, b) == ("INCOMPLETE", ["dumps/msprobe/step0/rank0/", "own/float32/"])
    with pytest.raises(TraceError, match=r"is a run of a trace and no trace"):
        Trace.open(b / "own" / "float32")


def test_formats_that_lie_together_come_folder_by_folder(tmp_path):
    for number in (10, 2):
        save(tmp_path / f"step_{number}" / "b.npy")
        np.savez(tmp_path / f"step_{number}" / "a.npz", c=X)
    assert list(Trace.open(tmp_path).run("plain")) == [
        "b@step=2:output", "c@step=2:output", "b@step=10:output", "c@step=10:output",
    ]  # fmt: skip


def test_a_damaged_dump_of_msprobe_is_an_error_whatever_lies_beside(tmp_path):
    a, _ = two(tmp_path)
    (a / "dump.json").write_text("[]")
    with pytest.raises(TraceError, match=r"is no dump.json of msprobe"):
        Trace.open(a)


def test_a_note_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    a, _ = two(tmp_path)
    (a / "notes.md").write_text("# a note")

    def closed(_folder, name):
        raise TraceError(name)

    monkeypatch.setattr(tree, "open_inside", closed)
    assert Trace.open(a).unread == {"notes.md": "is of no known format"}


LEFT_BEHIND = [
    ".DS_Store", "Thumbs.db", "desktop.ini", ".gitignore", ".gitattributes", ".gitkeep", "LICENSE", ".git/x", ".cache/x",
    "__pycache__/x.pyc", "__MACOSX/x.npy", ".ipynb_checkpoints/x.npy", "sub/.git/x", "sub/LICENSE",
]  # fmt: skip


@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_what_programs_leave_behind_is_passed_over(tmp_path, name):
    a, _ = two(tmp_path)
    (a / name).parent.mkdir(parents=True, exist_ok=True)
    (a / name).write_bytes(b"x")
    trace = Trace.open(a)
    assert (trace.unread, list(trace.run("plain"))) == ({}, ["x:output"])
    assert name.partition("/x")[0] in trace.notes[0]


@pytest.mark.parametrize("name", ["DS_Store", "LICENSE.npz", "git/x", "cache/x", "licence", "gitignore"])
def test_what_is_only_called_a_little_like_that_is_not(tmp_path, name):
    a, _ = two(tmp_path)
    (a / name).parent.mkdir(parents=True, exist_ok=True)
    (a / name).write_bytes(b"x")
    assert list(Trace.open(a).unread) == [name]


NOTES = {
    "README.md": b"# What this is\n", "log.txt": b"loaded 3 tensors\nstep 1 of 2\n", "run.log": b"", ".DS_Store": b"\0\1",
    "._x.npy": b"\0\5\26\7\0\2\0\0", ".git/objects/ab": b"x", ".cache/huggingface/x.metadata": b"1\n", "LICENSE": b"MIT",
}  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_what_can_hold_no_tensor_is_passed_over_with_a_word(tmp_path, name):
    a, b = two(tmp_path)
    (b / name).parent.mkdir(parents=True, exist_ok=True)
    (b / name).write_bytes(NOTES[name])
    result = compare(Trace.open(a), [Trace.open(b)])
    assert (result.verdict, result.coverage.unread) == ("MATCH", {})
    assert [note for note in result.coverage.notes if "passed over" in note and name.partition("/")[0] in note]


def test_numbers_in_a_text_are_not_passed_over(tmp_path):
    a, b = two(tmp_path)
    np.savetxt(b / "y.txt", np.array([[1.5, np.nan], [np.inf, -2]]), header="of the mid block")
    np.savetxt(b / "z.md", np.array([1 + 2j, 3]))
    (b / "w.log").write_bytes(b"\0\1\2binary")
    assert verdict(a, b) == ("INCOMPLETE", ["w.log", "y.txt", "z.md"])


def test_printed_arrays_in_a_text_are_not_passed_over(tmp_path):
    a, b = two(tmp_path)
    array = np.linspace(-1, 1, 24).reshape(4, 6)
    (b / "x.txt").write_text(str(array))
    (b / "y.log").write_text(str(array.tolist()))
    (b / "z.txt").write_text("- [notes](of a person)\n[1] a footnote\n")
    assert verdict(a, b) == ("INCOMPLETE", ["x.txt", "y.log"])


def test_a_second_tensor_in_a_file_of_one_is_not_passed_over(tmp_path):
    a, b = two(tmp_path)
    for folder, second in ((a, 1.0), (b, 2.0)):
        with (folder / "twice.npy").open("wb") as file:
            np.save(file, np.ones(3))
            np.save(file, np.full(3, second))
    assert verdict(a, b) == ("INCOMPLETE", ["twice.npy"])
    with pytest.raises(TraceError, match=r"twice.npy has 152 bytes behind its tensor, another one perhaps"):
        Trace.open(a / "twice.npy")


def test_a_shard_that_no_record_names_is_named(tmp_path):
    folder = write(tmp_path / "t")
    assert Trace.open(folder).unread == {}
    (folder / "float32" / "tensors-0099.h5").write_bytes(b"x")
    save(folder / "float64" / "x.npy")
    (folder / "README.md").write_text("a note")
    np.save(folder / "init_latent.npy", X)
    assert sorted(Trace.open(folder).unread) == ["float32/tensors-0099.h5", "float64/x.npy"]
    result = compare(Trace.open(folder), [Trace.open(write(tmp_path / "same"))])
    assert list(result.coverage.unread) == [f"{folder}/float32/tensors-0099.h5", f"{folder}/float64/x.npy"]


def test_files_that_msprobe_does_not_name_and_tensors_that_it_did_not_save_are_told(tmp_path):
    folder = network(tmp_path / "d")
    assert Trace.open(folder).unread == {}
    (folder / "stack.json").write_text("{}")
    np.save(folder / "dump_tensor_data" / "more.npy", X)
    text = (folder / "dump.json").read_text().replace("torch.Tensor", "torch.nn.parameter.Parameter")
    (folder / "dump.json").write_text(
        text.replace('"data_name": "Functional.silu.4.forward.output.1.pt"', '"data_name": "-1"')
    )
    assert Trace.open(folder).unread == {
        "dump.json: Functional.silu@call=4:output.1": "was not saved, only its statistics were",
        "dump_tensor_data/Functional.silu.4.forward.output.1.pt": "is not named by its dump.json",
        "dump_tensor_data/more.npy": "is not named by its dump.json",
    }


def test_many_files_open_in_seconds(tmp_path):
    data = (tmp_path / "x.npy", np.save(tmp_path / "x.npy", X))[0].read_bytes()
    for folder in range(20):
        (tmp_path / f"step_{folder}").mkdir()
        for number in range(200):
            (tmp_path / f"step_{folder}" / f"layer{number}.npy").write_bytes(data)
    began = time.process_time()
    assert len(Trace.open(tmp_path).run("plain")) == 4001
    assert time.process_time() - began < 5
