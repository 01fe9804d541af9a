"""Small tensors by the hundred: concatenated, measured together, cut apart again.

A numpy call costs a microsecond whatever its size, so a tensor of sixteen numbers is measured as one segment
of a long array: `reduceat` gives the sum of squares and the largest magnitude of every segment.

    >>> a, b = np.array([1.0, 2.0]), np.array([5.0])
    >>> [m.error_max for m in measure_many([(a, a, None), (b, b + 1, None)], ("float64", "float64", ""))]
    [0.0, 1.0]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from parity.compare.blocks import load64
from parity.compare.metrics import Measure, finish, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LARGEST", "measure_many"]

LARGEST: Final = 2048
"""Elements up to which a tensor is worth batching."""

_FEW: Final = 2.0**-480
_MANY: Final = 2.0**480

Group = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def measure_many(groups: Sequence[Group], types: tuple[str, str, str]) -> list[Measure]:
    """Measure groups (exact, candidate, own) of the same three types; none is empty, none is complex."""
    sizes = [group[0].size for group in groups]
    starts = np.zeros(len(sizes), np.intp)
    np.cumsum(sizes[:-1], out=starts[1:])
    with np.errstate(all="ignore"):
        x = _joined([group[0] for group in groups], types[0])
        squares, largest = _segments(x, starts)
        errors, peaks = _segments(_joined([group[1] for group in groups], types[1]) - x, starts)
        if types[2]:
            own_errors, own_peaks = _segments(_joined([group[2] for group in groups], types[2]) - x, starts)
        else:
            own_errors = own_peaks = [0.0] * len(sizes)
    found = []
    for number, group in enumerate(groups):
        if _is_plain(largest[number]) and _is_plain(peaks[number]) and _is_plain(own_peaks[number]):
            found.append(
                finish(
                    sizes[number],
                    squares[number],
                    largest[number],
                    errors[number],
                    peaks[number],
                    own_errors[number],
                    own_peaks[number],
                )
            )
        else:
            found.append(measure(group[0], types[0], group[1], types[1], group[2], types[2]))
    return found


def _joined(arrays: Sequence[np.ndarray | None], name: str) -> np.ndarray:
    """Return the elements of all arrays in one float64 array."""
    flat = np.concatenate([array.reshape(-1) for array in arrays if array is not None])
    return load64(flat, name, np.empty(flat.size))


def _segments(values: np.ndarray, starts: np.ndarray) -> tuple[list[float], list[float]]:
    """Return sum of squares and largest magnitude of each segment."""
    peaks = np.maximum.reduceat(np.abs(values), starts).tolist()
    return np.add.reduceat(values * values, starts).tolist(), peaks


def _is_plain(peak: float) -> bool:
    """Tell whether the sums over a segment with this peak can be trusted; false for NaN."""
    return peak == 0.0 or _FEW <= peak <= _MANY
