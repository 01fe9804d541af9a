"""Damaged weights: every alteration ends in the one error of weights, or in tensors that fit into the file."""

# ruff: noqa: S311 - reproducible draws
from __future__ import annotations

import random

import numpy as np
import pytest

pytest.importorskip("yaml", reason="needs the extra [mindspore]")

from mindone_sdxl import files
from mindone_sdxl.config import read_json
from mindone_sdxl.config_yaml import from_yaml
from mindone_sdxl.errors import ConfigError, WeightsError
from tests.meta.fuzz import alterations

STATE = {
    "unet.conv_in.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "unet.conv_in.bias": np.ones(3, np.float16),
    "unet.ids": np.arange(4),
    "scalar": np.array(2.0, np.float32),
}
COUNT = 400


def refusal(path, most):
    """Return why weights are refused, or nothing where they are read and have at most so many bytes."""
    try:
        assert sum(array.nbytes for array in files.read(path).values()) <= most
    except WeightsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_altered_weights_are_refused_or_read(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    files.write(path, STATE)
    whole, refused = path.read_bytes(), 0
    ways = [alterations.by_byte, alterations.by_word]
    if suffix == ".safetensors":
        ways.append(alterations.as_safetensors)
    for number in range(COUNT):
        draw = random.Random(f"{suffix} {number}")
        path.write_bytes(draw.choice(ways)(draw, whole))
        said = refusal(path, 4 * len(whole))
        assert not said or str(path) in said
        refused += bool(said)
    assert COUNT / 4 < refused < COUNT


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}', "[" * 100_000, "\xff"]
)
def test_an_index_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_bytes(text.encode("latin1"))
    with pytest.raises(WeightsError, match="is not an index of shards"):
        files.read_diffusers(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, "\xff", "{", "3", "1" * 5000])
def test_settings_that_are_none_are_refused(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(ConfigError, match=r"config\.json"):
        read_json(path)
    with pytest.raises(ConfigError, match=r"config\.json"):
        from_yaml(path)
