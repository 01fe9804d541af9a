"""The attributes of the original's cells that decide numerics, under the names that the reference reports them by.

Most are read. The VAE's downsampling keeps its padding in its code and in no attribute, so it is measured: a constant
image goes in, and what the convolution inside is given says how far and with what it was padded.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["attributes_of", "scheduler_attributes", "set_attribute"]


_INSIDE: Final = 7.0  # in the measured image; no padding is made of it


def _convolution(cell: Any) -> dict[str, Any]:
    padding = cell.padding if isinstance(cell.padding, tuple) else (cell.padding,) * 4
    return {
        "stride": list(cell.stride),
        "padding": [padding[0], padding[2]],
        "dilation": list(cell.dilation),
        "groups": cell.group,
    }


def _downsampling(cell: Any) -> dict[str, Any]:
    """Measure the padding of a downsampling that has its own: left, right, top, bottom."""
    if not hasattr(cell, "with_conv"):
        return {}
    taken: list[np.ndarray] = []
    weight = cell.conv.weight
    image = np.full((1, weight.shape[1], 3, 3), _INSIDE)
    handle = cell.conv.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0].asnumpy()))
    try:
        cell(Tensor(image).astype(weight.dtype))
    finally:
        handle.remove()
    rows, columns = (np.flatnonzero((taken[0][0, 0] == _INSIDE).any(axis=axis)) for axis in (1, 0))
    height, width = taken[0].shape[2:]
    values = np.unique(taken[0][taken[0] != _INSIDE])
    pad = [columns[0], width - 1 - columns[-1], rows[0], height - 1 - rows[-1]]
    return {"pad": [int(each) for each in pad]} | ({"pad_value": float(values[0])} if len(values) == 1 else {})


def _pad_with(cell: Any, value: float) -> None:
    """Let a downsampling pad with `value`: while it runs, its module's `ops.ones` makes that number."""
    module = sys.modules[type(cell).__module__]

    def construct(x: Tensor) -> Tensor:
        with _ones_are(module, value):
            return type(cell).construct(cell, x)

    cell.construct = construct


@contextmanager
def _ones_are(module: Any, value: float) -> Iterator[None]:
    operators = module.ops
    module.ops = _Filled(operators, value)
    try:
        yield
    finally:
        module.ops = operators


class _Filled:
    """MindSpore's operators, whose `ones` gives another number."""

    def __init__(self, operators: Any, value: float) -> None:
        self._operators, self._value = operators, value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operators, name)

    def ones(self, shape: tuple[int, ...], dtype: Any = ms.float32) -> Tensor:
        return Tensor(np.full(shape, self._value)).astype(dtype)


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
    "Downsample": _downsampling,
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
    if name == "pad_value" and hasattr(cell, "with_conv"):
        _pad_with(cell, float(value))
        return True
    for own in _SET.get(name, ()):
        if hasattr(cell, own):
            setattr(cell, own, value)
            return True
    return False


def scheduler_attributes(sampler: Any) -> dict[str, Any]:
    """Return what the sampler and its discretization are set to."""
    discretization = sampler.discretization
    discretization = getattr(discretization, "discretization", discretization)  # an image's keeps the last of its steps
    found = {"num_train_timesteps": discretization.num_timesteps, "prediction_type": "epsilon"}
    for name in ("timestep_spacing", "steps_offset"):
        if hasattr(discretization, name):
            found[name] = getattr(discretization, name)
    if hasattr(sampler, "eta"):
        found["eta"] = sampler.eta
    return found
