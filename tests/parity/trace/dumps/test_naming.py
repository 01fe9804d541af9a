"""What the name of a file adds to the names of the tensors in it."""

from __future__ import annotations

import numpy as np
import pytest

from parity.compare import compare
from parity.errors import TraceError
from parity.trace import Trace

from .made import write_safetensors

X = np.arange(4, dtype=np.float32)


def write(path, names):
    """Write a file of several tensors."""
    if path.suffix == ".npz":
        np.savez(path, **dict.fromkeys(names, X))
    else:
        write_safetensors(path, dict.fromkeys(names, (X, "float32")))


KINDS = pytest.mark.parametrize("ending", [".npz", ".safetensors"])


@KINDS
def test_numbered_files_that_would_clash_are_told_apart_by_their_names(tmp_path, ending):
    for stem in ("layer0", "layer1"):
        write(tmp_path / f"{stem}{ending}", ["input", "output"])
    write(tmp_path / f"head{ending}", ["logits"])
    assert sorted(Trace.open(tmp_path).run("plain")) == [
        "layer0.input:output", "layer0.output:output", "layer1.input:output",
        "layer1.output:output", "logits:output",
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["fp", "f", "float", "bf", "bfloat", "int", "i", "uint", "u", "q", "e", "FP"])
def test_numbers_of_types_make_no_series(tmp_path, word):
    for bits in (8, 16):
        write(tmp_path / f"model-{word}{bits}.safetensors", ["w"])
    with pytest.raises(TraceError, match="both hold 'w:output'"):
        Trace.open(tmp_path)


def test_archives_of_arrays_with_names_of_their_own_are_parts_and_checkpoints_are_not(tmp_path):
    for stem in ("down", "mid", "up"):
        write(tmp_path / f"{stem}.npz", ["x"])
    assert list(Trace.open(tmp_path).run("plain")) == ["down.x:output", "mid.x:output", "up.x:output"]
    write(tmp_path / "up_old.npz", ["x"])
    with pytest.raises(TraceError, match=r"both hold 'x:output'"):
        Trace.open(tmp_path)
    (tmp_path / "s").mkdir()
    for stem in ("original", "finetuned"):
        write(tmp_path / "s" / f"{stem}.safetensors", ["x"])
    with pytest.raises(TraceError, match=r"finetuned.safetensors and original.safetensors both hold 'x:output'"):
        Trace.open(tmp_path / "s")


@KINDS
@pytest.mark.parametrize(
    "stems", [("model", "model.fp16"), ("model.fp16", "model.fp32"), ("model_float16", "model_float32"), ("x", "x_ema"),
              ("model-1-of-2", "model-2-of-2")]
)  # fmt: skip
def test_variants_that_clash_are_named_and_so_is_the_choice(tmp_path, ending, stems):
    for stem in stems:
        write(tmp_path / f"{stem}{ending}", ["w"])
    with pytest.raises(TraceError, match="both hold 'w:output'; compare one of them by itself") as raised:
        Trace.open(tmp_path)
    assert all(f"{stem}{ending}" in str(raised.value) for stem in stems)
    assert list(Trace.open(tmp_path / f"{stems[0]}{ending}").run("plain")) == ["w:output"]


@KINDS
def test_files_called_like_a_step_hold_one_and_by_themselves_none(tmp_path, ending):
    for side in "ab":
        (tmp_path / side).mkdir()
        for step in (0, 1):
            write(tmp_path / side / f"step{step}{ending}", ["conv_in"])
    assert list(Trace.open(tmp_path / "a").run("plain")) == ["conv_in@step=0:output", "conv_in@step=1:output"]
    one, other = tmp_path / "a" / f"step0{ending}", tmp_path / "b" / f"step1{ending}"
    assert compare(Trace.open(one), [Trace.open(other)]).verdict == "MATCH"


def test_files_of_one_nameless_tensor_meet_whatever_they_are_called(tmp_path):
    np.savez(tmp_path / "a.npz", X)
    np.savez_compressed(tmp_path / "b.npz", X)
    a, b = (Trace.open(tmp_path / name) for name in ("a.npz", "b.npz"))
    assert list(a.run("plain")) == ["tensor:output"]
    assert compare(a, [b]).verdict == "MATCH"
    np.savez(tmp_path / "b.npz", X + 1)
    assert compare(a, [Trace.open(tmp_path / "b.npz")]).verdict == "MISMATCH"
