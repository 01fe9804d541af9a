"""Digests of a weight and of what commonly becomes of it, so that a checkpoint is audited without travelling.

The recorder stores for each parameter the digests of its layouts, each in its own type and rounded to the
coarser half types. Whoever loads the parameter elsewhere digests what it holds and looks the digest up:

    >>> import numpy as np
    >>> weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> known = digests(weight, "float32")
    >>> [name for name, text in known.items() if text == digest(np.ascontiguousarray(weight.T))]
    ['transpose/own']

A digest covers the elements' bytes alone, in C order and little endian; shape and type are kept beside it.
Limits: a layout that cannot differ (an axis of length one) is left out, and so is a rounding that is not
coarser than the type itself. -0.0 and 0.0 differ.
"""

from __future__ import annotations

import numpy as np
import xxhash

from parity.dtypes import is_coarser, narrow, widen

__all__ = ["ROUNDINGS", "SWAPS", "UNCHANGED", "digest", "digests", "layouts"]

ROUNDINGS = ("float16", "bfloat16")
UNCHANGED = "identity/own"
"""The form of a tensor as it stands."""
SWAPS = {"transpose": (1, 0), "transpose01": (1, 0, 2, 3), "transpose23": (0, 1, 3, 2)}
"""The orders of axes that are told, each for arrays of as many axes."""


def layouts(array: np.ndarray) -> dict[str, np.ndarray]:
    """Return views of `array` by the name of their layout, `identity` first."""
    found = {"identity": array}
    # Moving axes of length one changes no byte, so it is no layout of its own.
    longer = [axis for axis, length in enumerate(array.shape) if length > 1]
    for name, axes in SWAPS.items():
        if len(axes) == array.ndim and any(axes[axis] != axis for axis in longer):
            found[name] = array.transpose(axes)
    for axis in longer:
        found[f"flip{axis}"] = np.flip(array, axis)
    return found


def digest(array: np.ndarray) -> str:
    """Return the xxh3-128 of the elements' bytes in C order, little endian."""
    plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    return xxhash.xxh3_128_hexdigest(plain.reshape(-1).view(np.uint8).data)


def digests(array: np.ndarray, dtype: str) -> dict[str, str]:
    """Return `LAYOUT/ROUNDING` -> digest; `dtype` is the true type of `array` (bfloat16 is stored as uint16)."""
    found = {}
    for form, values in _forms(array, dtype).items():
        for layout, view in layouts(values).items():
            found[f"{layout}/{form}"] = digest(view)
    return found


def _forms(array: np.ndarray, dtype: str) -> dict[str, np.ndarray]:
    """Return `array` as it is, and rounded to each half type that is coarser than its own."""
    forms = {"own": array}
    for name in ROUNDINGS:
        if is_coarser(name, dtype):
            forms[name] = _rounded(array, dtype, name)
    return forms


def _rounded(array: np.ndarray, dtype: str, to: str) -> np.ndarray:
    """Return the values in a coarser type; what is too large for it becomes infinite."""
    wide = widen(array, dtype, "float64" if dtype == "float64" else "float32")
    with np.errstate(over="ignore"):
        return narrow(wide, to)
