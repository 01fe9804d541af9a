"""Rows of the name table for the two text encoders.

The first encoder's modules have no `text_model.` prefix in current transformers; the second's have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindone_sdxl.errors import ConfigError
from mindone_sdxl.names_types import ModuleEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mindone_sdxl.config import SDXLConfig, TextEncoderConfig

__all__ = ["text_entries"]


def text_entries(config: SDXLConfig) -> Iterator[ModuleEntry]:
    """Rows of both text encoders, in order of execution."""
    if config.refiner:
        yield from _second(config, "conditioner.embedders.0.model")
        return
    if (config.text_encoder.kind, config.text_encoder_2.kind) != ("clip", "open_clip"):
        message = "text_encoder must be of kind 'clip' and text_encoder_2 of kind 'open_clip'"
        raise ConfigError(message)
    first = "conditioner.embedders.0.transformer.text_model"
    yield from _clip(config.text_encoder, "text_encoder", first)
    yield ModuleEntry(diffusers="text_encoder", native=first, kind="text_encoder", output_only=True)
    yield from _second(config, "conditioner.embedders.1.model")


def _second(config: SDXLConfig, native: str) -> Iterator[ModuleEntry]:
    """The second text encoder: at place 1 of the embedders, or alone in the refiner."""
    yield from _open_clip(config.text_encoder_2, "text_encoder_2.text_model", native)
    yield ModuleEntry(diffusers="text_encoder_2.text_projection", native=f"{native}.text_projection", kind="projection")
    yield ModuleEntry(diffusers="text_encoder_2", native=native, kind="text_encoder", output_only=True)


def _clip(config: TextEncoderConfig, diffusers: str, native: str) -> Iterator[ModuleEntry]:
    def row(path: str, kind: str) -> ModuleEntry:
        return ModuleEntry(diffusers=f"{diffusers}.{path}", native=f"{native}.{path}", kind=kind)  # type: ignore[arg-type]

    yield row("embeddings.token_embedding", "embedding")
    yield row("embeddings.position_embedding", "embedding")
    yield row("embeddings", "text_embeddings")
    for index in range(config.layers):
        layer = f"encoder.layers.{index}"
        yield row(f"{layer}.layer_norm1", "layer_norm")
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield row(f"{layer}.self_attn.{projection}", "linear")
        yield row(f"{layer}.self_attn", "text_attention")
        yield row(f"{layer}.layer_norm2", "layer_norm")
        yield row(f"{layer}.mlp.fc1", "linear")
        yield row(f"{layer}.mlp.activation_fn", config.activation)
        yield row(f"{layer}.mlp.fc2", "linear")
        yield row(f"{layer}.mlp", "text_mlp")
        yield row(layer, "text_layer")
    yield row("final_layer_norm", "layer_norm")


def _open_clip(config: TextEncoderConfig, diffusers: str, native: str) -> Iterator[ModuleEntry]:
    def row(path: str, cell: str, kind: str, part: tuple[int, int] | None = None) -> ModuleEntry:
        return ModuleEntry(
            diffusers=f"{diffusers}.{path}",
            native=f"{native}.{cell}",
            kind=kind,  # type: ignore[arg-type]
            part=part,
        )

    yield row("embeddings.token_embedding", "token_embedding", "embedding")
    yield row("embeddings.position_embedding", "positional_embedding", "position_embedding")
    for index in range(config.layers):
        layer, block = f"encoder.layers.{index}", f"transformer.resblocks.{index}"
        yield row(f"{layer}.layer_norm1", f"{block}.ln_1", "layer_norm")
        for part, projection in enumerate(("q_proj", "k_proj", "v_proj")):
            yield row(f"{layer}.self_attn.{projection}", f"{block}.attn.in_proj", "fused_linear", (part, 3))
        yield row(f"{layer}.self_attn.out_proj", f"{block}.attn.out_proj", "linear")
        yield row(f"{layer}.self_attn", f"{block}.attn", "text_attention")
        yield row(f"{layer}.layer_norm2", f"{block}.ln_2", "layer_norm")
        yield row(f"{layer}.mlp.fc1", f"{block}.mlp.c_fc", "linear")
        yield row(f"{layer}.mlp.activation_fn", f"{block}.mlp.gelu", config.activation)
        yield row(f"{layer}.mlp.fc2", f"{block}.mlp.c_proj", "linear")
        yield row(f"{layer}.mlp", f"{block}.mlp", "text_mlp")
        yield row(layer, block, "text_layer")
    yield row("final_layer_norm", "ln_final", "layer_norm")
