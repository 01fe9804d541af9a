"""Tensors cut into blocks that fit a core's cache, and their lossless way to float32 or float64.

A distance is computed block by block: a block of every tensor of a pair is widened into a scratch buffer of
this thread, worked on while it is in the cache, and forgotten. So memory is bounded by the scratch, whatever
the tensor's size.

    >>> x = np.arange(6, dtype=">f4").reshape(2, 3).T
    >>> [block.tolist() for (block,) in blocks([x], 4)]
    [[0.0, 3.0, 1.0, 4.0], [2.0, 5.0]]

Half types are widened by integer arithmetic: numpy converts float16 at 1 GB/s, a shift and a multiplication
by 2**112 do it at 4, and float32 to float64 costs little beside it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import numpy as np

from parity.distance.tensor import Tensor
from parity.distance.window import Reading
from parity.dtypes import widen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from parity.distance.tensor import Array, Watch

__all__ = [
    "BLOCK",
    "BLOCK64",
    "Scratch",
    "blocks",
    "blocks_of",
    "is_beyond_half",
    "load32",
    "load32_unordered",
    "load64",
    "load_pair",
    "scratch",
    "widest",
]

BLOCK: Final = 1 << 18
"""Elements in a block of float32. Threads hand over the interpreter's lock at every call of numpy: with blocks of a
megabyte two threads are 1.5 times as fast as with a quarter of it, and one thread is as fast."""

BLOCK64: Final = 1 << 16
"""Elements in a block of float64, of which four buffers are in use at once."""

_UPPER: Final = np.uint32(0xFFFF0000)
_HALF_SCALE: Final = np.float32(2.0**112)
_HALF_MAGNITUDE: Final = np.uint16(0x7FFF)
_HALF_INFINITY: Final = np.uint16(0x7C00)
_NARROW: Final = frozenset({"float32", "float16", "bfloat16"})
_HALF_BITS: Final = np.int32(-0x70002000)  # sign, five bits of exponent, ten of mantissa, in float32's places


class Scratch:
    """The buffers of one thread: four of each width, and one for integers."""

    __slots__ = ("double", "single", "words")

    def __init__(self) -> None:
        """Allocate them once."""
        self.double = np.empty((4, BLOCK64), np.float64)
        self.single = np.empty((4, BLOCK), np.float32)
        self.words = np.empty(BLOCK, np.int32)


class _Local(threading.local):
    """What every thread has for itself, made when it first asks."""

    def __init__(self) -> None:
        """Allocate the buffers of a thread."""
        self.scratch = Scratch()


_local = _Local()


def scratch() -> Scratch:
    """Return this thread's buffers."""
    return _local.scratch


def blocks(arrays: Sequence[Array], size: int = BLOCK, watch: Watch = ()) -> Iterator[tuple[Array, ...]]:
    """Yield the same stretch of every array, flat and in native byte order, at most `size` elements.

    Arrays that lie contiguous in native order are sliced without a copy, and `watch` hears the slices; others go through
    a buffer, unheard.
    """
    if all(array.flags.c_contiguous and array.dtype.isnative for array in arrays):
        flat = [array.reshape(-1) for array in arrays]
        reading, end = Reading(flat), flat[0].size
        for start in range(0, end, size):
            stop = min(start + size, end)
            reading.note(start, stop)
            group = tuple([array[start:stop] for array in flat])
            for hear, stretch in zip(watch, group, strict=False):
                hear(stretch)
            yield group
    else:
        yield from _buffered(arrays, size)


def _buffered(arrays: Sequence[Array], size: int) -> Iterator[tuple[Array, ...]]:
    """Yield the same of arrays that lie otherwise, through a buffer."""
    iterator = np.nditer(
        list(arrays),
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readonly"]] * len(arrays),
        op_dtypes=[array.dtype.newbyteorder("=") for array in arrays],
        order="C",
        buffersize=size,
    )
    for chunk in iterator:
        if isinstance(chunk, tuple):
            yield chunk
        else:
            yield (chunk,)  # numpy leaves out the tuple around one array


def blocks_of(tensors: Sequence[Tensor], size: int, watch: Watch = ()) -> Iterator[list[Tensor]]:
    """Yield the same stretch of every tensor, as `blocks` does of arrays."""
    names = [tensor.dtype for tensor in tensors]
    for group in blocks([tensor.array for tensor in tensors], size, watch):
        yield list(map(Tensor, group, names))


def load32(block: Array, name: str, out: Array, words: Array) -> Array:
    """Return `block`, of type `name` (float32 or narrower), as float32, in `out` unless it is float32 already.

    A float16 infinity or NaN becomes a finite number of 2**16 or more: `is_beyond_half` tells.
    """
    if name == "float32":
        return block
    size = block.size
    out = out[:size]
    if name == "bfloat16":
        bits = out.view(np.uint32)
        np.copyto(bits, block.view(np.uint16))
        np.left_shift(bits, 16, out=bits)
        return out
    words = words[:size]
    np.copyto(words, block.view(np.int16))
    np.left_shift(words, 13, out=words)
    np.bitwise_and(words, _HALF_BITS, out=words)
    np.multiply(words.view(np.float32), _HALF_SCALE, out=out)
    return out


def load32_unordered(block: Array, out: Array) -> Array:
    """Return the elements of a bfloat16 block as float32 in `out`: those at even places first, then the others.

    Two numbers lie in a word: one shift and one mask of half as many words widen them all. The block's size
    is even.
    """
    words = block.view(np.uint32)
    half = words.size
    bits = out.view(np.uint32)
    np.left_shift(words, 16, out=bits[:half])
    np.bitwise_and(words, _UPPER, out=bits[half : 2 * half])
    return out[: 2 * half]


def load64(block: Array, name: str, out: Array) -> Array:
    """Return `block`, of type `name`, as float64, in `out` unless it is float64 already; infinities and NaN stay."""
    if name == "float64":
        return block
    out = out[: block.size]
    if name in {"float16", "bfloat16"}:
        block = _load_half(block, name)
    np.copyto(out, block, casting="unsafe")
    return out


def _load_half(block: Array, name: str) -> Array:
    """Return a block of a half type as a type that numpy widens fast, or as it is."""
    if block.size > BLOCK or not block.dtype.isnative:
        return widen(block, name)
    room = scratch()
    if name == "float16" and is_beyond_half(block, room):
        return block
    return load32(block, name, room.single[3], room.words)


def is_beyond_half(block: Array, room: Scratch) -> bool:
    """Tell whether a float16 block holds an infinity or a NaN, which `load32` cannot widen; uses `room.words`."""
    bits = np.bitwise_and(block.view(np.uint16), _HALF_MAGNITUDE, out=room.words.view(np.uint16)[: block.size])
    return bool(np.maximum.reduce(bits, initial=0) >= _HALF_INFINITY)


def load_pair(first: Array, second: Array, names: tuple[str, str]) -> tuple[Array, Array]:
    """Return two blocks as float32 where their types allow it, else as float64; infinities and NaN stay.

    float32 blocks are returned as they are, the half types in two float32 buffers of this thread.
    """
    if names in {("float32", "float32"), ("float64", "float64")}:
        return first, second
    one, other = names
    room = scratch()
    if not _NARROW.issuperset(names) or _hides(first, one, room) or _hides(second, other, room):
        return widest(first, one), widest(second, other)
    return load32(first, one, room.single[1], room.words), load32(second, other, room.single[2], room.words)


def _hides(block: Array, name: str, room: Scratch) -> bool:
    """Tell whether `load32` would hide that something in a block is not finite."""
    return name == "float16" and is_beyond_half(block, room)


def widest(block: Array, name: str) -> Array:
    """Return a block as float64 or complex128: a fresh copy, or a float64 block as it is."""
    if name.startswith("complex"):
        return block.astype(np.complex128)
    return load64(block, name, np.empty(block.size))
