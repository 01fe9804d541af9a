"""MindSpore's checkpoint files, read and written tensor by tensor.

A file is one protocol-buffer message, a repeated `Value` of a name and a tensor (dimensions, the type's name, the
numbers as bytes). MindSpore's own functions hold a whole file and copies of its tensors in memory; here a file is walked
with a few bytes of it in hand, and every tensor is read into, or written from, one array. A large tensor may be split
into consecutive values of the same name; a scalar has the one dimension 0.

Source: https://github.com/mindspore-ai/mindspore/blob/v2.3.1/mindspore/ccsrc/utils/checkpoint.proto
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mindone_sdxl.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from mindone_sdxl.arrays import Array

__all__ = ["read_checkpoint", "write_checkpoint"]

# Keys of fields: their number, and that a length and so many bytes follow (2) or a number (0).
_VALUE = _TAG = _PACKED_DIMENSIONS = b"\x0a"
_TENSOR = _TYPE = b"\x12"
_CONTENT = b"\x1a"
_DIMENSION = b"\x08"
_CHECKSUM = b"c"  # the first letter of what follows the message in a file with a checksum
_TYPES: Mapping[str, np.dtype[Any]] = {
    "Float64": np.dtype("<f8"),
    "Float32": np.dtype("<f4"),
    "Float16": np.dtype("<f2"),
    "BFloat16": np.dtype("<u2"),
    "Int64": np.dtype("<i8"),
    "Int32": np.dtype("<i4"),
    "UInt8": np.dtype("|u1"),
    "Bool": np.dtype("|b1"),
}
_NAMES = {dtype: name for name, dtype in _TYPES.items() if name != "BFloat16"}
_LARGEST = 1 << 29


def write_checkpoint(path: Path, tensors: Iterable[tuple[str, Array]], *, largest: int = _LARGEST) -> None:
    """Write tensors, each taken from the iterable when it is its turn.

    Args:
        largest: bytes of a tensor in one value; more are split.

    Raises:
        WeightsError: a tensor has a type that a checkpoint does not hold.
    """
    with path.open("wb") as file:
        for name, value in tensors:
            if value.dtype not in _NAMES:
                message = f"{path}: {name} has type {value.dtype}; expected one of {', '.join(map(str, _NAMES))}"
                raise WeightsError(message)
            tag = _TAG + _sized(name.encode())
            dimensions = b"".join(_DIMENSION + _number(length) for length in value.shape or (0,))
            head = dimensions + _TYPE + _sized(_NAMES[value.dtype].encode()) + _CONTENT
            content = memoryview(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
            for start in range(0, max(len(content), 1), largest):
                part = content[start : start + largest]
                tensor = head + _number(len(part))
                opening = tag + _TENSOR + _number(len(tensor) + len(part)) + tensor
                file.write(_VALUE + _number(len(opening) + len(part)) + opening)
                file.write(part)


def read_checkpoint(path: Path) -> dict[str, Array]:
    """The tensors of a checkpoint; bfloat16, which numpy lacks, widened to float32.

    Raises:
        WeightsError: the file is damaged, or not a checkpoint.
    """
    try:
        with path.open("rb") as file:
            return dict(_tensors(file, path.stat().st_size))
    except (OSError, ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        message = f"{path} is not a MindSpore checkpoint: {error}"
        raise WeightsError(message) from error


def _tensors(file: BinaryIO, size: int) -> Iterator[tuple[str, Array]]:
    name, buffer, filled, kind = "", np.empty(0, np.uint8), 0, ""
    shape: tuple[int, ...] = ()
    while True:
        key = file.read(1)
        if filled == len(buffer) and name:
            yield name, _finished(buffer, shape, kind)
            name = ""
        if not key or key == _CHECKSUM:
            break
        _expect(key == _VALUE, "a value was expected")
        end = _length(file, size)
        _expect(file.read(1) == _TAG, "a name was expected")
        tag = file.read(_length(file, end) - file.tell()).decode()
        _expect(file.read(1) == _TENSOR, f"{tag} is no tensor")
        _expect(_length(file, end) == end, f"{tag} has parts that are not known")
        found, kind = _description(file, end)
        count = _length(file, end) - file.tell()
        if not name:
            name, shape, filled = tag, found, 0
            _expect(math.prod(shape) * _TYPES[kind].itemsize <= size, f"{name} is larger than the file")
            buffer = np.empty(math.prod(shape) * _TYPES[kind].itemsize, np.uint8)
        _expect(tag == name and found == shape, f"{name} is not complete")
        _expect(filled + count <= len(buffer) and file.tell() + count == end, f"{name} has another size than its shape")
        read = file.readinto(buffer.data[filled : filled + count])  # type: ignore[attr-defined]
        _expect(read == count, f"{name} is cut off")
        filled += count
    _expect(not name, f"{name} is not complete")


def _description(file: BinaryIO, end: int) -> tuple[tuple[int, ...], str]:
    """Shape and type of a tensor; the file is left where the length of its content stands."""
    dimensions: list[int] = []
    kind = ""
    while (key := file.read(1)) != _CONTENT:
        if key == _DIMENSION:
            dimensions.append(_read_number(file))
        elif key == _PACKED_DIMENSIONS:
            stop = _length(file, end)
            while file.tell() < stop:
                dimensions.append(_read_number(file))
        elif key == _TYPE:
            kind = file.read(_length(file, end) - file.tell()).decode()
        else:
            _expect(condition=False, what="a tensor has parts that are not known")
    _expect(kind in _TYPES, f"type {kind!r} is not read; expected one of {', '.join(_TYPES)}")
    return (() if dimensions == [0] else tuple(dimensions)), kind


def _finished(buffer: Array, shape: tuple[int, ...], kind: str) -> Array:
    value: Array = buffer.view(_TYPES[kind]).reshape(shape)
    return (value.astype(np.uint32) << 16).view(np.float32) if kind == "BFloat16" else value


def _expect(condition: bool, what: str) -> None:  # noqa: FBT001
    if not condition:
        raise ValueError(what)


def _length(file: BinaryIO, end: int) -> int:
    """Where the field ends whose length stands here."""
    length = _read_number(file)
    stop = file.tell() + length
    _expect(stop <= end, f"a field of {length} bytes does not fit")
    return stop


def _read_number(file: BinaryIO) -> int:
    number, shift = 0, 0
    while True:
        byte = file.read(1)
        _expect(bool(byte) and shift < 64, "a number is cut off")
        number |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            return number


def _number(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _sized(content: bytes) -> bytes:
    return _number(len(content)) + content
