"""The alignment: which native cell or function of a candidate stands for which path of the reference.

The table is explicit and comes from the candidate's adapter, derived from the model's configuration. A row
may name a layout transform of a closed list:

    >>> import numpy as np
    >>> transform("slice:1/3", np.arange(6).reshape(1, 6), (1, 2))
    array([[2, 3]])
    >>> transform("nchw-to-tokens", np.zeros((2, 5, 3, 4)), (2, 12, 5)).shape
    (2, 12, 5)

Every transform moves elements and computes nothing. `Alignment` answers, for a native call, which addresses
of the reference it yields, and for a reference path, which row replays it.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from parity.address import Address
from parity.errors import AlignmentError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from parity.trace import RunReader
    from parity.trace.schema import Row

__all__ = ["NAMED_TRANSFORMS", "REASONS", "Alignment", "Calls", "transform", "transformed"]

REASONS: Final = ("never called", "container", "identity", "no counterpart", "excluded by the case")
_SLICE: Final = re.compile(r"slice:(\d+)/([1-9]\d*)")

Move = Callable[[np.ndarray, Sequence[int], str], np.ndarray]
"""From a tensor, and the shape and the type that it has on the other side, to the tensor in that side's layout."""


class _Layout(NamedTuple):
    """How elements move, and which shapes have such a layout."""

    move: Move
    fits: Callable[[Sequence[int]], bool]


def _as_it_is(array: np.ndarray, _shape: Sequence[int], _dtype: str) -> np.ndarray:
    """The same tensor."""
    return array


def _reshape(array: np.ndarray, shape: Sequence[int], _dtype: str) -> np.ndarray:
    """The same elements in the other side's shape; where their number differs all is left, for the judge to see."""
    return array.reshape(shape) if array.size == math.prod(shape) else array


def _to_tokens(array: np.ndarray, _shape: Sequence[int], _dtype: str) -> np.ndarray:
    """[batch, channels, height, width] becomes [batch, tokens, channels]."""
    batch, channels, *places = array.shape
    return array.reshape(batch, channels, math.prod(places)).swapaxes(1, 2)


def _to_image(array: np.ndarray, shape: Sequence[int], dtype: str) -> np.ndarray:
    """[batch, tokens, channels] becomes the image that the other side has."""
    return _reshape(np.moveaxis(array, -1, 1)[..., None], shape, dtype)


def _sequence_first(array: np.ndarray, _shape: Sequence[int], _dtype: str) -> np.ndarray:
    """[batch, tokens, channels] becomes [tokens, batch, channels], and the other way round."""
    return np.swapaxes(array, 0, 1)


def _integer_width(array: np.ndarray, _shape: Sequence[int], dtype: str) -> np.ndarray:
    """Integers of the other side's width."""
    return array.astype(dtype) if dtype and array.dtype.kind in "iu" else array


def _with_axes(least: int) -> Callable[[Sequence[int]], bool]:
    """Return a test of shapes: at least so many axes."""
    return lambda shape: len(shape) >= least


_UNMOVED: Final = _Layout(_as_it_is, _with_axes(0))
_LAYOUTS: Final = {
    "nchw-to-tokens": _Layout(_to_tokens, _with_axes(3)),
    "tokens-to-nchw": _Layout(_to_image, _with_axes(2)),
    "reshape": _Layout(_reshape, _with_axes(0)),
    "sequence-first": _Layout(_sequence_first, _with_axes(2)),
    "integer-width": _Layout(_integer_width, _with_axes(0)),
}
NAMED_TRANSFORMS: Final = (
    "nchw-to-tokens",
    "tokens-to-nchw",
    "reshape",
    "sequence-first",
    "slice:I/N",
    "integer-width",
)


def _slice(index: int, count: int) -> _Layout:
    """Return the layout of one of `count` equal parts of the last axis."""

    def move(array: np.ndarray, _shape: Sequence[int], _dtype: str) -> np.ndarray:
        width = array.shape[-1] // count
        return array[..., index * width : (index + 1) * width]

    def fits(shape: Sequence[int]) -> bool:
        return len(shape) > 0 and index < count and shape[-1] % count == 0

    return _Layout(move, fits)


@cache
def _layout(name: str | None) -> _Layout:
    """Return the layout of a name; without one nothing is moved.

    Raises:
        AlignmentError: it is not of the closed list.
    """
    if name is None:
        return _UNMOVED
    if name in _LAYOUTS:
        return _LAYOUTS[name]
    part = _SLICE.fullmatch(name)
    if part is None:
        message = f"{name!r} is not a layout transform; the list is {', '.join(NAMED_TRANSFORMS)}"
        raise AlignmentError(message)
    return _slice(*map(int, part.groups()))


def transform(name: str | None, array: np.ndarray, shape: Sequence[int], dtype: str = "") -> np.ndarray:
    """Return `array` in the other side's layout; `shape` and `dtype` are what it has there.

    Raises:
        AlignmentError: the transform is not of the closed list.
    """
    return _layout(name).move(array, shape, dtype)


def transformed(name: str | None, here: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape that `transform` makes of a tensor of the shape `here`, without a tensor.

    Raises:
        AlignmentError: the transform is not of the closed list, or a tensor of this shape has no such layout.
    """
    layout = _layout(name)
    if not layout.fits(here):
        message = f"a tensor of shape {list(here)} has no layout transform {name!r}; correct the table"
        raise AlignmentError(message)
    # One element that is repeated along every axis has any shape and takes no memory; moving it copies nothing.
    without_memory: np.ndarray = np.ndarray(here, np.int8, buffer=b"0", strides=[0] * len(here))
    return layout.move(without_memory, shape, "").shape


class Calls:
    """Which steps and calls a run of the reference has for each path, and how it writes their addresses."""

    def __init__(self, run: RunReader) -> None:
        """Read the addresses of one run of the reference."""
        self._ports: dict[tuple[str, int | None, int | None], list[str]] = defaultdict(list)
        self._indexed: set[tuple[str, int | None]] = set()
        for record in run.records:
            address = Address.parse(record.address)
            self._ports[address.path, address.step, address.call].append(address.port)
            if address.call is not None:
                self._indexed.add((address.path, address.step))
        self.order = list(self._ports)

    def key(self, path: str, step: int | None, call: int) -> tuple[str, int | None, int | None]:
        """Return (path, step, call) with call None where the reference made only one."""
        return path, step, call if (path, step) in self._indexed else None

    def ports(self, path: str, step: int | None, call: int | None) -> list[str]:
        """Return the recorded ports of one call; empty when the reference did not make it."""
        return self._ports.get((path, step, call), [])

    def __contains__(self, key: object) -> bool:
        """Tell whether the reference made this call."""
        return key in self._ports


class Alignment:
    """The rows of one candidate, checked against the reference's module paths."""

    def __init__(self, rows: Iterable[Row], not_compared: Mapping[str, str], known: Iterable[str]) -> None:
        """Index `rows`; `known` are the reference's module paths and named functions.

        Raises:
            AlignmentError: a row or an exclusion names a path that the reference lacks, a path is both, or a
                reason is not of the closed list.
        """
        self.rows = tuple(rows)
        self.not_compared = dict(not_compared)
        self._by_native: dict[str, list[Row]] = defaultdict(list)
        self._by_path: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            self._by_native[row.native].append(row)
            self._by_path[row.path].append(row)
        self._check_paths(set(known))
        self._check_exclusions()

    def _check_paths(self, known: set[str]) -> None:
        """Refuse a row of a path that the reference lacks."""
        for path in self._by_path:
            if path not in known:
                message = f"the alignment names {path!r}, which the reference does not have{nearest(path, known)}"
                raise AlignmentError(message)

    def _check_exclusions(self) -> None:
        """Refuse a reason that is not of the list, and an exclusion of a path that has a row."""
        for path, reason in self.not_compared.items():
            if reason not in REASONS:
                message = f"{path}: {reason!r} is no reason for not comparing; the list is {', '.join(REASONS)}"
                raise AlignmentError(message)
            if path in self._by_path:
                message = f"{path} has a row in the alignment and is listed as not compared ({reason}); remove one"
                raise AlignmentError(message)

    @property
    def natives(self) -> list[str]:
        """Native paths of the cells to be tapped."""
        return list(dict.fromkeys(row.native for row in self.rows if not row.function))

    def takes_input(self, native: str) -> bool:
        """Tell whether a row takes an input of this cell."""
        return any(row.take.startswith("input.") for row in self._by_native[native])

    def yields(self, native: str, native_call: int) -> list[tuple[Row, int]]:
        """Return the rows that one native call yields, each with the reference's call."""
        return [
            (row, native_call if row.call is None else row.call)
            for row in self._by_native[native]
            if row.native_call in {None, native_call}
        ]

    def for_path(self, path: str, call: int | None) -> list[Row]:
        """Return the rows of this call of a path; a row that replays the whole path comes first."""
        rows = [row for row in self._by_path.get(path, []) if row.call in {None, call or 0}]
        return sorted(rows, key=lambda row: not (row.replay or row.function))
