"""The compiled loops where numba is installed (extra `[fast]`), and what stands between them and a pair of tensors.

Nothing has to be chosen: large tensors take the compiled path where there is one. Importing numba takes a third of
a second, so it waits for the first tensor of `WORTH` elements. PARITY_COMPILED=0 leaves it out, for a comparison
of the two paths.

    >>> raw(np.array([0x3F80], np.uint16), "bfloat16").dtype
    dtype('uint16')
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parity.distance.sums import Moments

if TYPE_CHECKING:
    from parity.distance.tensor import Array, Tensor

__all__ = ["NARROW", "WORTH", "kernels", "kernels_for", "raw", "stored"]

WORTH: Final = 1 << 13
"""Elements from which a tensor takes the compiled path."""

NARROW: Final = frozenset({"float32", "float16", "bfloat16"})
"""Types that are subtracted in float32."""

_KNOWN: Final = NARROW | {"float64"}
_SUMS: Final = Moments.__struct_fields__[:-1]  # all but the unit


@cache
def kernels() -> Any | None:
    """Return the module of compiled loops.

    None where numba is not installed or finds no place for its code, or where the loops do not keep every sum.
    """
    if os.environ.get("PARITY_COMPILED") == "0":
        return None
    try:
        compiled = importlib.import_module("parity.distance.compiled")
    except (ImportError, RuntimeError):
        return None
    return compiled if compiled.Kept._fields == _SUMS else None


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
