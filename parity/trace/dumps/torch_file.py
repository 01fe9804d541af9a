"""A tensor in a file of `torch.save`, without unpickling it.

The file is an uncompressed zip archive: `data.pkl`, a pickle that names storage, shape and strides, and
`data/0`, the bytes. A pickle may call any function, so this one is not executed. Its opcodes are read one by one,
and only those of a single tensor are understood; anything else is an error.
"""

from __future__ import annotations

import math
import pickletools
import reprlib
import struct
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from parity.dtypes import storage
from parity.errors import TraceError
from parity.trace.dumps.zipped import start_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Layout", "read_layout"]

_LONGEST_PICKLE: Final = 1 << 16
_STORAGES: Final = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip
_MOST_NUMBERS: Final = 1 + 2 * 64
_SIZES_BELOW: Final = 1 << 63
_SHORT: Final = reprlib.Repr()
_SHORT.maxlevel = 2
_MARK: Final = object()
_CONSTANTS: Final = {"MARK": _MARK, "NEWTRUE": True, "NEWFALSE": False, "NONE": None, "EMPTY_TUPLE": ()}


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


class Layout(NamedTuple):
    """A tensor as it lies in a file; `offset` is that of its first byte."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


def read_layout(file: BinaryIO, where: str) -> Layout:
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


def _layout(archive: zipfile.ZipFile, file: BinaryIO) -> Layout:
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
    item = storage(tensor.storage.dtype).itemsize
    end = tensor.offset + math.prod(tensor.shape)
    if not _contiguous(tensor) or tensor.offset < 0 or end * item > entry.file_size:
        message = (
            f"shape {list(tensor.shape)}, strides {list(tensor.strides)} at element {tensor.offset} of a storage of "
            f"{entry.file_size} bytes is no contiguous {tensor.storage.dtype} tensor; save it contiguous and unsliced"
        )
        raise ValueError(message)
    return Layout(
        dtype=tensor.storage.dtype,
        shape=tensor.shape,
        offset=_start(file, entry) + tensor.offset * item,
    )


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a small entry."""
    if entry.file_size > _LONGEST_PICKLE or entry.compress_type != zipfile.ZIP_STORED:
        message = f"{entry.filename} has {entry.file_size} bytes, or is compressed; expected one small tensor's"
        raise ValueError(message)
    return archive.read(entry)


def _start(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Return where in the file an entry's bytes begin, which torch.save never compresses."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        message = f"{entry.filename} is compressed or encrypted; torch.save stores plainly"
        raise ValueError(message)
    return start_of(file, entry)


def _contiguous(tensor: _Tensor) -> bool:
    """Tell whether the elements lie in C order without gaps; the stride of a single element may be any."""
    if len(tensor.shape) != len(tensor.strides):
        return False
    if 0 in tensor.shape:
        return True
    step = 1
    for length, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if length > 1 and stride != step:
            return False
        step *= length
    return True


@dataclass
class _Machine:
    """What the opcodes work on: the stack, and what was put aside under a number."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[Any, Any] = field(default_factory=dict)

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def keep(self, number: Any) -> None:
        """Put the topmost value aside."""
        self.memo[number] = self.stack[-1]

    def recall(self, number: Any) -> None:
        """Put on the stack what was put aside."""
        self.push(self.memo[number])

    def name(self, argument: Any) -> None:
        """Put on the stack what the pickle would import, as a name."""
        self.push(_Name(*str(argument).split(" ", 1)))

    def gather(self, count: int) -> None:
        """Make a tuple of the topmost values."""
        self.push(tuple(reversed([self.stack.pop() for _ in range(count)])))

    def gather_marked(self, _argument: Any) -> None:
        """Make a tuple of the values above the mark."""
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        self.push(tuple(reversed(items)))

    def find_storage(self, _argument: Any) -> None:
        """Put on the stack the storage that a persistent identity names.

        Raises:
            ValueError: it names anything else.
        """
        kind, typed, key, _location, _count = self.stack.pop()
        if kind != "storage" or not isinstance(typed, _Name) or typed.module != "torch" or typed.name not in _STORAGES:
            message = f"its storage is {_shown(typed)}; expected one of torch's {', '.join(_STORAGES)}"
            raise ValueError(message)
        self.push(_Storage(_STORAGES[typed.name], str(key)))

    def call(self, _argument: Any) -> None:
        """Put on the stack what one of the two allowed functions would return: a tensor, or no hooks.

        Raises:
            ValueError: it is another function, or another argument.
        """
        arguments, function = self.stack.pop(), self.stack.pop()
        if function == _Name("collections", "OrderedDict") and arguments == ():
            self.push(None)
            return
        tensor = None
        if function == _Name("torch._utils", "_rebuild_tensor_v2"):
            tensor = _rebuilt(arguments)
        if tensor is None:
            message = f"its pickle would call {_shown(function)}; only a tensor is read and nothing is unpickled"
            raise ValueError(message)
        self.push(tensor)


def _rebuilt(arguments: Any) -> _Tensor | None:
    """Return the tensor of the arguments of torch's function, or None where they are none of one."""
    of, offset, shape, strides, *_ = arguments
    numbers = (offset, *shape, *strides)
    if isinstance(of, _Storage) and len(numbers) <= _MOST_NUMBERS and all(map(_is_size, numbers)):
        return _Tensor(of, offset, tuple(shape), tuple(strides))
    return None


def _is_size(number: object) -> bool:
    """Tell whether something is an integer that can count elements; longer ones take long to multiply."""
    return type(number) is int and 0 <= number < _SIZES_BELOW


def _shown(value: object) -> str:
    """Return the beginning of a value; a kilobyte of references is a text without end, so it is not written out first."""
    return _SHORT.repr(value)[:80]


def _pushes(value: Any) -> Callable[[_Machine, Any], None]:
    """Return an opcode that puts a constant on the stack."""
    return lambda machine, _: machine.push(value)


def _gathers(count: int) -> Callable[[_Machine, Any], None]:
    """Return an opcode that makes a tuple of so many values."""
    return lambda machine, _: machine.gather(count)


def _nothing(_machine: _Machine, _argument: Any) -> None:
    """Do nothing."""


_OPCODES: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "PROTO": _nothing, "STOP": _nothing,
    **{name: _pushes(value) for name, value in _CONSTANTS.items()},
    "BINUNICODE": _Machine.push, "SHORT_BINUNICODE": _Machine.push,
    "BININT": _Machine.push, "BININT1": _Machine.push, "BININT2": _Machine.push, "LONG1": _Machine.push,
    "BINPUT": _Machine.keep, "LONG_BINPUT": _Machine.keep, "BINGET": _Machine.recall, "LONG_BINGET": _Machine.recall,
    "TUPLE1": _gathers(1), "TUPLE2": _gathers(2), "TUPLE3": _gathers(3),
    "TUPLE": _Machine.gather_marked,
    "GLOBAL": _Machine.name, "BINPERSID": _Machine.find_storage, "REDUCE": _Machine.call,
}  # fmt: skip
"""All opcodes that the pickle of one tensor needs."""


def _interpreted(data: bytes) -> _Tensor:
    """Return the tensor that a pickle describes, by its opcodes alone.

    Raises:
        ValueError: it describes anything else.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(data):
        step = _OPCODES.get(opcode.name)
        if step is None:
            message = f"its pickle has the opcode {opcode.name}, which no single tensor needs; nothing is unpickled"
            raise ValueError(message)
        step(machine, argument)
    if len(machine.stack) != 1 or not isinstance(machine.stack[0], _Tensor):
        message = f"it holds {_shown(machine.stack)}, which is no tensor"
        raise ValueError(message)
    return machine.stack[0]
