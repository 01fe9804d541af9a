"""One table: which module of diffusers does the work of which cell here, and how their parameters correspond.

A `ModuleEntry` names a module by its path in diffusers (component first, then the path that `named_modules` gives) and
the cell by its path from the root `model.SDXLModel`. The weight mapping and any alignment of activations are both
derived from these entries, so that they cannot drift apart.

    >>> from mindone_sdxl.config import SDXLConfig
    >>> entry = next(p for p in module_table(SDXLConfig()) if p.diffusers.endswith("layers.0.self_attn.k_proj")
    ...             and p.part is not None)
    >>> entry.native, entry.part
    ('conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj', (1, 3))

Ports by kind, diffusers against native (positions unless named). Kinds that are not listed take one tensor and give
one. With `output_only` the inputs do not correspond: the native cell is only the last of those that the module spans.

* resnet: (hidden_states, temb) against (x, embedding); in the VAE temb is None and the cell takes x alone.
* spatial_transformer, transformer_block: (hidden_states, encoder_hidden_states=) against (x, context).
* attention: (hidden_states, encoder_hidden_states=) against (x, context); context is None in self-attention and absent
  in the VAE, where a row's input and output are images [batch, channels, height, width].
* text_attention, text_layer: (hidden_states=, attention_mask=) against (x, mask), where mask is made here; the
  attention's output is position 0 of a tuple in diffusers.
* text_encoder: (ids) in both; hidden_states[-2], last_hidden_state and pooler_output (the second encoder: text_embeds)
  against positions 0, 1 and 2 of the output.
* down_block: the output is position 0 of a tuple in diffusers.
* sinusoid: (timesteps) against (timesteps).
* unet, vae.encoder, vae.decoder: one tensor out; the UNet's inputs are (sample, timestep, encoder_hidden_states=,
  added_cond_kwargs=) against (x, timesteps, context, vector).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mindone_sdxl.names_text import text_entries
from mindone_sdxl.names_types import Kind, ModuleEntry
from mindone_sdxl.names_unet import unet_entries
from mindone_sdxl.names_vae import vae_entries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mindone_sdxl.config import SDXLConfig

__all__ = ["Kind", "ModuleEntry", "ParameterEntry", "Transform", "module_table", "parameter_table"]

Transform = Literal["same", "transpose", "part", "pointwise"]

# What a parameter is called in diffusers, in the cell, and in a checkpoint (appended to the cell's path).
_SUFFIXES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "linear": (("weight", ".weight", ".weight"), ("bias", ".bias", ".bias")),
    "conv": (("weight", ".weight", ".weight"), ("bias", ".bias", ".bias")),
    "pointwise": (("weight", ".weight", ".weight"), ("bias", ".bias", ".bias")),
    "fused_linear": (("weight", ".weight", "_weight"), ("bias", ".bias", "_bias")),
    "group_norm": (("weight", ".gamma", ".gamma"), ("bias", ".beta", ".beta")),
    "layer_norm": (("weight", ".gamma", ".gamma"), ("bias", ".beta", ".beta")),
    "embedding": (("weight", ".embedding_table", ".embedding_table"),),
    "position_embedding": (("weight", ".embedding_table", ""),),
    "projection": (("weight", ".weight", ""),),
}
_MINDSPORE_SUFFIXES = (".gamma", ".beta", ".embedding_table")


@dataclass(frozen=True, kw_only=True)
class ParameterEntry:
    """One parameter of diffusers and where its numbers live here.

    Args:
        diffusers: name in diffusers, component first.
        checkpoint: name in a MindSpore checkpoint (the original's names).
        stability: name in Stability's single file: the same but for norms and embeddings, which say weight and bias.
        cell: path of the parameter in the cell tree.
        transform: from diffusers to here: "same"; "transpose" (matrix); "pointwise" (matrix to 1x1 convolution);
            "part" (a block of rows of a fused parameter, see `part`).
        part: (index, count) of the block of rows.
    """

    diffusers: str
    checkpoint: str
    stability: str
    cell: str
    transform: Transform
    part: tuple[int, int] | None = None


def module_table(config: SDXLConfig) -> tuple[ModuleEntry, ...]:
    """Every module of diffusers that owns a parameter, is an activation, or is a block, with its cell."""
    return (*text_entries(config), *unet_entries(config.unet), *vae_entries(config.vae))


def parameter_table(config: SDXLConfig) -> tuple[ParameterEntry, ...]:
    """Every parameter, in the order of `module_table`."""
    return tuple(parameter for module in module_table(config) for parameter in _parameters(module))


def _parameters(module: ModuleEntry) -> Iterator[ParameterEntry]:
    for name, cell, checkpoint in _SUFFIXES.get(module.kind, ()):
        if name == "bias" and not module.has_bias:
            continue
        transform: Transform = "same"
        if module.kind == "projection":
            transform = "transpose"
        elif module.kind == "fused_linear":
            transform = "part"
        elif module.kind == "pointwise" and name == "weight":
            transform = "pointwise"
        yield ParameterEntry(
            diffusers=f"{module.diffusers}.{name}",
            checkpoint=module.native + checkpoint,
            # Where a checkpoint has a suffix of MindSpore's own, Stability's file has that of torch.
            stability=module.native + (f".{name}" if checkpoint in _MINDSPORE_SUFFIXES else checkpoint),
            cell=module.native + cell,
            transform=transform,
            part=module.part,
        )
