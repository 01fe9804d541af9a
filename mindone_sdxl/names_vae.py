"""Rows of the name table for the autoencoder.

The original numbers the decoder's levels by resolution (`up.3` runs first); diffusers numbers them in order of
execution. Its attention is made of 1x1 convolutions where diffusers has linear layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindone_sdxl.names_types import Kind, ModuleEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mindone_sdxl.config import VAEConfig

__all__ = ["vae_entries"]

_ROOT = "first_stage_model"
_ATTENTION: tuple[tuple[str, str, Kind], ...] = (
    ("group_norm", "norm", "group_norm"),
    ("to_q", "q", "pointwise"),
    ("to_k", "k", "pointwise"),
    ("to_v", "v", "pointwise"),
    ("to_out.0", "proj_out", "pointwise"),
)


def _row(diffusers: str, native: str, kind: Kind) -> ModuleEntry:
    return ModuleEntry(diffusers=f"vae.{diffusers}", native=f"{_ROOT}.{native}", kind=kind)


def vae_entries(config: VAEConfig) -> Iterator[ModuleEntry]:
    """Rows of the autoencoder, encoder first."""
    yield from _encoder(config)
    yield _row("quant_conv", "quant_conv", "conv")
    yield _row("post_quant_conv", "post_quant_conv", "conv")
    yield from _decoder(config)


def _encoder(config: VAEConfig) -> Iterator[ModuleEntry]:
    yield _row("encoder.conv_in", "encoder.conv_in", "conv")
    width = config.channels[0]
    for level, channels in enumerate(config.channels):
        block, cell = f"encoder.down_blocks.{level}", f"encoder.down.{level}"
        for layer in range(config.resnets_per_level):
            yield from _resnet(f"{block}.resnets.{layer}", f"{cell}.block.{layer}", shortcut=width != channels)
            width = channels
        if level + 1 < len(config.channels):
            yield _row(f"{block}.downsamplers.0.conv", f"{cell}.downsample.conv", "conv")
            yield _row(f"{block}.downsamplers.0", f"{cell}.downsample", "downsample")
        yield _row(block, cell, "down_block")
    yield from _middle("encoder")
    yield from _output("encoder")


def _decoder(config: VAEConfig) -> Iterator[ModuleEntry]:
    yield _row("decoder.conv_in", "decoder.conv_in", "conv")
    yield from _middle("decoder")
    width = config.channels[-1]
    for up, level in enumerate(reversed(range(len(config.channels)))):
        block, cell, channels = f"decoder.up_blocks.{up}", f"decoder.up.{level}", config.channels[level]
        for layer in range(config.resnets_per_level + 1):
            yield from _resnet(f"{block}.resnets.{layer}", f"{cell}.block.{layer}", shortcut=width != channels)
            width = channels
        if level:
            yield _row(f"{block}.upsamplers.0.conv", f"{cell}.upsample.conv", "conv")
            yield _row(f"{block}.upsamplers.0", f"{cell}.upsample", "upsample")
        yield _row(block, cell, "up_block")
    yield from _output("decoder")


def _resnet(diffusers: str, native: str, *, shortcut: bool) -> Iterator[ModuleEntry]:
    yield _row(f"{diffusers}.norm1", f"{native}.norm1", "group_norm")
    yield _row(f"{diffusers}.conv1", f"{native}.conv1", "conv")
    yield _row(f"{diffusers}.norm2", f"{native}.norm2", "group_norm")
    yield _row(f"{diffusers}.nonlinearity", f"{native}.nonlinearity", "silu")
    yield _row(f"{diffusers}.dropout", f"{native}.dropout", "identity")
    yield _row(f"{diffusers}.conv2", f"{native}.conv2", "conv")
    if shortcut:
        yield _row(f"{diffusers}.conv_shortcut", f"{native}.nin_shortcut", "conv")
    yield _row(diffusers, native, "resnet")


def _middle(part: str) -> Iterator[ModuleEntry]:
    yield from _resnet(f"{part}.mid_block.resnets.0", f"{part}.mid.block_1", shortcut=False)
    for diffusers, native, kind in _ATTENTION:
        yield _row(f"{part}.mid_block.attentions.0.{diffusers}", f"{part}.mid.attn_1.{native}", kind)
    yield _row(f"{part}.mid_block.attentions.0.to_out.1", f"{part}.mid.attn_1.dropout", "identity")
    yield _row(f"{part}.mid_block.attentions.0", f"{part}.mid.attn_1", "attention")
    yield from _resnet(f"{part}.mid_block.resnets.1", f"{part}.mid.block_2", shortcut=False)
    yield _row(f"{part}.mid_block", f"{part}.mid", "mid_block")


def _output(part: str) -> Iterator[ModuleEntry]:
    yield _row(f"{part}.conv_norm_out", f"{part}.norm_out", "group_norm")
    yield _row(f"{part}.conv_act", f"{part}.conv_act", "silu")
    yield _row(f"{part}.conv_out", f"{part}.conv_out", "conv")
    yield _row(part, part, "encoder" if part == "encoder" else "decoder")
