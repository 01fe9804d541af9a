"""Where else a tensor's values are: which of many tensors it equals, transposed or rounded, found by a few elements of each.

>>> from parity.distance.tensor import Tensor
>>> known = Elsewhere()
>>> first, second = (Tensor(np.arange(start, start + 16.0).reshape(4, 4), "float64") for start in (1, 5))
>>> known.add("a:weight", lambda: first)
>>> known.add("b:weight", lambda: second)
>>> known.find(second), known.find(Tensor(second.array.T.copy(), "float64"))
('b:weight', 'b:weight, its transpose')

A tensor whose elements are all one number says nothing and is never found.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from parity.changes.arrangement import sampled
from parity.changes.change import exact_change
from parity.changes.rounding import rounded
from parity.digests import ROUNDINGS
from parity.dtypes import is_float, widen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parity.distance.tensor import Array, Tensor

__all__ = ["Elsewhere"]

_MATRIX = 2


class Elsewhere:
    """Tensors by some of their elements; each is read once when it is added and again when it may be the one."""

    def __init__(self) -> None:
        """Know none."""
        self._by_elements: defaultdict[bytes, dict[str, Callable[[], Tensor]]] = defaultdict(dict)

    def add(self, name: str, read: Callable[[], Tensor]) -> None:
        """Remember a tensor under the elements that whoever equals it would show."""
        for elements in _shown(read()):
            self._by_elements[elements.tobytes()][name] = read

    def find(self, tensor: Tensor, besides: str = "") -> str:
        """Return the name of a tensor that this one equals, and in which form; nothing where there is none."""
        places = sampled(tensor.array.size)
        elements = _numbers(tensor.array.reshape(-1)[places], tensor.dtype)
        for name, read in self._by_elements.get(elements.tobytes(), {}).items():
            if name != besides:
                told = _form(read(), tensor)
                if told is not None:
                    return f"{name}{told}"
        return ""


def _shown(tensor: Tensor) -> Iterator[Array]:
    """Yield the elements at the sampled places of a tensor, of its transpose, and of both rounded to the half types."""
    flat = tensor.array.reshape(-1)
    places = sampled(flat.size)
    elements = _numbers(flat[places], tensor.dtype)
    if (elements == elements[:1]).all():
        return
    yield from _with_roundings(elements)
    if tensor.array.ndim == _MATRIX:
        turned = tensor.array.T
        yield from _with_roundings(_numbers(turned[np.unravel_index(places, turned.shape)], tensor.dtype))


def _with_roundings(elements: Array) -> Iterator[Array]:
    """Yield numbers as they are and rounded to the half types."""
    yield elements
    if elements.dtype.kind == "f":
        for name in ROUNDINGS:
            yield rounded(elements, name)


def _numbers(elements: Array, dtype: str) -> Array:
    """Return elements in one type, whatever their own: float64, or as they are where they are no real floats."""
    return widen(elements, dtype) if is_float(dtype) else elements


def _form(other: Tensor, tensor: Tensor) -> str | None:
    """Say in which form a tensor equals another one: nothing for as it stands, None where it does not."""
    if other.dtype == tensor.dtype and np.array_equal(other.array, tensor.array):
        return ""
    change = exact_change(other, tensor)
    if change is None:
        return None
    if change.kind == "stored type":
        return f", stored as {tensor.dtype}"
    said = change.words.removeprefix("equals the reference's ").removeprefix("the reference's value ")
    return f", {said}".replace(", transpose", ", its transpose")
