"""Configurations: diffusers folders and the original's YAML files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="needs the extra [mindspore]")

import yaml

from mindone_sdxl.config import SDXLConfig, UNetConfig, from_diffusers
from mindone_sdxl.errors import ConfigError
from mindone_sdxl.names import parameter_table

SHIPPED = Path(__file__).parents[2] / "mindone_sdxl" / "configs" / "inference" / "sd_xl_base.yaml"


@pytest.mark.torch
def test_a_diffusers_folder_is_read(folder):
    config = from_diffusers(folder)
    assert config.unet.channels == (64, 128, 128)
    assert config.unet.transformer_layers == (0, 1, 2)
    assert config.unet.heads == (4, 8, 8)
    assert config.vae.downscale == 8
    assert config.text_encoder_2.projection_size == 96
    assert config.force_zeros_for_empty_prompt


@pytest.mark.torch
@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("unet/config.json", "act_fn", "gelu", "act_fn is 'gelu', only 'silu'"),
        ("unet/config.json", "brand_new", 1, "unknown key brand_new"),
        ("unet/config.json", "class_embed_type", "timestep", "class_embed_type is 'timestep'"),
        ("model_index.json", "requires_aesthetics_score", True, "requires_aesthetics_score is True, with 2 text"),
        ("vae/config.json", "use_quant_conv", False, "use_quant_conv is False"),
        ("text_encoder/config.json", "hidden_act", "relu", "hidden_act is 'relu'"),
        ("text_encoder_2/config.json", "hidden_size", 128, "192 channels, the UNet expects 160"),
        ("scheduler/scheduler_config.json", "timestep_spacing", "trailing", "timestep_spacing is 'trailing'"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(file, key, value, message, folder, tmp_path):
    ignored = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(folder, tmp_path / "model", ignore=ignored)
    path = tmp_path / "model" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ConfigError, match=message):
        from_diffusers(tmp_path / "model")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"model_index.json does not exist"):
        from_diffusers(tmp_path)


def test_parts_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ConfigError, match="2048 channels, the UNet expects 1280"):
        SDXLConfig(unet=UNetConfig(context_size=1280))


def test_the_name_table_has_all_tensors_of_sdxl_base():
    entries = parameter_table(SDXLConfig())
    assert len({entry.checkpoint for entry in entries}) == 2513
    assert sum(entry.checkpoint.endswith(".gamma") for entry in entries) == 398


def test_importing_configuration_names_and_weights_loads_no_framework():
    modules = ["config", "names", "weights", "tokenizer", "discretization", "schedule", "files"]
    code = "import sys, " + ", ".join(f"mindone_sdxl.{name}" for name in modules)
    code += "; print([name for name in ('mindspore', 'torch', 'transformers') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.mindspore
def test_the_shipped_yaml_is_sdxl_base():
    from mindone_sdxl.config_yaml import from_yaml

    found = from_yaml(SHIPPED)
    assert found.model == SDXLConfig()
    assert found.version == "SDXL-base-1.0"
    assert type(found.discretization).__name__ == "LegacyDDPM"


@pytest.mark.mindspore
@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("network_config.target", "gm.SomeNet", "target SomeNet is not implemented, expected UNetModel"),
        ("network_config.params.num_head_chanels", 64, "unknown keys num_head_chanels"),
        ("denoiser_config.params.scaling_config.target", "x.EDMScaling", "quantize_c_noise is True, False is needed"),
        ("denoiser_config.params.scaling_config.target", "x.XScaling", "XScaling is not implemented"),
        ("denoiser_config.params.flip", False, "flip is False, True is needed with EpsScaling"),
        ("denoiser_config.params.discretization_config.target", "x.DiffusersDPM", "did you mean 'DiffusersDDPM'"),
        ("network_config.params.adm_in_channels", 2560, "2816 numbers|leave another number"),
    ],
)
def test_yaml_that_asks_for_something_else_is_refused(place, value, message, tmp_path):
    from mindone_sdxl.config_yaml import from_yaml

    root = yaml.safe_load(SHIPPED.read_text())
    node = root["model"]["params"]
    *path, last = place.split(".")
    for key in path:
        node = node[key]
    node[last] = value
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(root))
    with pytest.raises(ConfigError, match=message):
        from_yaml(tmp_path / "x.yaml")
