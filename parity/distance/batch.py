"""Small tensors by the hundred: concatenated, measured together, cut apart again.

A numpy call costs a microsecond whatever its size, so a tensor of sixteen numbers is measured as one segment
of a long array: `reduceat` gives the sum of squares and the largest magnitude of every segment.

    >>> from parity.distance.tensor import Layout, Tensor
    >>> expected, candidate = (Tensor(np.array(values), "float64") for values in ([1.0, 2.0, 5.0], [1.0, 2.0, 6.0]))
    >>> [m.error_max for m in measure_many(Layout.of([(2,), (1,)]), expected, candidate)]
    [0.0, 1.0]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from parity.distance.blocks import load64
from parity.distance.measure import measure
from parity.distance.measurement import Measure, finish

if TYPE_CHECKING:
    from parity.distance.tensor import Array, Layout, Tensor

__all__ = ["LARGEST", "measure_many"]

LARGEST: Final = 2048
"""Elements up to which a tensor is worth batching."""

_FEW: Final = 2.0**-480
_MANY: Final = 2.0**480


def measure_many(layout: Layout, expected: Tensor, candidate: Tensor, working: Tensor | None = None) -> list[Measure]:
    """Measure pairs that lie end to end, of real types and none empty; `working` as in `measure`."""
    starts = layout.starts
    with np.errstate(all="ignore"):
        x = _wide(expected)
        columns = [_segments(x, starts), _segments(_wide(candidate) - x, starts)]
        if working is not None:
            columns.append(_segments(_wide(working) - x, starts))
    usable = np.logical_and.reduce([_in_range(peaks) for _, peaks in columns])
    rows = zip(*(column.tolist() for segments in columns for column in segments), strict=True)
    return [
        finish(size, *row) if fine else _by_itself(layout, number, expected, candidate, working)
        for number, (size, fine, row) in enumerate(zip(layout.sizes.tolist(), usable.tolist(), rows, strict=True))
    ]


def _by_itself(layout: Layout, number: int, expected: Tensor, candidate: Tensor, working: Tensor | None) -> Measure:
    """Measure one of the pairs."""
    return measure(
        layout.cut(expected, number),
        layout.cut(candidate, number),
        None if working is None else layout.cut(working, number),
    )


def _wide(tensor: Tensor) -> Array:
    """Return the elements as float64."""
    return load64(tensor.array, tensor.dtype, np.empty(tensor.array.size))


def _segments(values: Array, starts: Array) -> tuple[Array, Array]:
    """Return sum of squares and largest magnitude of each segment; NaN where it holds one."""
    peaks = np.maximum.reduceat(np.abs(values), starts)
    return np.add.reduceat(values * values, starts), peaks


def _in_range(peaks: Array) -> Array:
    """Tell for each segment whether its squares add up without leaving float64's range."""
    within: Array = (peaks == 0.0) | ((peaks >= _FEW) & (peaks <= _MANY))
    return within
