"""Whether files hold weights or activations is told by names, and why."""

from __future__ import annotations

import pytest

from parity.trace.contents import holding, parameter_address
from parity.trace.dumps.dump import place
from parity.trace.schema import Record


def records(*names: str, shard: str = "x.safetensors") -> list[Record]:
    found = []
    for name in names:
        address, stage = place(name)
        found.append(Record(address=address, stage=stage, shape=(2,), dtype="float32", shard=shard, native=name))
    return found


@pytest.mark.parametrize(
    ("names", "tool", "contents"),
    [
        (["down_blocks.0.attn.to_q.weight", "down_blocks.0.attn.to_q.bias"], "safetensors", "weights"),
        (["text_model.embeddings.position_ids", "logit_scale"], "safetensors", "activations"),
        (["text_model.embeddings.position_ids", "logit_scale", "proj.weight"], "safetensors", "weights"),
        (["text_model.embeddings", "text_projection", "attn_weight", "pos_embed"], "safetensors", "activations"),
        (["attn.in_proj_weight", "rnn.weight_ih_l0"], "safetensors", "weights"),
        (["a.weight", "a.bias", "position_ids"], "numpy", "weights"),
        (["a.weight"], "mindspore", "weights"),
        (["bn.running_mean", "bn.num_batches_tracked"], "safetensors", "weights"),
        (["lora_unet_down.lora_down.weight", "lora_unet_down.alpha"], "safetensors", "weights"),
        (["norm.gamma", "bn.moving_variance", "table"], "safetensors", "weights"),
        (["down.0.w", "down.1.w"], "safetensors", "activations"),
        (["latents", "noise_pred"], "safetensors", "activations"),
        (["unet.conv_in@step=0:output", "unet.conv_in.weight"], "safetensors", "activations"),
        (["unet.conv_in:input.sample", "unet.conv_in.weight"], "safetensors", "activations"),
        (["words.weight", "denoiser.inner.bias"], "", "weights"),
        (["words.weight", "latents"], "", "activations"),
        (["words.weight", "latents"], "numpy", "activations"),
        (["words.weight", "latents"], "numpy, safetensors", "activations"),
        (["words.weight", "latents"], "torch", "weights"),
        (["a.weight"], "msprobe", "activations"),
    ],
)
def test_names_decide(names, tool, contents):
    assert holding(records(*names), tool).contents == contents


@pytest.mark.parametrize(
    ("shard", "contents"),
    [
        ("diffusion_pytorch_model.fp16.safetensors", "weights"),
        ("unet/diffusion_pytorch_model-00001-of-00002.safetensors", "weights"),
        ("model.safetensors", "weights"),
        ("dump.safetensors", "activations"),
        ("models_out.safetensors", "activations"),
    ],
)
def test_the_name_of_the_file_decides_where_no_tensor_does(shard, contents):
    found = holding(records("emb_params", shard=shard), "safetensors")
    assert found.contents == contents
    assert (shard in found.reason) == (contents == "weights")


@pytest.mark.parametrize(
    ("address", "parameter"),
    [
        ("unet.conv_in.weight:output", "unet.conv_in:weight"),
        ("logit_scale:output", "logit_scale:parameter"),
        ("unet.conv_in:weight", "unet.conv_in:weight"),
    ],
)
def test_a_parameter_has_the_address_of_its_module(address, parameter):
    assert parameter_address(address) == parameter
