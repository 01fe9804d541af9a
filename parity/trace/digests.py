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

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import xxhash

from parity.distance.window import Reading
from parity.dtypes import storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["RunningMark", "canonical", "digest", "digest_of_case", "mark", "marks", "storage_of"]

_storage = lru_cache(maxsize=None)(storage)
_COPIED_BELOW = 1 << 12
_STRETCH_BYTES = 1 << 20


def storage_of(array: NDArray[Any], name: str) -> np.dtype[np.generic]:
    """Return the storage type of `name`, having checked that the array has it in either byte order.

    Raises:
        ValueError: the array's type is not the storage type of `name`.
    """
    wanted = _storage(name)
    if array.dtype != wanted and array.dtype.newbyteorder("<") != wanted:
        message = f"the array is {array.dtype.name} and not {wanted.name}, the storage type of {name}"
        raise ValueError(message)
    return wanted


def canonical(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Return `array` in its storage form: C order, little endian; a view where it is so already.

    Raises:
        ValueError: the array's type is not the storage type of `name`.
    """
    return np.asarray(array, dtype=storage_of(array, name), order="C")


def digest(array: NDArray[Any], name: str) -> str:
    """Return the xxh3-128 of type, shape and bytes; `name` is the true type (`bfloat16` for its uint16).

    Raises:
        ValueError: the array's type is not the storage type of `name`.
    """
    return mark(canonical(array, name), name)


def mark(array: NDArray[Any], name: str) -> str:
    """Return the digest of an array that is in its storage form already."""
    head = _head(name, array.shape)
    if array.nbytes <= _COPIED_BELOW:
        return xxhash.xxh3_128_hexdigest(head + array.tobytes())
    running = RunningMark(name, array.shape)
    flat = array.reshape(-1)
    # A stretch at a time, so that of a mapped file only a stretch counts as memory of the process.
    reading, step = Reading([flat]), _STRETCH_BYTES // array.itemsize
    for start in range(0, flat.size, step):
        stop = min(start + step, flat.size)
        reading.note(start, stop)
        running.update(flat[start:stop])
    return running.hexdigest()


class RunningMark:
    """The digest of a tensor whose elements come in stretches."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        """Begin with none."""
        self._hasher = xxhash.xxh3_128(_head(name, shape))
        self.missing = math.prod(shape)

    def update(self, stretch: NDArray[Any]) -> None:
        """Take the next elements, in their storage form."""
        self._hasher.update(stretch.data)
        self.missing -= stretch.size

    def hexdigest(self) -> str:
        """Return the digest, once no element is missing."""
        return self._hasher.hexdigest()


def marks(flat: NDArray[Any], name: str, shapes: Sequence[tuple[int, ...]], ends: Sequence[int]) -> list[str]:
    """Return the digests of small tensors that lie end to end; `ends` says at which byte each ends."""
    data = flat.tobytes()
    heads = {shape: _head(name, shape) for shape in set(shapes)}
    places = zip(shapes, (0, *ends), ends, strict=False)
    return [xxhash.xxh3_128_hexdigest(heads[shape] + data[start:end]) for shape, start, end in places]


@lru_cache(maxsize=4096)
def _head(name: str, shape: tuple[int, ...]) -> bytes:
    """Return the text before the elements."""
    return f"{name}[{','.join(map(str, shape))}]".encode()


def digest_of_case(case: dict[str, Any]) -> str:
    """Return the identity of a case: the xxh3-128 of its JSON with sorted keys and without spaces."""
    return xxhash.xxh3_128_hexdigest(msgspec.json.encode(case, order="sorted"))
