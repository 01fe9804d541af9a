"""The compiled loops where numba is installed (extra `[fast]`), and what stands between them and a pair of tensors.

They find what numpy finds, at twice its rate, but sums differ by rounding and importing numba takes longer than comparing
half a gigabyte without. So whoever plans a comparison decides from its size alone whether the loops are used, and the
same traces give the same numbers to the last digit however fast anything loads. PARITY_COMPILED=0 leaves them out.

    >>> pays(1 << 20), pays(1 << 30)
    (False, True)
    >>> raw(np.array([0x3F80], np.uint16), "bfloat16").dtype
    dtype('uint16')
"""

from __future__ import annotations

import importlib
import os
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parity.distance.sums import Moments

if TYPE_CHECKING:
    from parity.distance.tensor import Array, Tensor

__all__ = ["NARROW", "WORTH", "WORTH_BYTES", "kernels", "kernels_for", "pays", "raw", "start", "stored"]

WORTH: Final = 1 << 13
"""Elements from which a tensor takes the compiled path, where it is open."""

WORTH_BYTES: Final = 1 << 29
"""Bytes of such tensors, of both sides, from which a comparison is sooner done with the loops than without."""

NARROW: Final = frozenset({"float32", "float16", "bfloat16"})
"""Types that are subtracted in float32."""

_SUMS: Final = Moments.__struct_fields__[:-1]  # all but the unit


def pays(size_bytes: int) -> bool:
    """Tell whether the loops pay for a comparison of so many bytes in tensors of `WORTH` elements and more."""
    return size_bytes >= WORTH_BYTES


def start() -> None:
    """Begin to import the loops in a thread of their own; whoever needs them first waits for the rest."""
    threading.Thread(target=kernels, name="parity compiled loops", daemon=True).start()


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


def kernels_for(*tensors: Tensor, compiled: bool) -> Any | None:
    """Return the compiled loops if they are asked for, and these tensors large enough and of types that they know."""
    if not compiled or tensors[0].array.size < WORTH:
        return None
    types = {tensor.dtype for tensor in tensors}
    loops = kernels()
    if loops is None or not types <= loops.KNOWN:
        return None
    return loops


def raw(array: Array, name: str) -> Array:
    """Return an array whose blocks the loops take: read-only, float16 as int16."""
    seen = array.view()
    if name == "float16":
        seen = array.view(array.dtype.str.replace("f", "i"))
    seen.flags.writeable = False
    return seen


def stored(block: Array, name: str) -> Array:
    """Return a block that `raw` may have changed as it was."""
    if name == "float16":
        return block.view(np.float16)
    return block
