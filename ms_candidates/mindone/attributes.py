"""The attributes of mindone's cells that decide numerics, under the names that the reference reports them by.

What a cell's source fixes (the GELU of `GEGLU`, the padding of `Downsample2D`) is no attribute of it and is left to
its tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["attributes_of", "set_attribute"]


def _pair(value: Any) -> list[int]:
    return list(value) if isinstance(value, (tuple, list)) else [value, value]


# By the name of the class, since mindone is imported only where it runs.
_READERS: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "GroupNorm": lambda cell: {"num_groups": cell.num_groups, "eps": cell.eps},
    "LayerNormExt": lambda cell: {"eps": cell.eps},
    "LayerNorm": lambda cell: {"eps": cell.epsilon},
    "Conv2d": lambda cell: {
        "stride": _pair(cell.stride),
        "padding": _pair(cell.padding),
        "dilation": _pair(cell.dilation),
        "groups": cell.groups,
    },
    "SiLU": lambda _: {"activation": "silu"},
    "Attention": lambda cell: {
        "heads": cell.heads, "head_dim": cell.inner_dim // cell.heads, "scale": float(cell.scale),
    },
    "CLIPAttention": lambda cell: {"heads": cell.num_heads, "head_dim": cell.head_dim, "scale": float(cell.scale)},
    "CLIPTextTransformer": lambda cell: {"eos_token_id": cell.eos_token_id},
    "CLIPTextModel": lambda cell: {"eos_token_id": cell.text_model.eos_token_id},
    "ResnetBlock2D": lambda cell: {"output_scale_factor": float(cell.output_scale_factor)},
    "QuickGELUActivation": lambda _: {"activation": "quick_gelu"},
    "GELUActivation": lambda _: {"activation": "gelu"},
    "Timesteps": lambda cell: {
        "flip_sin_to_cos": cell.flip_sin_to_cos,
        "downscale_freq_shift": float(cell.downscale_freq_shift),
        "scale": float(cell.scale),
    },
}  # fmt: skip
_SET: Final = {
    "eps": ("eps", "epsilon"),
    "num_groups": ("num_groups",),
    "heads": ("heads", "num_heads"),
    "scale": ("scale",),
}


def attributes_of(cell: Any) -> dict[str, Any]:
    """Return the attributes of one cell by canonical name."""
    reader = _READERS.get(type(cell).__name__)
    return {} if reader is None else reader(cell)


def set_attribute(cell: Any, name: str, value: Any) -> bool:
    """Set an attribute by its canonical name; False when the cell does not have it."""
    for own in _SET.get(name, ()):
        if hasattr(cell, own):
            setattr(cell, own, value)
            return True
    return False
