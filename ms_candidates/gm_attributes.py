"""The attributes of the original's cells that decide numerics, under the names that the reference reports them by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mindspore import nn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["attributes_of", "scheduler_attributes", "set_attribute"]


def _convolution(cell: Any) -> dict[str, Any]:
    padding = cell.padding if isinstance(cell.padding, tuple) else (cell.padding,) * 4
    return {
        "stride": list(cell.stride),
        "padding": [padding[0], padding[2]],
        "dilation": list(cell.dilation),
        "groups": cell.group,
    }


_BY_TYPE: Final[tuple[tuple[type, Callable[[Any], dict[str, Any]]], ...]] = (
    (nn.LayerNorm, lambda cell: {"eps": cell.epsilon}),
    (nn.GroupNorm, lambda cell: {"num_groups": cell.num_groups, "eps": cell.eps}),
    (nn.Conv2d, _convolution),
    (nn.SiLU, lambda _: {"activation": "silu"}),
)
# By the name of the class, since the source is imported only where it runs.
_BY_NAME: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "CrossAttention": lambda cell: {"heads": cell.heads, "scale": float(cell.scale)},
    "CLIPAttention": lambda cell: {"heads": cell.num_heads, "head_dim": cell.head_dim, "scale": float(cell.scale)},
    "MultiheadAttention": lambda cell: {
        "heads": cell.num_heads,
        "head_dim": cell.head_dim,
        "scale": float(cell.scaling),
    },
    "GELU": lambda cell: {"activation": "gelu", "approximate": cell.approximate},
    "QuickGELU": lambda _: {"activation": "quick_gelu"},
}
_SET: Final = {
    "eps": ("eps", "epsilon"), "num_groups": ("num_groups",), "heads": ("heads", "num_heads"),
    "scale": ("scale", "scaling"), "approximate": ("approximate",),
}  # fmt: skip


def attributes_of(cell: Any) -> dict[str, Any]:
    """Return the attributes of one cell by canonical name; nothing for a cell that has none, or is not there."""
    reader = next((reader for kind, reader in _BY_TYPE if isinstance(cell, kind)), None)
    reader = reader or _BY_NAME.get(type(cell).__name__)
    return {} if reader is None else reader(cell)


def set_attribute(cell: Any, name: str, value: Any) -> bool:
    """Set an attribute by its canonical name; False when the cell does not have it."""
    for own in _SET.get(name, ()):
        if hasattr(cell, own):
            setattr(cell, own, value)
            return True
    return False


def scheduler_attributes(sampler: Any) -> dict[str, Any]:
    """Return what the sampler and its discretization are set to."""
    discretization = sampler.discretization
    found = {"num_train_timesteps": discretization.num_timesteps, "prediction_type": "epsilon"}
    for name in ("timestep_spacing", "steps_offset"):
        if hasattr(discretization, name):
            found[name] = getattr(discretization, name)
    if hasattr(sampler, "eta"):
        found["eta"] = sampler.eta
    return found
