"""What PyPI's mindone needs on a CPU, put in from outside: operators without a kernel, and float64.

mindone computes with `mindspore.mint`, whose operators are made for Ascend. Those on Stable Diffusion XL's way that
have no CPU kernel are in `REPLACED` with the error that they give; each is replaced, in `mindspore.mint` or on the
cell's class, by operators that have one. Nothing else is touched in float32 and float16.

In float64 four things stand between the source and an exact run:

* It names float32 in casts and tables. Its modules see a stand-in for `mindspore` and `numpy` whose float32 is float64,
  and `Tensor.float()` leaves a float64 tensor as it is. Where that happens is noted: `casts()`.
* `nn.LayerNorm` computes in float32, `mint.nn.GroupNorm` holds its epsilon in float32: they are composed.
* A Python number beside a float64 tensor is rounded to float32: it becomes a tensor first.
* Parameters are made in float32 and are widened once they are loaded.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any, Final

import mindspore as ms
import numpy as np
from mindspore import Tensor, mint, nn, ops
from mindspore.nn.layer.normalization import LayerNormExt

from mindone_sdxl import layers
from ms_candidates.gm.exact import lift_numbers, lift_parameters

__all__ = ["REPLACED", "casts", "lift_cells", "lift_types", "replace_operators"]

REPLACED: Final = {
    "mint.arange": "Arange is not registered",
    "mint.zeros_like": "ZerosLikeExt is not registered",
    "mint.nn.functional.gelu": "GeluExt is not registered",
    "mint.nn.functional.pad": "ConstantPadND is not registered",
    "mint.nn.Conv2d": "Conv2DExt is not registered",
    "mint.nn.LayerNorm": "LayerNormExt: creating the kernel fails",
}
_float = Tensor.float
_casts: list[str] = []


def replace_operators() -> None:
    """Put operators with a CPU kernel in the place of those in `REPLACED`; before mindone is imported."""
    mint.arange = _arange
    mint.zeros_like = lambda tensor, *, dtype=None: ops.zeros_like(tensor, dtype=dtype)
    mint.nn.functional.gelu = _gelu
    mint.nn.functional.pad = lambda tensor, pad, mode="constant", value=0.0: ops.pad(tensor, pad, mode, value)
    mint.nn.Conv2d.construct = lambda cell, x: _leaf(cell, x).construct(x)
    LayerNormExt.construct = lambda cell, x: _leaf(cell, x).construct(x)


def _arange(start: float, end: float | None = None, step: float = 1, *, dtype: Any = None) -> Tensor:
    first, last = (0, start) if end is None else (start, end)
    return Tensor(np.arange(first, last, step)).astype(ms.int64 if dtype is None else dtype)


def _gelu(tensor: Tensor, *, approximate: str = "none") -> Tensor:
    return layers.gelu(tensor, approximate)


def _leaf(cell: Any, x: Tensor) -> Any:
    """Return the port's leaf that computes what the cell would, with the cell's own parameters and settings."""
    if isinstance(cell, mint.nn.Conv2d):
        out_channels, in_channels, size, _ = cell.weight.shape
        leaf: Any = layers.Conv2d(
            in_channels, out_channels, size, dtype=x.dtype, stride=_one(cell.stride), padding=_one(cell.padding)
        )
        leaf.weight, leaf.bias = cell.weight, cell.bias
        return leaf
    if isinstance(cell, mint.nn.GroupNorm):
        leaf = layers.GroupNorm(cell.num_channels, cell.num_groups, eps=cell.eps, dtype=x.dtype)
    else:
        leaf = layers.LayerNorm(x.shape[-1], eps=getattr(cell, "eps", None) or cell.epsilon, dtype=x.dtype)
    named = hasattr(cell, "gamma")
    leaf.gamma, leaf.beta = (cell.gamma, cell.beta) if named else (cell.weight, cell.bias)
    return leaf


def _one(value: Any) -> int:
    """Return the number that a setting has for both axes; every convolution of the model is square."""
    return int(value[0] if isinstance(value, (tuple, list)) else value)


def lift_cells(root: nn.Cell) -> None:
    """Widen every parameter, and compose the normalisations that are not exact in float64."""
    lift_parameters(root)
    for _, cell in root.cells_and_names():
        if isinstance(cell, (nn.LayerNorm, mint.nn.GroupNorm)):
            cell.construct = functools.partial(lambda cell, x: _leaf(cell, x).construct(x), cell)


def lift_types(dtype: str) -> None:
    """Let mindone's modules name float64 where they say float32; in any other type, what they say."""
    wide = dtype == "float64"
    stand_ins = {"ms": _Widened(ms), "np": _Widened(np)} if wide else {"ms": ms, "np": np}
    for name, module in list(sys.modules.items()):
        if name.startswith("mindone."):
            held = vars(module)
            held.update({alias: given for alias, given in stand_ins.items() if _is_module(held.get(alias))})
    Tensor.float = _wide_float if wide else _float
    if wide:
        lift_numbers()


def _is_module(held: Any) -> bool:
    """Tell whether a name stands for MindSpore or numpy, or for what was put in their place before."""
    return held is ms or held is np or isinstance(held, _Widened)


def casts() -> list[str]:
    """Return where float32 was asked for in float64 runs so far, as `FILE FUNCTION`; the list grows as they go on."""
    return _casts


class _Widened:
    """A module whose float32 is float64, and which notes who asks for it."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    @property
    def float32(self) -> Any:
        """The type that is given instead."""
        _note()
        return self._module.float64


def _wide_float(tensor: Tensor) -> Tensor:
    if tensor.dtype != ms.float64:
        return _float(tensor)
    _note()
    return tensor


def _note() -> None:
    """Keep file and function of whoever called the caller."""
    code = sys._getframe(2).f_code  # noqa: SLF001 - the cheapest way to a caller
    place = f"{Path(code.co_filename).name} {code.co_name}"
    if place not in _casts:
        _casts.append(place)
