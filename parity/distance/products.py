"""Sums of products, right to 1e-7, at the speed of BLAS and without its threads.

A float32 sum of more than 512 products would lose more than 1e-6, and BLAS starts threads of its own for
more than 10000; so a block is cut into rows, one BLAS call sums a row, and the rows are added in float64.

    >>> inner(np.ones(10000, np.float64), np.full(10000, 0.5))
    5000.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from parity.distance.blocks import scratch

if TYPE_CHECKING:
    from parity.distance.tensor import Array

__all__ = ["inner", "squares32"]

_ROW32: Final = 512
_ROW64: Final = 4096
_SAFE32: Final = (2.0**-50, 2.0**50)


def inner(first: Array, second: Array) -> float:
    """Return the sum of products of two flat arrays of one floating type; complex ones are conjugated, real part."""
    if first.dtype.kind == "c":
        return inner(first.real, second.real) + inner(first.imag, second.imag)
    row = _ROW32 if first.dtype == np.float32 else _ROW64
    whole = first.size // row * row
    total = 0.0
    if whole:
        sums = np.matmul(first[:whole].reshape(-1, 1, row), second[:whole].reshape(-1, row, 1))
        total = float(np.add.reduce(sums, axis=None, dtype=np.float64))
    if whole < first.size:
        total += float(np.dot(first[whole:], second[whole:]))
    return total


def squares32(values: Array, largest: float) -> float:
    """Return the sum of squares of float32 values, given their largest magnitude.

    Values whose squares leave float32's range are widened first, in this thread's first buffer of float64.
    """
    if _SAFE32[0] <= largest <= _SAFE32[1]:
        return inner(values, values)
    wide = scratch().double[0]
    total = 0.0
    for start in range(0, values.size, wide.size):
        part = values[start : start + wide.size]
        room = wide[: part.size]
        np.copyto(room, part)
        total += inner(room, room)
    return total
