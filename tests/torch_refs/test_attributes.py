"""The attributes that no weight shows are reported for every module that has them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from diffusers.models.attention_processor import Attention  # noqa: E402
from torch import nn  # noqa: E402

from torch_refs.attributes import attributes_of, pipeline_attributes  # noqa: E402
from torch_refs.diffusers.functions import module_paths  # noqa: E402
from torch_refs.diffusers.samplers import attributes as scheduler_attributes  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture
def attributes(pipeline):
    """Return the attributes of the whole pipeline."""
    return pipeline_attributes(pipeline, module_paths(pipeline), scheduler_attributes(pipeline.scheduler, 1.0), 5.0)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("unet.conv_norm_out", {"num_groups": 32, "eps": 1e-5}),
        ("unet.down_blocks.1.attentions.0.norm", {"num_groups": 32, "eps": 1e-6}),
        ("vae.decoder.conv_norm_out", {"num_groups": 32, "eps": 1e-6}),
        ("text_encoder_2.text_model.final_layer_norm", {"eps": 1e-5}),
        ("text_encoder.encoder.layers.0.mlp.activation_fn", {"activation": "quick_gelu"}),
        ("text_encoder_2.text_model.encoder.layers.0.mlp.activation_fn", {"activation": "gelu", "approximate": "none"}),
        ("text_encoder.encoder.layers.0.self_attn", {"heads": 4, "head_dim": 16, "scale": 0.25}),
        ("text_encoder_2.text_model.encoder.layers.1.self_attn", {"heads": 4, "head_dim": 24, "scale": 24**-0.5}),
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn2", {"heads": 8, "head_dim": 16, "scale": 0.25}),
        ("vae.encoder.mid_block.attentions.0", {"heads": 1, "head_dim": 128, "scale": 128**-0.5}),
        ("unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0", {"activation": "gelu", "approximate": "none"}),
        ("unet.conv_act", {"activation": "silu"}),
        ("unet.conv_in", {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}),
        (
            "unet.down_blocks.0.downsamplers.0.conv",
            {"stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "groups": 1},
        ),
        ("unet.down_blocks.0.downsamplers.0", {"pad": [0, 0, 0, 0], "pad_value": 0.0}),
        ("vae.encoder.down_blocks.0.downsamplers.0", {"pad": [0, 1, 0, 1], "pad_value": 0.0}),
        ("unet.up_blocks.0.upsamplers.0", {"mode": "nearest"}),
        ("unet.time_proj", {"flip_sin_to_cos": True, "downscale_freq_shift": 0.0, "scale": 1.0}),
        ("text_encoder", {"eos_token_id": 2}),
        ("vae", {"scaling_factor": 0.13025}),
        ("guidance", {"guidance_scale": 5.0}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_module_reports_what_decides_its_numbers(attributes, path, wanted):
    assert attributes[path] == wanted


def test_the_scheduler_reports_its_constants(attributes):
    assert attributes["scheduler"] == {
        "class": "EulerAncestralDiscreteScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "epsilon",
        "timestep_spacing": "leading",
        "steps_offset": 1,
        "trained_betas": None,
        "rescale_betas_zero_snr": False,
        "eta": 1.0,
    }


def test_no_norm_convolution_activation_or_attention_is_left_out(pipeline, attributes):
    kinds = (nn.GroupNorm, nn.LayerNorm, nn.Conv2d, nn.SiLU, Attention)
    for path, module in module_paths(pipeline).items():
        if isinstance(module, kinds) or "GELU" in type(module).__name__ or type(module).__name__ == "CLIPAttention":
            assert attributes[path], path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.GELU(), nn.GELU(approximate="tanh")),
        (nn.LayerNorm(4), nn.LayerNorm(4, eps=1e-7)),
        (nn.GroupNorm(2, 4), nn.GroupNorm(4, 4)),
        (nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, padding=1)),
        (Attention(8, heads=2, dim_head=4), Attention(8, heads=4, dim_head=2)),
    ],
    ids=["gelu", "epsilon", "groups", "padding", "heads"],
)
def test_a_changed_attribute_shows(one, other):
    assert attributes_of(one) != attributes_of(other)


def test_a_module_without_such_attributes_reports_nothing():
    assert attributes_of(nn.Linear(2, 2)) == {}
