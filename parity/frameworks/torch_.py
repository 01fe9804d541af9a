"""torch seen from the harness: tensors as numpy arrays, and hooks on modules that report every call.

    with watched({"unet.conv_in": unet.conv_in}, taps):
        unet(...)

hands each call's inputs and outputs to `taps` (see parity.taps), children before parents. Hooks read and
copy; they change no value, no random state and no order of work, and they are gone when the block is left.
Inputs are copied when the call begins, because a module may change them in place. A tensor that is the
output of one module and the input of the next is copied once.

bfloat16 travels as uint16 beside its name. Limits: forward hooks do not fire inside a compiled module; a
tensor inside an object that is neither tuple, list, mapping nor dataclass is not seen.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch

from parity.address import Address
from parity.dtypes import is_float, widen
from parity.taps import rebuild

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from parity.taps import Call, Taps

__all__ = [
    "TYPES",
    "Observation",
    "Signature",
    "Snapshots",
    "View",
    "buffers_of",
    "flatten",
    "observed",
    "rebuild",
    "to_numpy",
    "to_tensor",
    "watched",
    "weights_of",
    "wide_tensor",
]

TYPES: Final[dict[str, torch.dtype]] = {
    "float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "int64": torch.int64, "int32": torch.int32, "int16": torch.int16, "int8": torch.int8, "uint8": torch.uint8,
    "bool": torch.bool, "complex64": torch.complex64, "complex128": torch.complex128,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in TYPES.items()}
_PLAIN = (bool, int, float, str, type(None))
_KEPT_TENSORS: Final = 2
_KEPT_BYTES: Final = 64 << 20


def to_numpy(tensor: torch.Tensor) -> tuple[np.ndarray, str]:
    """Return a copy of a tensor in C order on the host, and the name of its type.

    Raises:
        TypeError: the type has no numpy form.
    """
    name = _NAMES.get(tensor.dtype)
    if name is None:
        message = f"a tensor of {tensor.dtype} cannot be recorded; the types are {', '.join(TYPES)}"
        raise TypeError(message)
    copy = torch.empty(tensor.shape, dtype=tensor.dtype)
    copy.copy_(tensor.detach())
    if name == "bfloat16":  # which numpy does not know
        copy = copy.view(torch.uint16)
    return copy.numpy(), name


def to_tensor(array: np.ndarray, name: str) -> torch.Tensor:
    """Return a tensor with its own memory from an array whose true type is `name`."""
    copy = torch.from_numpy(np.array(array, order="C"))
    if name == "bfloat16":
        copy = copy.view(torch.bfloat16)
    return copy


def wide_tensor(array: np.ndarray, name: str) -> torch.Tensor:
    """Return a tensor in float64 if `name` is a floating type, else as it is."""
    if not is_float(name):
        return to_tensor(array, name)
    return torch.from_numpy(np.array(widen(array, name)))


class Snapshots:
    """Host copies of tensors; one that was copied lately and has not changed since is not copied again."""

    def __init__(self) -> None:
        """Begin empty."""
        self._size = 0
        self._kept: OrderedDict[tuple[Any, ...], tuple[torch.Tensor, np.ndarray, str]] = OrderedDict()

    def __call__(self, tensor: torch.Tensor) -> tuple[np.ndarray, str]:
        """Return a read-only copy of a tensor as it is now, and the name of its type."""
        version = -1 if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch's own count of writes
        place = (tensor.data_ptr(), version, tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        found = self._kept.get(place)
        if found is not None:
            self._kept.move_to_end(place)
            return found[1], found[2]
        array, name = to_numpy(tensor)
        array.flags.writeable = False
        if version >= 0 and array.size:
            self._keep(place, (tensor, array, name))
        return array, name

    def of(self, leaf: Any) -> Any:
        """Return a tensor's copy with the name of its type, and a plain value as it is."""
        return self(leaf) if isinstance(leaf, torch.Tensor) else leaf

    def _keep(self, place: tuple[Any, ...], copy: tuple[torch.Tensor, np.ndarray, str]) -> None:
        """Keep a copy and let go of the oldest ones; holding the tensor keeps its memory from being reused."""
        self._kept[place] = copy
        self._size += copy[1].nbytes
        while self._size > _KEPT_BYTES and len(self._kept) > _KEPT_TENSORS:
            _, (_tensor, oldest, _name) = self._kept.popitem(last=False)
            self._size -= oldest.nbytes


def flatten(value: Any, port: str) -> Iterator[tuple[str, Any]]:
    """Yield (port, tensor or plain value) of everything inside `value`, in order."""
    if isinstance(value, (torch.Tensor, *_PLAIN)):
        yield port, value
        return
    for key, each in _children(value):
        yield from flatten(each, f"{port}.{key}")


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the keyed parts of a container; nothing for any other object."""
    if hasattr(value, "items"):
        yield from value.items()
    elif isinstance(value, (tuple, list)):
        names = getattr(value, "_fields", range(len(value)))
        yield from zip(names, value, strict=True)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((each.name, getattr(value, each.name)) for each in fields(value))


class Signature:
    """The names of a forward's parameters, to bind a call's arguments without the cost of `inspect` per call.

    Attributes:
        names: Those that are given by their place.
        rest: The one that takes all further ones; None where there is none.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Read the signature once."""
        self.names: list[str] = []
        self.rest: str | None = None
        for each in inspect.signature(function).parameters.values():
            if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD):
                self.names.append(each.name)
            elif each.kind is each.VAR_POSITIONAL:
                self.rest = each.name

    def bind(self, positional: tuple[Any, ...], keywords: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield (name, argument) in the order in which they were given."""
        yield from zip(self.names, positional, strict=False)
        if self.rest is not None and len(positional) > len(self.names):
            yield self.rest, positional[len(self.names) :]
        yield from keywords.items()


@dataclass(frozen=True, kw_only=True)
class View:
    """How the calls of one module are reported, where its own path, names or layout are not those of the address.

    Attributes:
        path: The path of the address; several modules may share one, and their calls are then counted together.
        module: The module.
        native: Its own path.
        keys: Argument of its `forward` -> the input's key; an argument that is not named keeps its name, and one
            that is named "" is not reported.
        port: The output's port.
        layout: Brings one of its tensors to the address's layout, by moving elements alone.
    """

    path: str
    module: torch.nn.Module
    native: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    port: str = "output"
    layout: Callable[[torch.Tensor], torch.Tensor] | None = None

    def inputs(self, bound: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Yield (port, tensor or plain value) of the arguments of a call, by name."""
        for name, argument in bound:
            key = self.keys.get(name, name)
            if key:
                yield from self._placed(flatten(argument, f"input.{key}"))

    def outputs(self, output: Any) -> Iterator[tuple[str, Any]]:
        """Yield (port, tensor or plain value) of what a call returned."""
        yield from self._placed(flatten(output, self.port))

    def _placed(self, leaves: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Bring tensors to the address's layout."""
        if self.layout is None:
            yield from leaves
            return
        for port, leaf in leaves:
            yield port, self.layout(leaf) if isinstance(leaf, torch.Tensor) else leaf


@contextmanager
def watched(
    modules: Mapping[str, torch.nn.Module] | Iterable[View], taps: Taps, snapshots: Snapshots
) -> Iterator[None]:
    """Report every call of `modules` (by path, or as views) to `taps` while the block runs."""
    if isinstance(modules, Mapping):
        modules = [View(path=path, module=module) for path, module in modules.items()]
    running: list[_Running] = []
    with ExitStack() as handles:
        for view in modules:
            before, after = _hooks(view, taps, snapshots, running)
            handles.callback(view.module.register_forward_pre_hook(before, with_kwargs=True).remove)
            handles.callback(view.module.register_forward_hook(after).remove)
        yield


class _Running(NamedTuple):
    """A call that has begun, and copies of its inputs by port."""

    call: Call
    inputs: list[tuple[str, Any]]


def _hooks(
    view: View, taps: Taps, snapshots: Snapshots, running: list[_Running]
) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return the two hooks of one module; `running` holds the calls that have begun."""
    signature = Signature(view.module.forward)

    def before(_module: torch.nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        call = taps.enter(view.path, view.native)
        inputs = []
        for port, leaf in view.inputs(signature.bind(positional, keywords)):
            if taps.address(call, port) is not None:
                inputs.append((port, snapshots.of(leaf)))  # now: the module may change it in place
        running.append(_Running(call, inputs))

    def after(_module: torch.nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        call, inputs = running.pop()
        for port, leaf in inputs:
            _report(taps, call, port, leaf)
        for port, leaf in view.outputs(output):
            if isinstance(leaf, torch.Tensor) and taps.address(call, port) is not None:
                _report(taps, call, port, snapshots(leaf))
        taps.leave(call)

    return before, after


def _report(taps: Taps, call: Call, port: str, leaf: Any) -> None:
    """Hand over one copied tensor or plain value."""
    if isinstance(leaf, tuple):
        taps.tensor(call, port, *leaf)
    else:
        taps.value(call, port, leaf)


@dataclass
class Observation:
    """What a named function got and gave, by name; "" names a single output."""

    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)


@contextmanager
def observed(
    path: str, inputs: Mapping[str, Any], taps: Taps, snapshots: Snapshots, native: str | None = None
) -> Iterator[Observation]:
    """Report one call of a named function to `taps`; `native` is what the reference calls it, if not so.

    The block puts outputs into what it is given, and those inputs that it gets to know only inside.
    """
    call = taps.enter(path, native)
    seen = Observation()
    try:
        copies = list(_copies(inputs, "input", snapshots))
        yield seen
        given_inside = _copies(seen.inputs, "input", snapshots)
        returned = _copies(seen.outputs, "output", snapshots)
        for port, leaf in chain(copies, given_inside, returned):
            _report(taps, call, port, leaf)
    finally:
        taps.leave(call)


def _copies(values: Mapping[str, Any], side: str, snapshots: Snapshots) -> Iterator[tuple[str, Any]]:
    """Yield port and copy of every leaf; an output that is None is none."""
    for name, value in values.items():
        for port, leaf in flatten(value, f"{side}.{name}".removesuffix(".")):
            if side == "input" or leaf is not None:
                yield port, snapshots.of(leaf)


def weights_of(modules: Mapping[str, torch.nn.Module]) -> Iterator[tuple[str, np.ndarray, str]]:
    """Yield (address, array, type) of what a checkpoint must hold: parameters, and floating buffers that are saved with them.

    Moving statistics are such buffers.
    """
    for path, module in modules.items():
        saved = [pair for pair in module.named_buffers(recurse=False) if _is_weight(module, *pair)]
        for name, tensor in chain(module.named_parameters(recurse=False), saved):
            yield (str(Address(path=path, port=name)), *to_numpy(tensor))


def buffers_of(modules: Mapping[str, torch.nn.Module]) -> Iterator[tuple[str, np.ndarray, str]]:
    """Yield the same of all other buffers: counters, position ids, and tables that a program makes when it is built."""
    for path, module in modules.items():
        for name, buffer in module.named_buffers(recurse=False):
            if not _is_weight(module, name, buffer):
                yield (str(Address(path=path, port=name)), *to_numpy(buffer))


def _is_weight(module: torch.nn.Module, name: str, buffer: torch.Tensor) -> bool:
    """Tell whether a buffer is as much a weight as a parameter: floating, and saved."""
    return buffer.is_floating_point() and name not in module._non_persistent_buffers_set  # noqa: SLF001 - torch has no other name for it
