"""A model's parameters between a file, a candidate's type and the type that the reference loaded them in.

>>> address_of("unet.conv_in.weight")
'unet.conv_in:weight'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parity.address import Address
from parity.dtypes import is_coarser, is_float, narrow, storage, widen

if TYPE_CHECKING:
    from parity.trace.schema import Manifest

__all__ = ["address_of", "in_recorded_type", "rounded_as_loaded"]


def address_of(name: str) -> str:
    """Return the address of a parameter that the reference's file calls `name`: its module, a dot, and its own name."""
    path, _, parameter = name.rpartition(".")
    return str(Address(path=path, port=parameter))


def rounded_as_loaded(array: np.ndarray, manifest: Manifest, address: str) -> np.ndarray:
    """Return a parameter of a file, rounded as the reference's was when it loaded the file in a half type.

    Without that, a float16 case would compare two checkpoints and not two programs.
    """
    coarser = _coarser(array, manifest, address)
    return array if coarser is None else widen(narrow(array, coarser), coarser, str(array.dtype))


def in_recorded_type(array: np.ndarray, manifest: Manifest, address: str) -> np.ndarray:
    """Return a parameter of a model in the type that the reference recorded it in, where nothing is lost by it.

    A model may have widened the floats of a half type, and has integers in the type that its operators take.
    """
    coarser = _coarser(array, manifest, address)
    if coarser is not None:
        return narrow(array, coarser)
    known = manifest.buffers.get(address)
    if known is None or is_float(known.dtype):
        return array
    integers = array.astype(storage(known.dtype))
    return integers if np.array_equal(integers, array) else array


def _coarser(array: np.ndarray, manifest: Manifest, address: str) -> str | None:
    """Return the reference's type of a parameter where that is a floating type coarser than the array's."""
    known = manifest.weights.get(address) or manifest.buffers.get(address)
    if known is None or not is_coarser(known.dtype, str(array.dtype)):
        return None
    return known.dtype
