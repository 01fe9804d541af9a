"""Weight files of every kind, there and back."""

from __future__ import annotations

import numpy as np
import pytest

from mindone_sdxl import convert, files
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
