"""A tensor in a file of `torch.save`, without unpickling it.

The file is an uncompressed zip archive: `data.pkl`, a pickle that names storage, shape and strides, and
`data/0`, the bytes. A pickle may call any function, so this one is not executed. Its opcodes are read one by one,
and only those of a single tensor are understood; anything else is an error.
"""

from __future__ import annotations

import math
import pickletools
import struct
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from parity.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read_layout"]

_LONGEST_PICKLE: Final = 1 << 16
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
_STORAGES: Final = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip
_ITEM_SIZES: Final = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1,
    "uint8": 1, "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
_MARK: Final = object()
_CONSTANTS: Final = {"MARK": _MARK, "NEWTRUE": True, "NEWFALSE": False, "NONE": None, "EMPTY_TUPLE": ()}
_LITERALS: Final = frozenset({"BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"})


class _Name(NamedTuple):
    """What the pickle would import."""

    module: str
    name: str


class _Storage(NamedTuple):
    """The bytes that a tensor lies in: type, and the entry of the archive."""

    dtype: str
    key: str


class _Tensor(NamedTuple):
    """A tensor as the pickle describes it, counted in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_layout(file: BinaryIO, where: str) -> tuple[str, tuple[int, ...], int]:
    """Return type, shape and the offset in `file` of a tensor's bytes.

    Raises:
        TraceError: the file is none of `torch.save`, or holds anything but one contiguous tensor.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return _layout(archive, file)
    except (zipfile.BadZipFile, ValueError, KeyError, IndexError, TypeError, OSError, EOFError) as error:
        message = f"{where} cannot be read as one tensor of torch.save: {error!s:.300}"
        raise TraceError(message) from error
    except (struct.error, NotImplementedError, OverflowError, RuntimeError) as error:
        message = f"{where} is no archive of torch.save: {error!s:.300}"
        raise TraceError(message) from error


def _layout(archive: zipfile.ZipFile, file: BinaryIO) -> tuple[str, tuple[int, ...], int]:
    """Return type, shape and offset of the archive's tensor."""
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        message = f"it has {len(pickles)} entries data.pkl; expected one"
        raise ValueError(message)
    root = pickles[0].removesuffix("data.pkl")
    order = entries.get(f"{root}byteorder")
    if order is not None and _content(archive, order) != b"little":
        message = "its bytes are not little endian"
        raise ValueError(message)
    tensor = _interpreted(_content(archive, entries[pickles[0]]))
    entry = entries[f"{root}data/{tensor.storage.key}"]
    item = _ITEM_SIZES[tensor.storage.dtype]
    count = math.prod(tensor.shape)
    if not _contiguous(tensor) or tensor.offset < 0 or (tensor.offset + count) * item > entry.file_size:
        message = (
            f"shape {list(tensor.shape)}, strides {list(tensor.strides)} at element {tensor.offset} of a storage of "
            f"{entry.file_size} bytes is no contiguous {tensor.storage.dtype} tensor; save it contiguous and unsliced"
        )
        raise ValueError(message)
    return tensor.storage.dtype, tensor.shape, _start(file, entry) + tensor.offset * item


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a small entry."""
    if entry.file_size > _LONGEST_PICKLE or entry.compress_type != zipfile.ZIP_STORED:
        message = f"{entry.filename} has {entry.file_size} bytes, or is compressed; expected one small tensor's"
        raise ValueError(message)
    return archive.read(entry)


def _start(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Return where in the file an uncompressed entry's bytes begin."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        message = f"{entry.filename} is compressed or encrypted; torch.save stores plainly"
        raise ValueError(message)
    file.seek(entry.header_offset)
    signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if signature != b"PK\3\4":
        message = f"{entry.filename} is not where the archive says"
        raise ValueError(message)
    return entry.header_offset + _LOCAL_HEADER.size + int(name) + int(extra)


def _contiguous(tensor: _Tensor) -> bool:
    """Tell whether the elements lie in C order without gaps."""
    if len(tensor.shape) != len(tensor.strides):
        return False
    step = 0 if 0 in tensor.shape else 1
    for length, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if step and length > 1 and stride != step:
            return False
        step *= length
    return True


def _interpreted(data: bytes) -> _Tensor:
    """Return the tensor that a pickle describes, by its opcodes alone.

    Raises:
        ValueError: it describes anything else.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name == "GLOBAL":
            stack.append(_Name(*str(argument).split(" ", 1)))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(argument)
        elif name in {"BINPUT", "LONG_BINPUT"}:
            memo[argument] = stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            stack.append(memo[argument])
        elif name in _COMBINATIONS:
            stack.append(_COMBINATIONS[name](stack))
        elif name not in {"PROTO", "STOP"}:
            message = f"its pickle has the opcode {name}, which no single tensor needs; nothing is unpickled"
            raise ValueError(message)
    if len(stack) != 1 or not isinstance(stack[0], _Tensor):
        message = f"it holds {stack!r:.80}, which is no tensor"
        raise ValueError(message)
    return stack[0]


def _marked(stack: list[Any]) -> tuple[Any, ...]:
    """Take a tuple's items from the stack, down to the mark."""
    items: list[Any] = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return tuple(reversed(items))


def _last(count: int) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Return what takes a tuple of `count` items from the stack."""
    return lambda stack: tuple(reversed([stack.pop() for _ in range(count)]))


def _storage(stack: list[Any]) -> _Storage:
    """Return the storage that the persistent identity on the stack names."""
    identity = stack.pop()
    kind, typed, key, _location, _count = identity
    if kind != "storage" or not isinstance(typed, _Name) or typed.module != "torch" or typed.name not in _STORAGES:
        message = f"its storage is {typed!r:.80}; expected one of torch's {', '.join(_STORAGES)}"
        raise ValueError(message)
    return _Storage(_STORAGES[typed.name], str(key))


def _called(stack: list[Any]) -> Any:
    """Return what one of the two allowed functions would: a tensor, or an empty dictionary of hooks."""
    arguments, function = stack.pop(), stack.pop()
    if function == _Name("torch._utils", "_rebuild_tensor_v2"):
        storage, offset, shape, strides, *_ = arguments
        numbers = (offset, *shape, *strides)
        if isinstance(storage, _Storage) and all(type(each) is int for each in numbers):
            return _Tensor(storage, offset, tuple(shape), tuple(strides))
    elif function == _Name("collections", "OrderedDict") and arguments == ():
        return None
    message = f"its pickle would call {function!r:.80}; only a tensor is read and nothing is unpickled"
    raise ValueError(message)


_COMBINATIONS: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "TUPLE": _marked, "TUPLE1": _last(1), "TUPLE2": _last(2), "TUPLE3": _last(3), "BINPERSID": _storage, "REDUCE": _called,
}  # fmt: skip
