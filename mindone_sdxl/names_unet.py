"""Rows of the name table for the UNet.

diffusers groups by level and then by role (`down_blocks.1.attentions.0`); the original numbers its blocks in order of
execution (`input_blocks.4.1`), a block being a residual block, perhaps a spatial transformer, perhaps a resampler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindone_sdxl.names_types import Kind, ModuleEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mindone_sdxl.config import UNetConfig

__all__ = ["unet_entries"]

_ROOT = "model.diffusion_model"


def _row(diffusers: str, native: str, kind: Kind, **options: object) -> ModuleEntry:
    return ModuleEntry(
        diffusers=f"unet.{diffusers}" if diffusers else "unet",
        native=f"{_ROOT}.{native}" if native else _ROOT,
        kind=kind,
        **options,  # type: ignore[arg-type]
    )


def unet_entries(config: UNetConfig) -> Iterator[ModuleEntry]:
    """Rows of the UNet, in order of execution."""
    yield _row("time_proj", "time_proj", "sinusoid")
    if config.guidance_size:
        yield _row("time_embedding.cond_proj", "cond_proj", "linear", has_bias=False)
    yield from _embedding("time_embedding", "time_embed")
    yield ModuleEntry(diffusers="unet.add_time_proj", native="conditioner.add_time_proj", kind="sinusoid")
    yield from _embedding("add_embedding", "label_emb.0")
    yield _row("conv_in", "input_blocks.0.0", "conv")
    yield from _down(config)
    yield from _resnet("mid_block.resnets.0", "middle_block.0", shortcut=False)
    yield from _transformer("mid_block.attentions.0", "middle_block.1", config, config.mid_transformer_layers)
    yield from _resnet("mid_block.resnets.1", "middle_block.2", shortcut=False)
    yield _row("mid_block", "middle_block", "mid_block")
    yield from _up(config)
    yield _row("conv_norm_out", "out.0", "group_norm")
    yield _row("conv_act", "out.1", "silu")
    yield _row("conv_out", "out.2", "conv")
    yield _row("", "", "unet")


def _embedding(diffusers: str, native: str) -> Iterator[ModuleEntry]:
    yield _row(f"{diffusers}.linear_1", f"{native}.0", "linear")
    yield _row(f"{diffusers}.act", f"{native}.1", "silu")
    yield _row(f"{diffusers}.linear_2", f"{native}.2", "linear")
    yield _row(diffusers, native, "time_embedding")


def _down(config: UNetConfig) -> Iterator[ModuleEntry]:
    number, width = 0, config.channels[0]
    for level, channels in enumerate(config.channels):
        for layer in range(config.resnets_per_level):
            number += 1
            block = f"down_blocks.{level}"
            yield from _resnet(f"{block}.resnets.{layer}", f"input_blocks.{number}.0", shortcut=width != channels)
            width = channels
            if config.transformer_layers[level]:
                names = f"{block}.attentions.{layer}", f"input_blocks.{number}.1"
                yield from _transformer(*names, config, config.transformer_layers[level])
        if level + 1 < config.level_count:
            number += 1
            yield _row(f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{number}.0.op", "conv")
            yield _row(f"down_blocks.{level}.downsamplers.0", f"input_blocks.{number}.0", "downsample")
        yield _row(f"down_blocks.{level}", f"input_blocks.{number}", "down_block", output_only=True)


def _up(config: UNetConfig) -> Iterator[ModuleEntry]:
    number = 0
    for up, level in enumerate(reversed(range(config.level_count))):
        for layer in range(config.resnets_per_level + 1):
            # The skip connection is concatenated first, so that every up block changes the width.
            yield from _resnet(f"up_blocks.{up}.resnets.{layer}", f"output_blocks.{number}.0", shortcut=True)
            if config.transformer_layers[level]:
                names = f"up_blocks.{up}.attentions.{layer}", f"output_blocks.{number}.1"
                yield from _transformer(*names, config, config.transformer_layers[level])
            number += 1
        if level:
            place = f"output_blocks.{number - 1}.{2 if config.transformer_layers[level] else 1}"
            yield _row(f"up_blocks.{up}.upsamplers.0.conv", f"{place}.conv", "conv")
            yield _row(f"up_blocks.{up}.upsamplers.0", place, "upsample")
        yield _row(f"up_blocks.{up}", f"output_blocks.{number - 1}", "up_block", output_only=True)


def _resnet(diffusers: str, native: str, *, shortcut: bool) -> Iterator[ModuleEntry]:
    yield _row(f"{diffusers}.norm1", f"{native}.in_layers.0", "group_norm")
    yield _row(f"{diffusers}.nonlinearity", f"{native}.in_layers.1", "silu", call=0)
    yield _row(f"{diffusers}.conv1", f"{native}.in_layers.2", "conv")
    yield _row(f"{diffusers}.nonlinearity", f"{native}.emb_layers.0", "silu", call=1)
    yield _row(f"{diffusers}.time_emb_proj", f"{native}.emb_layers.1", "linear")
    yield _row(f"{diffusers}.norm2", f"{native}.out_layers.0", "group_norm")
    yield _row(f"{diffusers}.nonlinearity", f"{native}.out_layers.1", "silu", call=2)
    yield _row(f"{diffusers}.dropout", f"{native}.out_layers.2", "identity")
    yield _row(f"{diffusers}.conv2", f"{native}.out_layers.3", "conv")
    if shortcut:
        yield _row(f"{diffusers}.conv_shortcut", f"{native}.skip_connection", "conv")
    yield _row(diffusers, native, "resnet")


def _transformer(diffusers: str, native: str, config: UNetConfig, depth: int) -> Iterator[ModuleEntry]:
    projection: Kind = "linear" if config.linear_projection else "conv"
    yield _row(f"{diffusers}.norm", f"{native}.norm", "group_norm")
    yield _row(f"{diffusers}.proj_in", f"{native}.proj_in", projection)
    for index in range(depth):
        block = f"transformer_blocks.{index}"
        yield from _block(f"{diffusers}.{block}", f"{native}.{block}")
    yield _row(f"{diffusers}.proj_out", f"{native}.proj_out", projection)
    yield _row(diffusers, native, "spatial_transformer")


def _block(diffusers: str, native: str) -> Iterator[ModuleEntry]:
    def same(path: str, kind: Kind, **options: object) -> ModuleEntry:
        return _row(f"{diffusers}.{path}", f"{native}.{path}", kind, **options)

    for norm, attention in (("norm1", "attn1"), ("norm2", "attn2")):
        yield same(norm, "layer_norm")
        for projection in ("to_q", "to_k", "to_v"):
            yield same(f"{attention}.{projection}", "linear", has_bias=False)
        yield same(f"{attention}.to_out.0", "linear")
        yield same(f"{attention}.to_out.1", "identity")
        yield same(attention, "attention")
    yield same("norm3", "layer_norm")
    yield same("ff.net.0.proj", "linear")
    yield same("ff.net.0", "geglu")
    yield same("ff.net.1", "identity")
    yield same("ff.net.2", "linear")
    yield same("ff", "feed_forward")
    yield _row(diffusers, native, "transformer_block")
