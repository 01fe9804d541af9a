"""float64 for the original, from outside: what it computes, without the rounding of float32.

Five things stand between the source and a float64 run on a CPU, and each is met without a change to it:

* It names float32 in casts and tables. While a float64 model is in use its modules see a stand-in for `mindspore` whose
  float32 is float64, and the two that make the noise schedule a stand-in for `numpy` likewise.
* `nn.Conv2d` has no float64 kernel, `nn.LayerNorm` computes in float32, `nn.GroupNorm` holds its epsilon in float32:
  these cells compute as the port's leaves do, with the cell's own parameters and settings.
* A Python number beside a float64 tensor is rounded to float32: beside a float64 tensor it becomes a tensor first.
* Parameters are made in float32 and are widened when they are loaded.
* `to_float(float32)` on the autoencoder has no float64 and nothing to do: its switch is turned off.

In every other type the source runs as it stands.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, Final

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from mindone_sdxl import layers
from ms_candidates.gm.checkout import INFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["lift_cells", "lift_numbers", "lift_parameters", "lift_types"]

_SCHEDULE: Final = ("gm.modules.diffusionmodules.util", "gm.modules.diffusionmodules.discretizer")
_BINARY: Final = ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow")


class _Widened:
    """A module whose float32 is float64."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.float32 = module.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def lift_types(dtype: str) -> None:
    """Let the imported source name float64 where it says float32, or, for any other type, what it says."""
    wide = dtype == "float64"
    of_mindspore, of_numpy = (_Widened(ms), _Widened(np)) if wide else (ms, np)
    for name in INFERENCE:
        names = vars(sys.modules[name]) if name in sys.modules else {}
        if "ms" in names:
            names["ms"] = of_mindspore
        if name in _SCHEDULE:
            names["np"] = of_numpy
    if wide:
        lift_numbers()


def lift_cells(root: nn.Cell) -> None:
    """Widen every parameter, and let the cells without an exact float64 kernel compute as the port's leaves do."""
    lift_parameters(root)
    for _, cell in root.cells_and_names():
        # An instance's own construct comes before its class's; cells of other classes are exact as they are.
        for kind, exact in _EXACT.items():
            if isinstance(cell, kind):
                cell.construct = exact(cell)


def lift_parameters(root: nn.Cell) -> None:
    """Widen every parameter, of the value that it was loaded with."""
    for _, parameter in root.parameters_and_names():
        if parameter.dtype == ms.float32:
            parameter.set_dtype(ms.float64)


def _convolution(cell: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    out_channels, in_channels, size, _ = cell.weight.shape
    padding = cell.padding if isinstance(cell.padding, int) else cell.padding[0]
    leaf = layers.Conv2d(in_channels, out_channels, size, dtype=ms.float64, stride=cell.stride[0], padding=padding)
    leaf.weight, leaf.bias = cell.weight, cell.bias
    return leaf.construct


def _layer_norm(cell: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    leaf = layers.LayerNorm(cell.gamma.shape[0], eps=cell.epsilon, dtype=ms.float64)
    return _norm(cell, leaf, lambda: cell.epsilon)


def _group_norm(cell: nn.GroupNorm) -> Callable[[Tensor], Tensor]:
    leaf = layers.GroupNorm(cell.num_channels, cell.num_groups, eps=cell.eps, dtype=ms.float64)
    return _norm(cell, leaf, lambda: cell.eps)


def _norm(cell: nn.Cell, leaf: Any, eps: Callable[[], float]) -> Callable[[Tensor], Tensor]:
    leaf.gamma, leaf.beta = cell.gamma, cell.beta

    def construct(x: Tensor) -> Tensor:
        leaf.eps = eps()
        return leaf.construct(x)

    return construct


_EXACT: Final[dict[type[nn.Cell], Callable[[Any], Callable[[Tensor], Tensor]]]] = {
    nn.Conv2d: _convolution,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
}


@functools.lru_cache(maxsize=1)
def lift_numbers() -> None:
    """Make a Python float beside a float64 tensor a float64 tensor, in the operators of `Tensor`."""
    for name in _BINARY:
        method = f"__{name}__"
        setattr(Tensor, method, _with_tensor(getattr(Tensor, method)))


def _with_tensor(operator: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    @functools.wraps(operator)
    def wide(self: Tensor, other: Any) -> Any:
        if isinstance(other, float) and self.dtype == ms.float64:
            other = Tensor(np.asarray(other))
        return operator(self, other)

    return wide
