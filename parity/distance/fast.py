"""The compiled loops where numba is installed (extra `[fast]`), and what stands between them and a pair of tensors.

Nothing has to be chosen: large tensors take the compiled path where there is one. Importing numba takes a third of
a second, so it waits for the first tensor of `WORTH` elements. PARITY_COMPILED=0 leaves it out, for a comparison
of the two paths.

    >>> raw(np.array([0x3F80], np.uint16), "bfloat16").dtype
    dtype('uint16')
"""

from __future__ import annotations

import importlib
import math
import os
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parity.distance.blocks import blocks

if TYPE_CHECKING:
    from parity.distance.tensor import Array, Tensor

__all__ = ["NARROW", "WORTH", "kernels", "kernels_for", "raw", "stored", "sum_up"]

WORTH: Final = 1 << 13
"""Elements from which a tensor takes the compiled path."""

NARROW: Final = frozenset({"float32", "float16", "bfloat16"})
"""Types that are subtracted in float32."""

_BLOCK: Final = 1 << 19
_KNOWN: Final = NARROW | {"float64"}


@cache
def kernels() -> Any | None:
    """Return the module of compiled loops, or None where numba is not installed or finds no place for its code."""
    if os.environ.get("PARITY_COMPILED") == "0":
        return None
    try:
        return importlib.import_module("parity.distance.compiled")
    except (ImportError, RuntimeError):
        return None


def kernels_for(*tensors: Tensor) -> Any | None:
    """Return the compiled loops if these tensors are worth it and of types that the loops know."""
    if tensors[0].array.size < WORTH or not _KNOWN.issuperset(tensor.dtype for tensor in tensors):
        return None
    compiled = kernels()
    if compiled is None or (not compiled.WIDENS_HALF and any(tensor.dtype == "float16" for tensor in tensors)):
        return None
    return compiled


def raw(array: Array, name: str) -> Array:
    """Return an array whose blocks the loops take: read-only, float16 as int16."""
    seen = array.view(array.dtype.str.replace("f", "i") if name == "float16" else array.dtype)
    seen.flags.writeable = False
    return seen


def stored(block: Array, name: str) -> Array:
    """Return a block that `raw` may have changed as it was."""
    return block.view(np.float16) if name == "float16" else block


def sum_up(compiled: Any, tensors: tuple[Tensor, ...]) -> tuple[float, ...]:
    """Return sum of squares and largest magnitude of the first tensor, and of each other's difference from it.

    A largest magnitude is infinite where an element is not finite.
    """
    totals = [0.0] * (2 * len(tensors))
    loop = compiled.sums if len(tensors) == 2 else compiled.sums_working  # noqa: PLR2004 - with or without a third
    for group in blocks([raw(tensor.array, tensor.dtype) for tensor in tensors], _BLOCK):
        found = loop(*group)
        for place in range(0, len(totals), 2):
            totals[place] += found[place]
            peak = found[place + 1]
            totals[place + 1] = math.inf if math.isnan(peak) else max(totals[place + 1], peak)
    return tuple(totals)
