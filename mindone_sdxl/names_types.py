"""The row of the table in `names`, and the kinds that a row can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "ModuleEntry"]

Kind = Literal[
    # own parameters
    "linear",
    "fused_linear",
    "projection",
    "pointwise",
    "conv",
    "group_norm",
    "layer_norm",
    "embedding",
    "position_embedding",
    # own none and compute
    "silu",
    "gelu",
    "quick_gelu",
    "sinusoid",
    "identity",
    # are made of the others
    "geglu",
    "feed_forward",
    "attention",
    "transformer_block",
    "spatial_transformer",
    "resnet",
    "downsample",
    "upsample",
    "time_embedding",
    "down_block",
    "mid_block",
    "up_block",
    "text_embeddings",
    "text_attention",
    "text_mlp",
    "text_layer",
    "text_encoder",
    "encoder",
    "decoder",
    "unet",
]


@dataclass(frozen=True, kw_only=True)
class ModuleEntry:
    """One module of diffusers and the cell that does its work.

    Args:
        diffusers: component and module path, as `named_modules` of that component gives it.
        native: path of the cell from the root of the model.
        kind: what the module is.
        call: which call of the module within one pass of its parent corresponds, where diffusers calls one module
            several times and there is a cell for each; None where calls correspond one to one.
        part: (index, count): the module's output is this slice of the last axis of the cell's output, and its
            parameters are this block of rows.
        has_bias: whether a linear module has a bias.
        output_only: only the outputs correspond.
    """

    diffusers: str
    native: str
    kind: Kind
    call: int | None = None
    part: tuple[int, int] | None = None
    has_bias: bool = True
    output_only: bool = False
