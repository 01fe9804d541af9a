"""Small tensors by the hundred: concatenated, measured together, cut apart again.

A numpy call costs a microsecond whatever its size, so a tensor of sixteen numbers is measured as one segment
of a long array, whose moments are found segment by segment.

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
from parity.distance.sums import Distances, of_segments
from parity.distance.tensor import present

if TYPE_CHECKING:
    from parity.distance.sums import Moments
    from parity.distance.tensor import Array, Layout, Tensor

__all__ = ["LARGEST", "measure_many"]

LARGEST: Final = 2048
"""Elements up to which a tensor is worth batching."""


def measure_many(layout: Layout, expected: Tensor, candidate: Tensor, working: Tensor | None = None) -> list[Distances]:
    """Measure pairs that lie end to end, of real types and none empty; `working` as in `measure`."""
    tensors = present(expected, candidate, working)
    moments: list[list[Moments]] = []
    are_safe = np.ones(len(layout.sizes), np.bool_)
    with np.errstate(all="ignore"):
        x, *others = map(_wide, tensors)
        for stream in (x, *(other - x for other in others)):
            segments = of_segments(stream, layout.starts)
            moments.append(segments.moments)
            are_safe &= segments.are_safe
    found = list(map(Distances, layout.sizes.tolist(), *moments))
    for number in np.flatnonzero(~are_safe).tolist():
        found[number] = measure(*(layout.cut(tensor, number) for tensor in tensors))
    return found


def _wide(tensor: Tensor) -> Array:
    """Return the elements as float64."""
    return load64(tensor.array, tensor.dtype, np.empty(tensor.array.size))
