"""What a pickle of `torch.save` describes, without unpickling it.

A pickle is a program that may call any function, so it is not run. Its opcodes are read one by one, and only those that make
dictionaries, lists, numbers, texts and tensors do anything; whatever else a pickle would call is a value of which nothing is
known but the name. The number of opcodes is bounded, and nobody walks further into the result than `leaves` does.
"""

from __future__ import annotations

import pickletools
import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["STORAGES", "Storage", "Tensor", "Unknown", "interpreted", "leaves", "shown"]

STORAGES: Final = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip
_UNTYPED: Final = "UntypedStorage"
_MOST_OPCODES: Final = 1 << 20
"""A tensor needs about thirty."""

_MOST_LEAVES: Final = 1 << 18
_DEEPEST: Final = 64
_LONGEST_NAME: Final = 4096
_MOST_NUMBERS: Final = 1 + 2 * 64
_SIZES_BELOW: Final = 1 << 63
_SHORT: Final = reprlib.Repr()
_SHORT.maxlevel = 2
_MARK: Final = object()
_KEYS: Final = (str, int, float, bool, type(None))


class _Name(NamedTuple):
    """What the pickle would import."""

    module: str
    name: str


class Storage(NamedTuple):
    """The bytes that a tensor lies in: the type of its elements, empty where the tensor tells it, and the entry of the archive."""

    dtype: str
    key: str


class Tensor(NamedTuple):
    """A tensor as the pickle describes it, counted in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Unknown(NamedTuple):
    """Something that the pickle would make by calling what is not called; `reason` says what."""

    reason: str


def shown(value: object) -> str:
    """Return the beginning of a value; a kilobyte of references is a text without end, so it is not written out first."""
    return _SHORT.repr(value)[:80]


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what lies in nested dictionaries and lists, each with the keys that lead there, joined by dots.

    Raises:
        ValueError: it is nested too deeply, or there is no end of it.
    """
    waiting = [("", value, 0)]
    for _ in range(_MOST_LEAVES):
        if not waiting:
            return
        path, each, depth = waiting.pop()
        inner = _items(each)
        if inner is None:
            yield path, each
        elif depth == _DEEPEST:
            message = f"it is nested more than {_DEEPEST} deep"
            raise ValueError(message)
        elif len(waiting) + len(inner) > _MOST_LEAVES:
            break
        else:
            waiting += [(_joined(path, key), item, depth + 1) for key, item in reversed(inner)]
    message = f"it holds more than {_MOST_LEAVES} values"
    raise ValueError(message)


def _joined(path: str, key: Any) -> str:
    """Return the path of what lies under a key, in letters that can be written down.

    Raises:
        ValueError: it is longer than any name.
    """
    name = f"{path}.{key}" if path else str(key)
    if len(name) > _LONGEST_NAME:
        message = f"a name in it has more than {_LONGEST_NAME} letters: {shown(name)}"
        raise ValueError(message)
    return name.encode("utf-8", "backslashreplace").decode()


def _items(value: Any) -> list[tuple[Any, Any]] | None:
    """Return what a dictionary or a list holds under which key; None for anything else."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list) or type(value) is tuple:
        return list(enumerate(value))
    return None


def interpreted(data: bytes) -> Any:
    """Return what a pickle describes, by its opcodes alone.

    Raises:
        ValueError: it has an opcode that neither tensors nor what holds them need, or too many of them.
        IndexError, KeyError, TypeError: it is damaged.
    """
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        step = _OPCODES.get(opcode.name)
        if step is None:
            message = f"its pickle has the opcode {opcode.name}, which no tensor needs; nothing is unpickled"
            raise ValueError(message)
        if count >= _MOST_OPCODES:
            message = f"its pickle has more than {_MOST_OPCODES} opcodes"
            raise ValueError(message)
        step(machine, argument)
    if len(machine.stack) != 1:
        message = f"its pickle leaves {len(machine.stack)} values; expected one"
        raise ValueError(message)
    return machine.stack[0]


@dataclass
class _Machine:
    """What the opcodes work on: the stack, and what was put aside under a number."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[Any, Any] = field(default_factory=dict)

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def push_dict(self, _argument: Any) -> None:
        """Put an empty dictionary on the stack."""
        self.push({})

    def push_list(self, _argument: Any) -> None:
        """Put an empty list on the stack."""
        self.push([])

    def keep(self, number: Any) -> None:
        """Put the topmost value aside."""
        self.memo[number] = self.stack[-1]

    def keep_next(self, _argument: Any) -> None:
        """Put the topmost value aside under the next number."""
        self.memo[len(self.memo)] = self.stack[-1]

    def recall(self, number: Any) -> None:
        """Put on the stack what was put aside."""
        self.push(self.memo[number])

    def drop(self, _argument: Any) -> None:
        """Drop the topmost value: the state of an object, which says nothing of its tensors."""
        self.stack.pop()

    def name(self, argument: Any) -> None:
        """Put on the stack what the pickle would import, as a name."""
        self.push(_Name(*str(argument).split(" ", 1)))

    def name_of_two(self, _argument: Any) -> None:
        """Put on the stack what the pickle would import, whose module and name lie there."""
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            message = "its pickle would import something without a name"
            raise TypeError(message)
        self.push(_Name(module, name))

    def gather(self, count: int) -> None:
        """Make a tuple of the topmost values."""
        self.push(tuple(reversed([self.stack.pop() for _ in range(count)])))

    def gather_marked(self, _argument: Any) -> None:
        """Make a tuple of the values above the mark."""
        self.push(tuple(self._marked()))

    def append(self, _argument: Any) -> None:
        """Put a value at the end of the list below it."""
        value = self.stack.pop()
        self._extend([value])

    def append_marked(self, _argument: Any) -> None:
        """Put the values above the mark at the end of the list below it."""
        self._extend(self._marked())

    def set(self, _argument: Any) -> None:
        """Put a value under a key of the dictionary below both."""
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def set_marked(self, _argument: Any) -> None:
        """Put the values above the mark, a key before each, into the dictionary below it."""
        self._update(self._marked())

    def find_storage(self, _argument: Any) -> None:
        """Put on the stack the storage that a persistent identity names, or that it names none of torch's."""
        kind, typed, key, _location, _count = self.stack.pop()
        found: Storage | Unknown = Unknown(
            f"its storage is {shown(typed)}; expected one of torch's {', '.join(STORAGES)}"
        )
        if isinstance(kind, str) and kind == "storage" and isinstance(typed, _Name) and isinstance(key, str):
            if typed == ("torch.storage", _UNTYPED):
                found = Storage("", key)
            elif typed.module == "torch" and typed.name in STORAGES:
                found = Storage(STORAGES[typed.name], key)
        self.push(found)

    def call(self, _argument: Any) -> None:
        """Put on the stack what one of the functions that make tensors would return, or that it would be another one."""
        arguments, function = self.stack.pop(), self.stack.pop()
        made = None
        if isinstance(function, _Name):
            maker: Callable[[Any], Any] = _MAKERS.get(function, _no_maker)
            made = maker(arguments)
        if made is None:
            made = Unknown(f"its pickle would call {_called(function)}; only tensors are read and nothing is unpickled")
        self.push(made)

    def _marked(self) -> list[Any]:
        """Take the values above the mark, and the mark."""
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        items.reverse()
        return items

    def _extend(self, values: list[Any]) -> None:
        """Put values at the end of the list on the stack; of an object that is not made, nothing is kept."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Unknown):
            message = f"its pickle appends to {shown(target)}"
            raise TypeError(message)

    def _update(self, values: list[Any]) -> None:
        """Put values, a key before each, into the dictionary on the stack; of an object that is not made, nothing is kept."""
        target = self.stack[-1]
        keys = values[::2]
        if not all(type(key) in _KEYS for key in keys):
            message = "a key of its dictionaries is neither text nor number"
            raise ValueError(message)
        if isinstance(target, dict):
            target.update(zip(keys, values[1::2], strict=True))
        elif not isinstance(target, Unknown):
            message = f"its pickle puts something under a key of {shown(target)}"
            raise TypeError(message)


def _called(function: object) -> str:
    """Return how a function is called that the pickle would call."""
    if isinstance(function, _Name):
        return f"{function.module}.{function.name}"[:80]
    return shown(function)


def _no_maker(_arguments: Any) -> None:
    """Make nothing of the arguments of a function that is not known."""


def _dictionary(arguments: Any) -> dict[Any, Any] | None:
    """Return an empty ordered dictionary; as torch makes them, they are filled afterwards."""
    if arguments != ():
        return None
    return {}


def _tensor(arguments: Any) -> Tensor | Unknown | None:
    """Return the tensor of the arguments of torch's function, or None where they are none of one."""
    of, offset, shape, strides, *_ = arguments
    if isinstance(of, Unknown):
        return of
    numbers = (offset, *shape, *strides)
    if isinstance(of, Storage) and len(numbers) <= _MOST_NUMBERS and all(map(_is_size, numbers)):
        return Tensor(of, offset, tuple(shape), tuple(strides))
    return None


def _typed_tensor(arguments: Any) -> Tensor | Unknown | None:
    """Return the tensor of a storage without a type, whose type is an argument of its own."""
    *given, dtype = arguments[:7]
    found = _tensor(given)
    if not isinstance(found, Tensor) or not isinstance(dtype, _Name) or dtype.module != "torch":
        return None
    return found._replace(storage=Storage(dtype.name, found.storage.key))


def _parameter(arguments: Any) -> Any:
    """Return the tensor that a parameter is made of, as it is."""
    of = arguments[0]
    if not isinstance(of, Tensor | Unknown):
        return None
    return of


def _is_size(number: object) -> bool:
    """Tell whether something is an integer that can count elements; longer ones take long to multiply."""
    return type(number) is int and 0 <= number < _SIZES_BELOW


_MAKERS: Final[dict[_Name, Callable[[Any], Any]]] = {
    _Name("collections", "OrderedDict"): _dictionary,
    _Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    _Name("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
    _Name("torch._utils", "_rebuild_parameter"): _parameter,
}
"""The functions whose results are known without calling them."""


def _pushes(value: Any) -> Callable[[_Machine, Any], None]:
    """Return an opcode that puts a constant on the stack."""
    return lambda machine, _: machine.push(value)


def _gathers(count: int) -> Callable[[_Machine, Any], None]:
    """Return an opcode that makes a tuple of so many values."""
    return lambda machine, _: machine.gather(count)


def _nothing(_machine: _Machine, _argument: Any) -> None:
    """Do nothing."""


_CONSTANTS: Final = {"MARK": _MARK, "NEWTRUE": True, "NEWFALSE": False, "NONE": None, "EMPTY_TUPLE": ()}
_GIVEN: Final = (
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINBYTES",
    "BINBYTES", "SHORT_BINSTRING", "BINSTRING",
)  # fmt: skip
"""Opcodes that put their argument on the stack."""

_OPCODES: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    **{name: _pushes(value) for name, value in _CONSTANTS.items()},
    **dict.fromkeys(_GIVEN, _Machine.push),
    "PROTO": _nothing, "FRAME": _nothing, "STOP": _nothing,
    "BINPUT": _Machine.keep, "LONG_BINPUT": _Machine.keep, "MEMOIZE": _Machine.keep_next,
    "BINGET": _Machine.recall, "LONG_BINGET": _Machine.recall,
    "EMPTY_DICT": _Machine.push_dict, "SETITEM": _Machine.set, "SETITEMS": _Machine.set_marked,
    "EMPTY_LIST": _Machine.push_list, "APPEND": _Machine.append, "APPENDS": _Machine.append_marked,
    "TUPLE1": _gathers(1), "TUPLE2": _gathers(2), "TUPLE3": _gathers(3), "TUPLE": _Machine.gather_marked,
    "GLOBAL": _Machine.name, "STACK_GLOBAL": _Machine.name_of_two, "BINPERSID": _Machine.find_storage,
    "REDUCE": _Machine.call, "NEWOBJ": _Machine.call, "BUILD": _Machine.drop,
}  # fmt: skip
"""All opcodes that tensors need, and what holds them."""
