"""A tiny SDXL of the real classes, built so that no bug can hide in it.

A model with constant norms, zero biases or huge activations lets many faults pass: a wrong epsilon, a
skipped bias, a transposed weight. This one has random norm weights and biases everywhere, embeddings of
std 0.02 and a text residual stream of std near 0.03 (where a LayerNorm epsilon matters), a square
`text_projection`, head sizes different from head counts, and groups that are neither one nor the channel
count. Its UNet mostly predicts the noise that is in its input, as a trained one does, so latents shrink
from sigma to order one and the image is not saturated.

    python -m torch_refs.tiny fixtures/tiny

writes an ordinary diffusers folder of about 90 MB, the same bytes every time: each parameter comes from a
numpy generator seeded by its own name. `--least` writes a model of less than 3 million parameters, the one of
the recordings in fixtures/gold. The weights mean nothing; images are coloured texture.

Limits: numpy's normal draws are stable across versions of numpy that keep PCG64 and the ziggurat method.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
import xxhash
from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from torch_refs.quiet import quiet
from torch_refs.tokenizer_files import VOCABULARY_SIZE, write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LEAST", "TINY", "Sizes", "build", "main"]

_SEED = 2024
_PASSED_CHANNELS = 4
_BIAS_STD = 0.1
_GAINS = (
    ("self_attn.out_proj", 0.012),  # adds to the text encoders' residual stream of std 0.03
    ("mlp.fc2", 0.012),
    ("attn2.to_k", 20.0),  # reads text embeddings of that std
    ("attn2.to_v", 20.0),
    ("vae.decoder.conv_in", 0.05),  # reads latents divided by the scaling factor
    ("vae.encoder.conv_out", 1.0),
    ("vae.decoder.conv_out", 0.7),
    ("conv_out", 0.5),
    ("conv2", 0.5),  # each adds to a residual stream of std 1
    ("to_out.0", 0.5),
    ("ff.net.2", 0.5),
    ("proj_out", 0.5),
)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large a model is: per text encoder, per level of the UNet, per level of the autoencoder."""

    text_widths: tuple[int, int]
    text_layers: tuple[int, int]
    text_heads: tuple[int, int]
    channels: tuple[int, ...]
    transformers: tuple[int, ...]
    heads: tuple[int, ...]
    resnets: int
    size_embedding: int
    autoencoder: tuple[int, int, int, int]


TINY: Final = Sizes(
    text_widths=(64, 96), text_layers=(4, 5), text_heads=(4, 4), channels=(64, 64, 128), transformers=(0, 1, 2),
    heads=(4, 4, 8), resnets=2, size_embedding=32, autoencoder=(64, 64, 128, 128),
)  # fmt: skip
LEAST: Final = Sizes(
    text_widths=(6, 8), text_layers=(3, 4), text_heads=(2, 2), channels=(64, 64), transformers=(0, 1), heads=(4, 4),
    resnets=1, size_embedding=8, autoencoder=(32, 32, 32, 64),
)  # fmt: skip


def build(folder: Path, sizes: Sizes = TINY) -> None:
    """Write the diffusers folder; files of an earlier build are overwritten."""
    write_tokenizer(folder / "tokenizer", padding="<|endoftext|>")
    write_tokenizer(folder / "tokenizer_2", padding="!")
    unet = _unet(sizes)
    _fill(unet, "unet")
    _pass_noise_through(unet)
    vae = _vae(sizes)
    _fill(vae, "vae")
    text_encoder = CLIPTextModel(_text_configuration(sizes, 0))
    _fill(text_encoder, "text_encoder")
    text_encoder_2 = CLIPTextModelWithProjection(_text_configuration(sizes, 1))
    _fill(text_encoder_2, "text_encoder_2")
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
        unet=unet,
        scheduler=_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.save_config(folder)
    for name in ("vae", "text_encoder", "text_encoder_2", "unet", "scheduler"):
        getattr(pipeline, name).save_pretrained(folder / name)


def _text_configuration(sizes: Sizes, index: int) -> CLIPTextConfig:
    """Return the configuration of the first or the second text encoder, ids as in SDXL's own files."""
    width = sizes.text_widths[index]
    return CLIPTextConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=sizes.text_layers[index],
        num_attention_heads=sizes.text_heads[index],
        max_position_embeddings=77,
        hidden_act=("quick_gelu", "gelu")[index],
        layer_norm_eps=1e-5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )


def _unet(sizes: Sizes) -> UNet2DConditionModel:
    """Return the UNet; `attention_head_dim` holds head counts, as in SDXL's configuration."""
    attended = ["CrossAttn" if count else "" for count in sizes.transformers]
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in attended),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(attended)),
        block_out_channels=sizes.channels,
        layers_per_block=sizes.resnets,
        norm_num_groups=32,
        cross_attention_dim=sum(sizes.text_widths),
        transformer_layers_per_block=tuple(max(count, 1) for count in sizes.transformers),
        attention_head_dim=sizes.heads,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=sizes.size_embedding,
        projection_class_embeddings_input_dim=6 * sizes.size_embedding + sizes.text_widths[1],
    )


def _vae(sizes: Sizes) -> AutoencoderKL:
    """Return the autoencoder: four levels, one attention head in the middle, float32 when the rest is float16."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=128,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=sizes.autoencoder,
        layers_per_block=1,
        norm_num_groups=32,
        scaling_factor=0.13025,
        force_upcast=True,
    )


def _scheduler() -> EulerAncestralDiscreteScheduler:
    """Return SDXL's schedule for the ancestral Euler sampler."""
    return EulerAncestralDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
        prediction_type="epsilon",
    )


@torch.no_grad()
def _fill(model: nn.Module, component: str) -> None:
    """Give every parameter its random values, scaled by what kind of module owns it."""
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            address = f"{component}.{path}:{name}"
            generator = np.random.Generator(np.random.PCG64(xxhash.xxh3_64_intdigest(address.encode(), seed=_SEED)))
            values = generator.standard_normal(tuple(parameter.shape), dtype=np.float32)
            mean, std = _moments(component, path, module, name)
            parameter.copy_(torch.from_numpy(values * np.float32(std) + np.float32(mean)))


def _moments(component: str, path: str, module: nn.Module, name: str) -> tuple[float, float]:
    """Return mean and standard deviation of one parameter."""
    if isinstance(module, nn.Embedding):
        return 0.0, 0.02
    if isinstance(module, nn.GroupNorm | nn.LayerNorm):
        return (1.0, 0.25) if name == "weight" else (0.0, _BIAS_STD)
    gain = _gain(component, path)
    if name == "bias":
        return 0.0, _BIAS_STD * gain
    return 0.0, gain / math.sqrt(module.get_parameter("weight")[0].numel())


def _gain(component: str, path: str) -> float:
    """Return the gain of a linear or convolution layer, so that every stream stays where faults show."""
    whole = f"{component}.{path}"
    return next((gain for ending, gain in _GAINS if whole.endswith(ending)), 1.0)


@torch.no_grad()
def _pass_noise_through(unet: UNet2DConditionModel) -> None:
    """Lead the sample past the blocks to the output, so that the prediction resembles the noise in it.

    Each latent channel enters as a pair (+x, -x) that shares a group of the last norm. It reaches the last
    resnet through the skip connection, and silu(a) - silu(-a) = a restores it at the output.
    """
    middle = unet.conv_in.kernel_size[0] // 2
    last = unet.up_blocks[-1].resnets[-1]
    hidden = last.conv_shortcut.in_channels - unet.conv_in.out_channels
    for channel in range(_PASSED_CHANNELS):
        for sign, place in ((1.0, 2 * channel), (-1.0, 2 * channel + 1)):
            unet.conv_in.weight[place, channel, middle, middle] += 2.0 * sign
            last.conv_shortcut.weight[place, hidden + place, 0, 0] += 2.0
            unet.conv_out.weight[channel, place, middle, middle] += 0.9 * sign


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the folder named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m torch_refs.tiny", description="Write the tiny SDXL.")
    parser.add_argument("folder", type=Path, help="where the diffusers folder goes, for example fixtures/tiny")
    parser.add_argument("--least", action="store_true", help="less than 3 million parameters")
    options = parser.parse_args(arguments)
    folder = options.folder
    started = time.perf_counter()
    with quiet():
        build(folder, LEAST if options.least else TINY)
    sys.stderr.write(f"{folder} written in {time.perf_counter() - started:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
