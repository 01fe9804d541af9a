"""Small tensors by the hundred: concatenated, measured together, cut apart again.

A numpy call costs a microsecond whatever its size, so a tensor of sixteen numbers is measured as one segment
of a long array: `reduceat` gives the sum of squares and the largest magnitude of every segment.

    >>> from parity.compare.tensor import Tensor
    >>> a, b, c = (Tensor(np.array(values), "float64") for values in ([1.0, 2.0], [5.0], [6.0]))
    >>> [m.error_max for m in measure_many([a, b], [a, c])]
    [0.0, 1.0]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from parity.compare.blocks import load64
from parity.compare.measurement import Measure, Sums, finish
from parity.compare.metrics import measure
from parity.compare.tensor import end_to_end
from parity.compare.window import note_read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.compare.tensor import Array, Tensor

__all__ = ["LARGEST", "measure_many"]

LARGEST: Final = 2048
"""Elements up to which a tensor is worth batching."""

_FEW: Final = 2.0**-480
_MANY: Final = 2.0**480


def measure_many(exact: Sequence[Tensor], candidate: Sequence[Tensor], own: Sequence[Tensor] = ()) -> list[Measure]:
    """Measure pairs; each sequence holds tensors of one real type, none empty. `own` is empty or of the same length."""
    sizes = [tensor.array.size for tensor in exact]
    for tensors in (exact, candidate, own):
        if tensors:  # mostly in the order of the file, so the first and the last tell its part
            note_read((tensors[0].array, tensors[-1].array), sum(sizes) * tensors[0].array.itemsize)
    starts = np.zeros(len(sizes), np.intp)
    np.cumsum(sizes[:-1], out=starts[1:])
    with np.errstate(all="ignore"):
        x = _joined(exact)
        columns = [_segments(x, starts), _segments(_joined(candidate) - x, starts)]
        if own:
            columns.append(_segments(_joined(own) - x, starts))
    usable = np.logical_and.reduce([_in_range(peaks) for _, peaks in columns])
    rows = zip(*(column.tolist() for segments in columns for column in segments), strict=True)
    return [
        finish(size, Sums(*row)) if fine else measure(exact[number], candidate[number], own[number] if own else None)
        for number, (size, fine, row) in enumerate(zip(sizes, usable.tolist(), rows, strict=True))
    ]


def _joined(tensors: Sequence[Tensor]) -> Array:
    """Return the elements of all tensors in one float64 array."""
    flat = end_to_end(tensors)
    return load64(flat, tensors[0].dtype, np.empty(flat.size))


def _segments(values: Array, starts: Array) -> tuple[Array, Array]:
    """Return sum of squares and largest magnitude of each segment; NaN where it holds one."""
    peaks = np.maximum.reduceat(np.abs(values), starts)
    return np.add.reduceat(values * values, starts), peaks


def _in_range(peaks: Array) -> Array:
    """Tell for each segment whether its squares add up without leaving float64's range."""
    within: Array = (peaks == 0.0) | ((peaks >= _FEW) & (peaks <= _MANY))
    return within
