"""The configuration that the original is built from."""

from dataclasses import replace

import pytest

pytest.importorskip("yaml", reason="needs the extra [mindspore]")

import yaml

from mindone_sdxl.config import SDXLConfig, from_diffusers
from ms_candidates.gm.config import engine_config, open_clip_config
from parity.errors import InputError
from tests.conftest import ROOT

SHIPPED = ROOT / "mindone_sdxl" / "configs" / "inference" / "sd_xl_base.yaml"


def params(tree, part):
    return tree["model"]["params"][part]["params"]


def test_base_gives_the_tree_of_the_shipped_yaml_file():
    ours = engine_config(SDXLConfig(), "openai/clip-vit-large-patch14", "LegacyDDPMDiscretization")
    theirs = yaml.safe_load(SHIPPED.read_text())
    network = params(theirs, "network_config")
    for name, value in network.items():
        if name not in {"spatial_transformer_attn_type", "transformer_depth", "attention_resolutions"}:
            assert params(ours, "network_config")[name] == value, name
    # A level without attention has no depth; the original writes 1 there and does not read it.
    assert params(ours, "network_config")["transformer_depth"][1:] == network["transformer_depth"][1:]
    assert sorted(params(ours, "network_config")["attention_resolutions"]) == sorted(network["attention_resolutions"])
    first = params(theirs, "first_stage_config")["ddconfig"]
    assert {name: value for name, value in params(ours, "first_stage_config")["ddconfig"].items() if name in first} == {
        name: value for name, value in first.items() if not name.endswith("attn_dtype")
    }
    for mine, shipped in zip(
        params(ours, "conditioner_config")["emb_models"],
        params(theirs, "conditioner_config")["emb_models"],
        strict=True,
    ):
        assert mine["target"] == shipped["target"].replace("mindone_sdxl", "gm")
        wanted = {name: value for name, value in shipped["params"].items() if name != "arch"}
        assert {name: mine["params"][name] for name in wanted} == wanted


def test_the_tiny_model_s_sizes_are_in_its_tree(tiny_model):
    config = from_diffusers(tiny_model)
    network = params(engine_config(config, "clip", "LegacyDDPMDiscretization"), "network_config")
    assert (network["model_channels"], network["channel_mult"], network["num_head_channels"]) == (64, [1, 1, 2], 16)
    assert (network["attention_resolutions"], network["transformer_depth"]) == ([2, 4], [0, 1, 2])
    assert open_clip_config(config.text_encoder_2)["text_cfg"]["width"] == 96


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("unet", {"norm_eps": 1e-6}, "unet norm eps = 1e-06; it has 1e-05"),
        ("unet", {"heads": (4, 10, 20)}, "sizes of attention heads"),
        ("vae", {"num_groups": 16}, "vae norm groups = 16; it has 32"),
        ("schedule", {"beta_start": 0.0001}, "betas"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_the_original_has_no_setting_for_is_refused_with_both_values(part, change, words):
    config = replace(SDXLConfig(), **{part: replace(getattr(SDXLConfig(), part), **change)})
    with pytest.raises(InputError, match="has no setting for") as error:
        engine_config(config, "clip", "LegacyDDPMDiscretization")
    assert words in str(error.value)
