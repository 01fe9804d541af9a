"""Checkpoints of MindSpore, as files that anyone gives or that lie in a folder."""

from __future__ import annotations

import random

import numpy as np
import pytest

from parity.compare import compare
from parity.errors import TraceError
from parity.trace import Trace
from tests.parity.trace.helpers import same
from tests.parity.trace.mutations import content, mutate, raised_by, restore, snapshot

from .made import sized, write_checkpoint, write_pt, write_safetensors, write_state

X = np.arange(24, dtype=np.float32).reshape(4, 6)
TENSORS = {
    "conv.weight": X, "half": X.astype(np.float16), "ids": np.arange(7), "scalar": np.array(2.5), "empty": np.empty(0, np.int8),
    "flags": np.array([True, False]), "brain": np.arange(6, dtype=np.uint16),
}  # fmt: skip


@pytest.mark.parametrize("most", [1 << 30, 20])
@pytest.mark.parametrize("end", [b"", b"crc_num\x01\x02"])
def test_every_type_is_read_whole_or_in_parts(tmp_path, most, end):
    write_checkpoint(tmp_path / "x.ckpt", TENSORS, most=most, end=end)
    for path in (tmp_path / "x.ckpt", tmp_path):
        trace = Trace.open(path, verify=True)
        assert (trace.unread, trace.manifest.provenance) == ({}, {"tool": "mindspore", "framework": "mindspore"})
        run = trace.run("plain")
        for name, array in TENSORS.items():
            assert same(run.tensor(f"{name}:output"), array), name
    assert run.record("brain:output").dtype == "bfloat16"
    assert (run.record("conv.weight:output").offset is None) == (most == 20)


def test_it_compares_with_files_of_other_frameworks(tmp_path):
    tensors = {"conv.weight": X, "conv.bias": X[0]}
    write_checkpoint(tmp_path / "ms.ckpt", tensors)
    write_state(tmp_path / "torch.ckpt", tensors)
    write_safetensors(tmp_path / "x.safetensors", {name: (array, "float32") for name, array in tensors.items()})
    ms, torch, safetensors = (Trace.open(tmp_path / name) for name in ("ms.ckpt", "torch.ckpt", "x.safetensors"))
    assert compare(safetensors, [ms]).verdict == compare(torch, [ms]).verdict == "MATCH"
    write_checkpoint(tmp_path / "ms.ckpt", {"conv.weight": X, "conv.bias": X[1]})
    assert compare(torch, [Trace.open(tmp_path / "ms.ckpt")]).verdict == "MISMATCH"


def test_a_folder_may_hold_checkpoints_of_both(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", {"a": X})
    write_pt(tmp_path / "b.ckpt", X)
    (tmp_path / "c.ckpt").write_bytes(b"neither")
    trace = Trace.open(tmp_path)
    assert sorted(trace.run("plain")) == ["a:output", "b:output"]
    assert trace.unread["c.ckpt"].startswith("is no checkpoint of MindSpore, nor of torch.save: byte 0 is 0x6e")


def test_a_type_that_is_not_read_is_told(tmp_path):
    write_checkpoint(tmp_path / "x.ckpt", {"w": X, "words": np.array(["a"])})
    trace = Trace.open(tmp_path / "x.ckpt")
    assert list(trace.run("plain")) == ["w:output"]
    assert trace.unread["x.ckpt: words"].startswith("is 'Str32'; read are Float64")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no checkpoint"), (b"\x0a", "cut off"), (b"\x0a\x05\x0a", "do not fit"), (b"\x0a" + b"\xff" * 20, "64 bits"),
        (b"\x0a" + sized(b"\x0a" + sized(b"w") + b"\x12" + sized(b"\x77")), "not known"),
        (b"\x0a" + sized(b"\x0a" + sized(b"n" * 5000)), "has 5000 bytes"),
        (b"\x0a" + sized(b"\x0a" + sized(b"\xff") + b"\x12" + sized(b"")), "decode"),
        (b"\x0a" + sized(b"\x0a" + sized(b"w") + b"\x12" + sized(b"\x08\x09\x12" + sized(b"Int8") + b"\x1a" + sized(b"12"))), "needs 9"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_one_error(tmp_path, data, said):
    (tmp_path / "x.ckpt").write_bytes(data)
    with pytest.raises(TraceError, match=said) as raised:
        Trace.open(tmp_path / "x.ckpt")
    assert "x.ckpt" in str(raised.value)


def test_damage_ends_in_one_error_or_another_tensor(tmp_path):
    folder = tmp_path / "a" / "b" / "c" / "t"
    folder.mkdir(parents=True)
    write_checkpoint(folder / "x.ckpt", TENSORS, most=30)
    whole = snapshot(folder)
    refused = 0
    for seed in range(300):
        mutate(random.Random(f"ckpt {seed}"), list(whole))  # noqa: S311 - reproducible
        error = raised_by(folder)
        assert len(error) < 1000
        refused += bool(error)
        restore(whole)
    assert refused > 40
    assert content(folder)


@pytest.mark.mindspore
def test_what_mindspore_itself_saves_is_read(tmp_path):
    ms = pytest.importorskip("mindspore")
    parameters = [
        {"name": name, "data": ms.Tensor(array)} for name, array in TENSORS.items() if name not in {"empty", "brain"}
    ]
    parameters.append({"name": "brain", "data": ms.Tensor(X, ms.bfloat16)})
    for number, checksum in enumerate((False, True)):
        path = tmp_path / f"{number}.ckpt"
        ms.save_checkpoint(parameters, str(path), crc_check=checksum)
        run = Trace.open(path, verify=True).run("plain")
        for name in ("conv.weight", "half", "ids", "flags", "scalar"):
            assert same(run.tensor(f"{name}:output"), TENSORS[name]), name
        assert np.array_equal(run.wide("brain:output"), X)


def test_a_file_without_a_tensor_says_so(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"crc_num\x01")
    with pytest.raises(TraceError, match=r"x.ckpt holds no tensor"):
        Trace.open(tmp_path / "x.ckpt")
