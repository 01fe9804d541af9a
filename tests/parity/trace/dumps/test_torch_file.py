"""Pickles that no tensor has: none takes long or much memory, and none is unpickled."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from parity.compare import compare
from parity.errors import TraceError
from parity.trace import Trace
from parity.trace.dumps.torch_file import read_layout

from .made import pickled, text, write_pt, write_safetensors, write_state

TENSOR = pickled(np.zeros(2, np.float32), "float32")
LONG = b"\x8a\xff" + b"\x7f" * 255
PICKLES = {
    # Each level is a tuple of three references to the level below.
    "a kilobyte of references": b"\x80\x02)q\x00"
    + b"".join(b"h%ch%ch%c\x87q%c" % (i, i, i, i + 1) for i in range(120))
    + b".",
    "references in the place of a storage": b"\x80\x02)q\x00"
    + b"".join(b"h%ch%ch%c\x87q%c" % (i, i, i, i + 1) for i in range(120))
    + b"(X\x07\x00\x00\x00storageh\x78X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ.",
    "references in the place of a function": b"\x80\x02)q\x00"
    + b"".join(b"h%ch%ch%c\x87q%c" % (i, i, i, i + 1) for i in range(120))
    + b"h\x78)R.",
    "a shape of long numbers": TENSOR.replace(
        b"(J\x02\x00\x00\x00t", b"(" + LONG + b"q\x50" + b"h\x50" * 30_000 + b"t", 1
    ),
    "a shape of many dimensions": TENSOR.replace(b"(J\x02\x00\x00\x00t", b"(" + b"K\x02" * 30_000 + b"t", 1),
    "a negative size": TENSOR.replace(b"J\x02\x00\x00\x00t", b"J\xff\xff\xff\xfft"),
    "marks alone": b"\x80\x02" + b"(" * 60_000 + b".",
    "a call of anything": b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
    "nothing": b"",
    "no end": b"\x80\x02)" * 10,
}


@pytest.mark.parametrize("what", PICKLES)
def test_a_pickle_that_no_tensor_has_is_refused_at_once(tmp_path, what):
    write_pt(tmp_path / "x.pt", np.zeros(2, np.float32), pickle=PICKLES[what] or b" ")
    tracemalloc.start()
    started = time.process_time()
    with (tmp_path / "x.pt").open("rb") as file, pytest.raises(TraceError, match=r"x\.pt") as found:
        read_layout(file, "x.pt")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - started < 5
    assert most < 50e6
    assert len(str(found.value)) < 1000


# files of several tensors

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_file_of_a_dictionary_has_its_keys_as_names_and_a_state_dict_is_only_a_wrapping(tmp_path):
    tensors = {"conv.weight": X, "conv.bias": X[0]}
    write_state(tmp_path / "a.pt", tensors)
    write_state(tmp_path / "b.ckpt", tensors, wrapped="state_dict")
    write_state(tmp_path / "c.bin", tensors, wrapped="model")
    write_safetensors(tmp_path / "d.safetensors", {name: (array, "float32") for name, array in tensors.items()})
    a, b, c, d = (Trace.open(tmp_path / name, verify=True) for name in ("a.pt", "b.ckpt", "c.bin", "d.safetensors"))
    assert list(a.run("plain")) == list(b.run("plain")) == ["conv.weight:output", "conv.bias:output"]
    assert list(c.run("plain")) == ["model.conv.weight:output", "model.conv.bias:output"]
    assert np.array_equal(a.run("plain").tensor("conv.weight:output"), X)
    assert compare(d, [a]).verdict == compare(a, [b]).verdict == "MATCH"
    assert a.run("plain").record("conv.bias:output").offset is not None


def test_numbers_are_values_texts_are_passed_over_and_calls_are_told(tmp_path):
    rest = (
        text("scale")
        + b"G?\xf8\0\0\0\0\0\0"
        + text("step")
        + b"K\x07"
        + text("name")
        + text("x")
        + text("ok")
        + b"\x88"
    )
    rest += text("model") + b"cmy.code\nNet\n)R}" + text("w") + b"K\x01sb" + text("long") + b"\x8a\x09" + b"\1" * 9
    write_state(tmp_path / "x.pt", {"w": X}, rest=rest)
    trace = Trace.open(tmp_path / "x.pt")
    run = trace.run("plain")
    assert {address: run.value(address) for address in run if run.record(address).kind == "value"} == {
        "scale:output": 1.5, "step:output": 7, "ok:output": True,
    }  # fmt: skip
    assert trace.notes == ("passed over, since they are no numbers: x.pt: name",)
    assert trace.unread == {
        "x.pt: model": "its pickle would call my.code.Net; only tensors are read and nothing is unpickled",
        "x.pt: long": "is no number of 64 bits",
    }
    write_state(tmp_path / "y.pt", {"w": X}, rest=rest.replace(b"K\x07", b"K\x08"))
    assert [
        pair.address for pair in compare(trace, [Trace.open(tmp_path / "y.pt")]).pairs if pair.verdict == "MISMATCH"
    ] == ["step:output"]


def test_one_tensor_a_file_is_called_like_its_file_and_by_itself_meets_any_other(tmp_path):
    for side in "ab":
        (tmp_path / side / "step_1").mkdir(parents=True)
        write_pt(tmp_path / side / "step_1" / "conv.pt", X)
        write_pt(tmp_path / side / "mid.pt", X + (side == "b"))
    result = compare(Trace.open(tmp_path / "a"), [Trace.open(tmp_path / "b")])
    assert {pair.address: pair.verdict for pair in result.pairs} == {
        "conv@step=1:output": "MATCH",
        "mid:output": "MISMATCH",
    }
    np.save(tmp_path / "other.npy", X)
    assert compare(Trace.open(tmp_path / "other.npy"), [Trace.open(tmp_path / "a" / "mid.pt")]).verdict == "MATCH"


def test_tensors_in_any_layout_are_read_as_they_are(tmp_path):
    storage = np.arange(12, dtype=np.float32)
    for name, shape, strides, offset in (
        ("transposed", (3, 4), (1, 3), 0), ("every second", (2, 3), (6, 2), 1), ("repeated", (5, 4), (0, 1), 8),
    ):  # fmt: skip
        write_pt(
            tmp_path / f"{name}.pt", storage, pickle=pickled(np.empty(shape, np.float32), "float32", strides, offset)
        )
        read = Trace.open(tmp_path / f"{name}.pt", verify=True).run("plain").tensor("tensor:output")
        steps = [4 * stride for stride in strides]
        assert np.array_equal(read, np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)), name
        assert read.flags.c_contiguous


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "said"),
    [
        ((3, 4), (4, 1), 1, "at element 1"), ((2, 2), (11, 1), 0, "strided"), ((1 << 40,), (0,), 0, "repeats a storage"),
        ((0, 1 << 62, 1 << 62), (1, 1, 1), 0, "no float32 tensor can have"), ((1,) * 40, (1,) * 40, 0, "can have"),
    ],
)  # fmt: skip
def test_a_tensor_that_is_not_in_its_storage_is_told_as_not_read(tmp_path, shape, strides, offset, said):
    write_state(tmp_path / "x.pt", {"good": X})
    sizes = [b"\x8a\x08" + number.to_bytes(8, "little") for number in (*shape, *strides)]
    tensor = pickled(np.zeros(12, np.float32), "float32", None, offset)
    plain = b"(J\x0c\0\0\0t(J\x01\0\0\0t"
    assert plain in tensor
    made = b"(" + b"".join(sizes[: len(shape)]) + b"t(" + b"".join(sizes[len(shape) :]) + b"t"
    write_pt(tmp_path / "bad.pt", np.zeros(12, np.float32), pickle=tensor.replace(plain, made))
    trace = Trace.open(tmp_path)
    assert list(trace.run("plain")) == ["good:output"]
    assert said in trace.unread["bad.pt"]


BOMBS = {
    "a list in itself": b"\x80\x02]q\0h\0a.",
    "lists of lists": b"\x80\x02]q\0"
    + b"".join(b"](h%ch%ce]h%caq%c0" % (i, i, i, i + 1) for i in range(60))
    + b"h\x3c.",
    "references": PICKLES["a kilobyte of references"],
    "a long key": b"\x80\x02}" + text("k" * 5000) + b"K\1s.",
    "a tuple as a key": b"\x80\x02})K\1s.",
    "opcodes without end": b"\x80\x02" + b"]0" * (1 << 20) + b"].",
    "an append to a number": b"\x80\x02K\1K\2a.",
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_pickle_without_end_is_refused_in_bounded_time_and_memory(tmp_path, what):
    write_pt(tmp_path / "x.pt", X, pickle=BOMBS[what])
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(TraceError, match=r"x\.pt") as found:
        Trace.open(tmp_path / "x.pt")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - started < 20
    assert most < 300e6
    assert len(str(found.value)) < 1000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no zip archive"),
        (b"\0" * 64, "no zip archive"),
        (bytes.fromhex("80028a0a6cfc9c46f9206aa850192e2e"), "before 1.6"),
    ],
)
def test_what_is_no_archive_says_what_it_is(tmp_path, data, said):
    (tmp_path / "x.bin").write_bytes(data)
    with pytest.raises(TraceError, match=said):
        Trace.open(tmp_path / "x.bin")


@pytest.mark.torch
def test_what_torch_itself_saves_is_read_in_every_form(tmp_path):
    torch = pytest.importorskip("torch")
    x = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    module = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(module.parameters())
    module(x).sum().backward()
    optimizer.step()
    content = {
        "state_dict": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "views": [x.T, x[:, ::2], x[1:], x.expand(2, 4, 6), x.bfloat16().T, x[:0], x[0, 0]],
        "eighths": {"e4m3": x.to(torch.float8_e4m3fn), "e5m2": x.T.to(torch.float8_e5m2)},
        "unsigned": x.to(torch.uint16),
        "parameter": torch.nn.Parameter(x),
    }
    torch.save(content, tmp_path / "x.pt")
    trace = Trace.open(tmp_path / "x.pt", verify=True)
    run = trace.run("plain")
    assert trace.unread == {}
    for number, view in enumerate(content["views"]):
        read = run.wide(f"views.{number}:output")
        assert np.array_equal(read, view.double().numpy()), number
    for name, tensor in content["eighths"].items():
        assert np.array_equal(run.wide(f"eighths.{name}:output"), tensor.double().numpy())
    for name, tensor in module.state_dict().items():
        assert np.array_equal(run.tensor(f"{name}:output"), tensor.numpy())
    assert run.record("unsigned:output").dtype == "uint16"
    assert np.array_equal(run.tensor("parameter:output"), x.numpy())
    assert run.value("epoch:output") == 3
    assert "optimizer.state.0.exp_avg:output" in run
    torch.save(x, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(TraceError, match=r"before 1\.6"):
        Trace.open(tmp_path / "old.pt")
    torch.save(module, tmp_path / "module.pt")
    with pytest.raises(TraceError, match=r"would call .*Sequential"):
        Trace.open(tmp_path / "module.pt")


@pytest.mark.parametrize("ending", [".pt", ".ckpt", ".bin"])
def test_a_state_dict_is_weights_as_a_safetensors_file_is(tmp_path, ending):
    write_state(tmp_path / f"a{ending}", {"conv.weight": X, "steps": X[0]})
    write_state(tmp_path / f"b{ending}", {"conv.weight": np.nextafter(X, np.float32(9)), "steps": X[0]})
    a, b = (Trace.open(tmp_path / f"{name}{ending}") for name in "ab")
    result = compare(a, [b])
    assert (a.manifest.provenance["tool"], result.verdict) == ("torch", "MISMATCH")
    assert {pair.mode for pair in result.pairs} == {"audit"}


def test_every_way_to_write_a_tensor_down_is_read_as_torch_means_it(tmp_path):
    """A parameter, a tensor of a storage without a type, tuples without a mark, the opcodes of protocol 4."""
    ordered = b"ccollections\nOrderedDict\n)R"
    storage = b"(" + text("storage") + b"ctorch.storage\nUntypedStorage\n" + text("0") + text("cpu") + b"K\x06tQ"
    size = b"K\x00K\x02K\x03\x86K\x03K\x01\x86"
    untyped = b"ctorch._utils\n_rebuild_tensor_v3\n(" + storage + size + b"\x89" + ordered + b"ctorch\nfloat32\ntR"
    parameter = b"ctorch._utils\n_rebuild_parameter\n" + untyped + b"\x88" + ordered + b"\x87R"
    metadata = b"}" + text("_metadata") + ordered + b"sb"
    module = text("torch._utils") + b"\x94" + text("_rebuild_parameter") + b"\x94\x93\x94"
    later = b"\x95\x00\x00\x00\x00\x00\x00\x00\x00" + module + untyped + b"\x88" + ordered + b"\x87R\x94h\x03"
    forms = {
        "untyped": untyped,
        "parameter": parameter,
        "in an ordered dictionary": ordered + text("w") + parameter + b"s" + metadata,
        "in a list": b"](" + parameter + untyped + b"e",
        "in a tuple": parameter + untyped + b"\x86",
        "under a number": b"}K\x07" + untyped + b"s",
        "memoized": b"](" + later + b"e",
    }
    wanted = {
        "in an ordered dictionary": ["w"], "in a list": ["0", "1"], "in a tuple": ["0", "1"], "under a number": ["7"], "memoized": ["0", "1"],
    }  # fmt: skip
    for form, data in forms.items():
        write_pt(tmp_path / "x.pt", X, pickle=b"\x80\x02" + data + b".")
        trace = Trace.open(tmp_path / "x.pt", verify=True)
        run = trace.run("plain")
        assert not trace.ordered, form
        assert list(run) == [f"{name}:output" for name in wanted.get(form, ["tensor"])], form
        assert all(np.array_equal(run.tensor(address), X) for address in run), form


@pytest.mark.parametrize("number", [b"\x8a\x09" + b"\x00" * 8 + b"\x80", b"\x8a\x09" + b"\xff" * 8 + b"\x7f"])
def test_a_number_beyond_64_bits_is_told_as_not_read(tmp_path, number):
    write_state(tmp_path / "x.pt", {"w": X}, rest=text("n") + number)
    assert Trace.open(tmp_path / "x.pt").unread == {"x.pt: n": "is no number of 64 bits"}


def test_a_number_that_is_none_is_a_value_all_the_same(tmp_path):
    write_state(
        tmp_path / "x.pt", {"w": X}, rest=text("n") + b"G\x7f\xf8" + b"\0" * 6 + text("m") + b"G\xff\xf0" + b"\0" * 6
    )
    run = Trace.open(tmp_path / "x.pt").run("plain")
    assert np.isnan(run.value("n:output"))
    assert run.value("m:output") == -np.inf
