"""Weight files of every kind, there and back."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mindone_sdxl import convert, files
from mindone_sdxl.checkpoints import write_checkpoint
from mindone_sdxl.config import from_diffusers
from mindone_sdxl.errors import SDXLError, WeightsError
from mindone_sdxl.weights import diffusers_to_mindspore

pytestmark = pytest.mark.torch


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def state(folder):
    return diffusers_to_mindspore(files.read_diffusers(folder), from_diffusers(folder))


@pytest.mark.parametrize("suffix", [pytest.param(".ckpt", marks=pytest.mark.mindspore), ".safetensors"])
def test_a_folder_becomes_a_checkpoint(suffix, folder, state, tmp_path):
    convert.convert(folder, tmp_path / f"model{suffix}")
    assert same(files.read(tmp_path / f"model{suffix}"), state)


def test_all_kinds_lead_back_to_the_same_folder(folder, state, tmp_path):
    single, checkpoint, back = (tmp_path / name for name in ("single.safetensors", "ms.safetensors", "back"))
    convert.convert(folder, single, layout="stability")
    names = files.read(single)
    assert "model.diffusion_model.out.0.weight" in names
    assert "conditioner.embedders.1.model.transformer.resblocks.0.ln_1.bias" in names
    assert "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight" in names
    convert.convert(single, checkpoint, config=folder)
    assert same(files.read(checkpoint), state)
    convert.convert(checkpoint, back, config=folder)
    assert same(files.read_diffusers(back), files.read_diffusers(folder))
    assert from_diffusers(back) == from_diffusers(folder)
    assert (back / "tokenizer_2" / "tokenizer.json").is_file()


def test_diffusers_reads_a_folder_that_was_written_here(folder, reference, tmp_path):
    from diffusers import UNet2DConditionModel

    convert.convert(folder, tmp_path / "model.safetensors")
    convert.convert(tmp_path / "model.safetensors", tmp_path / "back", config=folder)
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "back" / "unet")
    expected = reference.unet.state_dict()
    assert all((value.double() == expected[name]).all() for name, value in unet.state_dict().items())


def test_half_precision_is_written_and_read(folder, tmp_path):
    convert.convert(folder, tmp_path / "half.safetensors", dtype="float16")
    assert {value.dtype for value in files.read(tmp_path / "half.safetensors").values()} == {np.dtype(np.float16)}


def test_memory_is_one_tensor_beyond_what_the_output_needs(folder, state, tmp_path):
    """The memory of numpy is counted; mapped files are not, and must not be copied."""
    largest = max(value.nbytes for value in state.values())
    total = sum(value.nbytes for value in state.values())
    stacked = sum(value.nbytes for name, value in state.items() if ".attn.in_proj" in name or "text_projection" in name)
    steps = [
        (folder, tmp_path / "half.safetensors", {"dtype": "float16"}),
        (folder, tmp_path / "single.safetensors", {"layout": "stability"}),
        (tmp_path / "single.safetensors", tmp_path / "ms.ckpt", {"config": folder}),
        (tmp_path / "single.safetensors", tmp_path / "back", {"config": folder}),
    ]
    for source, output, options in steps:
        convert.convert(source, tmp_path / f"before{output.suffix}", **options)  # imports and caches
        tracemalloc.start()
        convert.convert(source, output, **options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= stacked + largest + 2**21 < total / 2, (output.name, peak)
    tracemalloc.start()
    convert.convert(tmp_path / "ms.ckpt", tmp_path / "again.ckpt", config=folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= total + largest + 2**21


@pytest.mark.mindspore
def test_checkpoints_are_those_of_mindspore_both_ways(mindspore, tmp_path):
    rng = np.random.default_rng(3)
    state = {
        "a.gamma": rng.standard_normal((3, 4, 1, 2)).astype(np.float32),
        "half": rng.standard_normal(300).astype(np.float16),
        "double": rng.standard_normal((2, 3)),
        "ids": np.arange(77, dtype=np.int32).reshape(1, 77),
        "scalar": np.array(4.6, np.float32),
        "f" * 200: rng.standard_normal((64, 32)).astype(np.float32).T,
    }
    for number, largest in enumerate((1 << 29, 96)):
        path = tmp_path / f"ours{number}.ckpt"
        write_checkpoint(path, state.items(), largest=largest)
        theirs = {name: value.asnumpy() for name, value in mindspore.load_checkpoint(str(path)).items()}
        assert same(theirs, state)
        assert same(files.read(path), state)
    entries = [{"name": name, "data": mindspore.Tensor(value.copy(order="C"))} for name, value in state.items()]
    entries.append({"name": "narrow", "data": mindspore.Tensor([1.5, -2.0], mindspore.bfloat16)})
    for check in (False, True):
        mindspore.save_checkpoint(entries, str(tmp_path / "theirs.ckpt"), crc_check=check)
        assert same(files.read(tmp_path / "theirs.ckpt"), state | {"narrow": np.array([1.5, -2.0], np.float32)})


@pytest.mark.parametrize("damage", ["empty name", "short", "text", "type", "shape"])
def test_a_damaged_checkpoint_is_one_clear_error(damage, tmp_path):
    path = tmp_path / "x.ckpt"
    write_checkpoint(path, {"first": np.ones((2, 3), np.float32), "second": np.ones(4, np.float32)}.items())
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty name": b"\x0a\x00" + content,
            "short": content[:-3],
            "text": b"not a checkpoint",
            "type": content.replace(b"Float32", b"Complex"),
            "shape": content.replace(b"\x08\x02\x08\x03", b"\x08\x02\x08\x04"),
        }[damage]
    )
    with pytest.raises(WeightsError, match=r"x\.ckpt is not a MindSpore checkpoint: "):
        files.read(path)


def test_a_file_may_be_converted_onto_itself(folder, state, tmp_path):
    path = tmp_path / "x.safetensors"
    convert.convert(folder, path)
    convert.convert(path, path, config=folder)
    assert same(files.read(path), state)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.safetensors"]


def test_bfloat16_is_widened_exactly(tmp_path):
    import torch
    from safetensors.torch import save_file

    values = torch.randn(5, 3).bfloat16()
    save_file({"x": values, "empty": torch.zeros(0, 4), "scalar": torch.tensor(3.0)}, tmp_path / "x.safetensors")
    read = files.read(tmp_path / "x.safetensors")
    assert np.array_equal(read["x"], values.float().numpy())
    assert read["empty"].shape == (0, 4)
    assert read["scalar"].shape == ()


@pytest.mark.parametrize("damage", ["short", "header", "offsets", "text"])
def test_a_damaged_file_is_one_clear_error(damage, folder, tmp_path):
    content = (folder / "vae" / "diffusion_pytorch_model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    broken = {
        "short": content[: length + 100],
        "header": (2**40).to_bytes(8, "little") + content[8:],
        "offsets": content.replace(b'"shape":[3,', b'"shape":[4,', 1),
        "text": b"not a safetensors file",
    }[damage]
    assert broken != content
    (tmp_path / "x.safetensors").write_bytes(broken)
    with pytest.raises(WeightsError, match=r"x.safetensors"):
        files.read(tmp_path / "x.safetensors")


def test_weights_that_do_not_fit_and_impossible_outputs_are_refused(folder, tmp_path, capsys):
    files.write(tmp_path / "odd.safetensors", {"a": np.zeros(3)})
    with pytest.raises(WeightsError, match=r"unexpected a"):
        convert.convert(tmp_path / "odd.safetensors", tmp_path / "out.safetensors", config=folder)
    convert.convert(folder, tmp_path / "model.safetensors")
    for arguments in (
        [tmp_path / "model.safetensors", tmp_path / "folder", "--config", SHIPPED],
        [folder, folder],
        [folder, tmp_path / "folder", "--layout", "stability"],
        [tmp_path / "absent.ckpt", tmp_path / "out.ckpt"],
        [folder / "model_index.json", tmp_path / "out.ckpt", "--config", folder],
    ):
        assert convert.main([str(argument) for argument in arguments]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert issubclass(WeightsError, SDXLError)


SHIPPED = files.Path(__file__).parents[2] / "mindone_sdxl" / "configs" / "inference" / "sd_xl_base.yaml"


def test_the_autoencoder_is_replaced_and_nothing_else(folder, tmp_path):
    from mindone_sdxl import convert, files

    own = files.read(folder / "vae" / "diffusion_pytorch_model.safetensors")
    files.write(tmp_path / "vae.safetensors", {name: value + np.float32(1) for name, value in own.items()})
    arguments = [str(folder), str(tmp_path / "fixed"), "--vae", str(tmp_path / "vae.safetensors")]
    assert convert.main([*arguments[:1], str(tmp_path / "fixed.ckpt"), *arguments[2:]]) == 0
    convert.convert(tmp_path / "fixed.ckpt", tmp_path / "fixed", config=folder)
    before, after = files.read_diffusers(folder), files.read_diffusers(tmp_path / "fixed")
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert np.array_equal(after[name], value + np.float32(1) if name.startswith("vae.") else value), name
    files.write(tmp_path / "vae.safetensors", dict(list(own.items())[1:]))
    assert convert.main(arguments) == 2
