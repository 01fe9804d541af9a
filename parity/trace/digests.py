"""The digest of a tensor: equal digests mean equal type, shape and bytes.

It is xxh3-128 over the ASCII text `TYPE[D0,D1,…]` and then the elements in C order, little endian:

    >>> import numpy as np
    >>> digest(np.zeros((2, 3), np.float32), "float32") == digest(np.zeros((3, 2), np.float32), "float32")
    False
    >>> digest(np.arange(3, dtype=">i4"), "int32") == digest(np.arange(3, dtype="<i4"), "int32")
    True

-0.0 and 0.0 differ, and so do two NaN of different bits: the digest is about bytes, not about values.
"""

from __future__ import annotations

import numpy as np
import xxhash

from parity.dtypes import storage

__all__ = ["canonical", "digest", "type_name"]


def type_name(array: np.ndarray) -> str:
    """Return the name of an array's type as parity.dtypes spells it; the array's own name where it has none."""
    return array.dtype.name


def canonical(array: np.ndarray, name: str) -> np.ndarray:
    """Return `array` in its storage form: C order, little endian; the same object where it is so already.

    Raises:
        ValueError: the array's type is not the storage type of `name`.
    """
    wanted = storage(name)
    if array.dtype != wanted and array.dtype.newbyteorder("<") != wanted:
        message = f"the array is {array.dtype.name} and not {wanted.name}, the storage type of {name}"
        raise ValueError(message)
    return np.asarray(array, dtype=wanted, order="C")


def digest(array: np.ndarray, name: str) -> str:
    """Return the xxh3-128 of type, shape and bytes; `name` is the true type (`bfloat16` for its uint16).

    Raises:
        ValueError: the array's type is not the storage type of `name`.
    """
    array = canonical(array, name)
    hasher = xxhash.xxh3_128(f"{name}[{','.join(map(str, array.shape))}]".encode())
    if array.size:
        hasher.update(array.reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()
