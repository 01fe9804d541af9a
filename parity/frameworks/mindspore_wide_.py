"""MindSpore's operators computed in float64 and rounded to the type that was asked for: is the platform to blame?

A module that errs by more than its floor is replayed with the operators that are suspected in float64. If the excess
is gone, the platform's kernel made it and not the port. An operator can be called in several ways, all of which are
widened: the function wherever a module holds it (`ops`, `mint`, what imported it by name), the primitive, and the
tensor's method.
"""

from __future__ import annotations

import functools
import sys
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import mindspore as ms
from mindspore import mint, ops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from parity.repair import Operator

__all__ = ["compose_batch_norms", "widen_operators"]

_NAMES: Final[dict[Operator, tuple[str, ...]]] = {
    "exp": ("exp", "Exp"),
    "tanh": ("tanh", "Tanh"),
    "sigmoid": ("sigmoid", "Sigmoid"),
    "softmax": ("softmax", "Softmax"),
    "silu": ("silu", "SiLU"),
    "gelu": ("gelu", "GeLU", "erf", "Erf"),
    "quick_gelu": ("sigmoid", "Sigmoid"),
}
"""The names of MindSpore's functions and primitives for each kind."""

_BATCH_NORMS: Final = (ms.nn.BatchNorm1d, ms.nn.BatchNorm2d, ms.nn.BatchNorm3d)
_HOLDERS: Final = (ops, mint, mint.nn.functional)
_NARROW: Final = (ms.float32, ms.float16, ms.bfloat16)


@contextmanager
def widen_operators(kinds: Sequence[Operator]) -> Iterator[None]:
    """Compute these kinds of operator in float64, whoever calls them."""
    names = dict.fromkeys(chain.from_iterable(map(_NAMES.__getitem__, kinds)))
    with ExitStack() as changes:
        for name in names:
            for operator in _held_as(name):
                if isinstance(operator, type):
                    _replace(changes, operator, "__call__", _widened(operator.__call__, skip=1))
                else:
                    _replace_everywhere(changes, operator)
            method = getattr(ms.Tensor, name, None)
            if method is not None:
                _replace(changes, ms.Tensor, name, _widened(method))
        yield


def _held_as(name: str) -> list[Any]:
    """Return MindSpore's functions and primitives of a name, each once."""
    found: dict[int, Any] = {}
    for holder in _HOLDERS:
        operator = getattr(holder, name, None)
        if operator is not None:
            found[id(operator)] = operator
    return list(found.values())


def _is_narrow(value: Any) -> bool:
    """Tell whether a value is a floating tensor narrower than float64."""
    return isinstance(value, ms.Tensor) and value.dtype in _NARROW


def _wide(value: Any) -> Any:
    """Return a narrow tensor in float64, and anything else as it is."""
    if not _is_narrow(value):
        return value
    return value.astype(ms.float64)


def _widened(operator: Callable[..., Any], skip: int = 0) -> Callable[..., Any]:
    """Return `operator` with tensors widened, and its result narrowed to the first one's type from `skip` on."""

    @functools.wraps(operator)
    def call(*given: Any, **named: Any) -> Any:
        first = next(filter(_is_narrow, given[skip:]), None)
        if first is None:
            return operator(*given, **named)
        return operator(*map(_wide, given), **named).astype(first.dtype)

    return call


def _replace_everywhere(changes: ExitStack, function: Callable[..., Any]) -> None:
    """Replace a function in every module that holds it."""
    wide = _widened(function)
    for module in list(sys.modules.values()):
        content = getattr(module, "__dict__", {})
        for key, value in list(content.items()):
            if value is function:
                _replace(changes, module, key, wide)


def _replace(changes: ExitStack, holder: Any, name: str, value: Any) -> None:
    """Set an attribute until `changes` are undone."""
    own = vars(holder).get(name)
    setattr(holder, name, value)
    if own is None:
        changes.callback(delattr, holder, name)
    else:
        changes.callback(setattr, holder, name, own)


def compose_batch_norms(cells: Iterable[ms.nn.Cell]) -> None:
    """Have batch normalisation by moving statistics computed of its parts: MindSpore's kernel takes no float64."""
    for cell in cells:
        if isinstance(cell, _BATCH_NORMS) and not cell.use_batch_statistics:
            cell.construct = functools.partial(_batch_norm, cell)


def _batch_norm(cell: Any, x: ms.Tensor) -> ms.Tensor:
    """Return `x` `[batch, channels, …]` normalised by the moving statistics of a cell."""
    shape = (1, -1, *(1 for _ in x.shape[2:]))
    held = (cell.moving_mean, cell.moving_variance, cell.gamma, cell.beta)
    mean, variance, scale, shift = (each.reshape(shape) for each in held)
    deviation = ops.sqrt(variance + ms.Tensor(cell.eps, x.dtype))
    return (x - mean) / deviation * scale + shift
