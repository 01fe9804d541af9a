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
from typing import TYPE_CHECKING, Final

import numpy as np

from parity.address import Address
from parity.errors import AlignmentError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from parity.trace import RunReader
    from parity.trace.schema import Row

__all__ = ["NAMED_TRANSFORMS", "REASONS", "Alignment", "Calls", "transform", "transformed"]

NAMED_TRANSFORMS: Final = (
    "nchw-to-tokens",
    "tokens-to-nchw",
    "reshape",
    "sequence-first",
    "slice:I/N",
    "integer-width",
)
_SLICE: Final = re.compile(r"slice:(\d+)/([1-9]\d*)")
REASONS: Final = ("never called", "container", "identity", "no counterpart", "excluded by the case")

_MOVES: Final[dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "nchw-to-tokens": lambda array: np.moveaxis(array, 1, -1).reshape(array.shape[0], -1, array.shape[1]),
    "tokens-to-nchw": lambda array: np.moveaxis(array, -1, 1)[..., None],
    "sequence-first": lambda array: np.swapaxes(array, 0, 1),
}
_LEAST: Final = {"nchw-to-tokens": 3, "tokens-to-nchw": 2, "sequence-first": 2}
"""How many dimensions a tensor needs for a layout."""


def transform(name: str | None, array: np.ndarray, shape: Sequence[int], dtype: str = "") -> np.ndarray:
    """Return `array` in the other side's layout; `shape` and `dtype` are what it has there.

    Raises:
        AlignmentError: the transform is not of the closed list.
    """
    if name is None:
        return array
    if name in _MOVES:
        moved = _MOVES[name](array)
        fits = name == "tokens-to-nchw" and array.size == math.prod(shape)
        return moved.reshape(shape) if fits else moved
    if name == "reshape":
        return array.reshape(shape) if array.size == np.prod(shape, dtype=int) else array
    if name == "integer-width":
        return array.astype(dtype) if dtype and array.dtype.kind in "iu" else array
    if _SLICE.fullmatch(name):
        index, count = (int(part) for part in name.removeprefix("slice:").split("/"))
        width = array.shape[-1] // count
        return array[..., index * width : (index + 1) * width]
    raise AlignmentError(_unknown(name))


def _unknown(name: str) -> str:
    """Return what to say of a transform that is not of the list."""
    return f"{name!r} is not a layout transform; the list is {', '.join(NAMED_TRANSFORMS)}"


def transformed(name: str | None, here: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape that `transform` makes of a tensor of the shape `here`, without a tensor.

    Raises:
        AlignmentError: the transform is not of the closed list, or a tensor of this shape has no such layout.
    """
    here, size = tuple(here), math.prod(here)
    sliced = _SLICE.fullmatch(name or "")
    if name is not None and sliced is None and name not in NAMED_TRANSFORMS:
        raise AlignmentError(_unknown(name))
    index, count = (int(part) for part in sliced.groups()) if sliced else (0, 1)
    if len(here) < _LEAST.get(name or "", 0) or (sliced and (not here or index >= count or here[-1] % count)):
        message = f"a tensor of shape {list(here)} has no layout transform {name!r}; correct the table"
        raise AlignmentError(message)
    if name == "nchw-to-tokens":
        return here[0], math.prod(here[2:]), here[1]
    if name == "sequence-first":
        return here[1], here[0], *here[2:]
    if name == "tokens-to-nchw":
        return tuple(shape) if size == math.prod(shape) else (here[0], here[-1], *here[1:-1], 1)
    if name == "reshape":
        return tuple(shape) if size == math.prod(shape) else here
    return (*here[:-1], here[-1] // count) if sliced else here


class Calls:
    """Which steps and calls a run of the reference has for each path, and how it writes their addresses."""

    def __init__(self, run: RunReader) -> None:
        """Read the addresses of one run of the reference."""
        self._ports: dict[tuple[str, int | None, int | None], list[str]] = {}
        self._indexed: set[tuple[str, int | None]] = set()
        self.order: list[tuple[str, int | None, int | None]] = []
        for record in run.records:
            address = Address.parse(record.address)
            key = (address.path, address.step, address.call)
            if key not in self._ports:
                self._ports[key] = []
                self.order.append(key)
            self._ports[key].append(address.port)
            if address.call is not None:
                self._indexed.add((address.path, address.step))

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
        paths = set(known)
        for row in self.rows:
            if row.path not in paths:
                message = (
                    f"the alignment names {row.path!r}, which the reference does not have{nearest(row.path, paths)}"
                )
                raise AlignmentError(message)
            self._by_native[row.native].append(row)
            self._by_path[row.path].append(row)
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
        return [native for native, rows in self._by_native.items() if not all(row.function for row in rows)]

    def takes_input(self, native: str) -> bool:
        """Tell whether a row takes an input of this cell."""
        return any(row.take.startswith("input.") for row in self._by_native[native])

    def yields(self, native: str, native_call: int) -> list[tuple[Row, int]]:
        """Return the rows that one native call yields, each with the reference's call."""
        found = []
        for row in self._by_native[native]:
            if row.native_call is None and row.call is None:
                found.append((row, native_call))
            elif row.native_call in (None, native_call):
                found.append((row, row.call if row.call is not None else native_call))
        return found

    def for_path(self, path: str, call: int | None) -> list[Row]:
        """Return the rows of this call of a path; a row that replays the whole path comes first."""
        rows = [row for row in self._by_path.get(path, []) if row.call is None or row.call == (call or 0)]
        return sorted(rows, key=lambda row: not (row.replay or row.function))
