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

if TYPE_CHECKING:
    from parity.distance.tensor import Array, Layout, Tensor

__all__ = ["LARGEST", "measure_many"]

LARGEST: Final = 2048
"""Elements up to which a tensor is worth batching."""


def measure_many(layout: Layout, expected: Tensor, candidate: Tensor, working: Tensor | None = None) -> list[Distances]:
    """Measure pairs that lie end to end, of real types and none empty; `working` as in `measure`."""
    tensors = (expected, candidate) if working is None else (expected, candidate, working)
    with np.errstate(all="ignore"):
        x, *others = (_wide(tensor) for tensor in tensors)
        streams = [x, *(other - x for other in others)]
        segments = [of_segments(stream, layout.starts) for stream in streams]
    found = list(map(Distances, layout.sizes.tolist(), *(each.moments for each in segments)))
    are_safe = np.logical_and.reduce([each.are_safe for each in segments])
    for number in np.flatnonzero(~are_safe).tolist():
        found[number] = measure(*(layout.cut(tensor, number) for tensor in tensors))
    return found


def _wide(tensor: Tensor) -> Array:
    """Return the elements as float64."""
    return load64(tensor.array, tensor.dtype, np.empty(tensor.array.size))
