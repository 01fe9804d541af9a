"""Distances between tensors that may hold any numbers: infinities, NaN, the ends of the range, complex ones.

Two passes: the first compares places and signs of what is not finite and finds the largest magnitudes, the
second adds squares scaled by powers of two, so that neither 1e300 overflows nor a denormal vanishes.

    >>> from parity.distance.tensor import Tensor
    >>> careful(Tensor(np.array([1e-320]), "float64"), Tensor(np.array([1.5e-320]), "float64")).rel_l2
    0.5
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from parity.distance.blocks import BLOCK64, blocks_of, widest
from parity.distance.sums import NOTHING, Distances, Moments, NotFinite, of_block
from parity.distance.tensor import present

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.distance.tensor import Array, Tensor

__all__ = ["careful"]


def careful(expected: Tensor, candidate: Tensor, working: Tensor | None = None) -> Distances:
    """Measure a pair of any numbers, complex ones by their modulus; infinities by place and sign."""
    tensors = present(expected, candidate, working)
    with np.errstate(all="ignore"):
        first = _first_pass(tensors, halvings=0)
        if first.is_finite:
            return _second_pass(tensors, first, halvings=0)
        # The difference of two huge numbers has no float64; that of their halves has one.
        return _second_pass(tensors, _first_pass(tensors, halvings=1), halvings=1)


def _first_pass(tensors: tuple[Tensor, ...], halvings: int) -> Distances:
    """Find what is not finite and the largest magnitudes; the sums stay empty."""
    total = NOTHING
    for wide in _wide_blocks(tensors):
        largest = [Moments(largest=float(stream.max(initial=0.0))) for stream in _magnitudes(wide, halvings)]
        size, odd = _places(*wide)
        total += Distances.of(size, largest, odd)
    return total


def _second_pass(tensors: tuple[Tensor, ...], first: Distances, halvings: int) -> Distances:
    """Add up squares in units of the power of two above the largest magnitude."""
    units = [math.frexp(moments.largest)[1] for moments in (first.expected, first.error, first.working)]
    total = NOTHING
    for wide in _wide_blocks(tensors):
        total += Distances.of(0, map(_scaled, _magnitudes(wide, halvings), units))
    expected = replace(total.expected, exponent=units[0] + halvings)
    error = replace(total.error, exponent=units[1] + halvings)
    working = replace(total.working, exponent=units[2] + halvings)
    if first.odd is not None and first.odd.misplaced:
        wrong = math.nan if first.odd.candidate else math.inf
        error = Moments(wrong, wrong)
    return Distances(first.size, expected, error, working, first.odd)


def _scaled(magnitudes: Array, unit: int) -> Moments:
    """Return the moments of magnitudes in units of `2**unit`."""
    scaled = np.ldexp(magnitudes, -unit)
    return of_block(scaled, float(scaled.max(initial=0.0)))


def _wide_blocks(tensors: tuple[Tensor, ...]) -> Iterator[list[Array]]:
    """Yield the blocks of all tensors as float64 or complex128."""
    for group in blocks_of(tensors, BLOCK64):
        yield [widest(block.array, block.dtype) for block in group]


def _magnitudes(wide: list[Array], halvings: int) -> Iterator[Array]:
    """Yield the magnitudes of the first block and of the others' differences from it, each where both are finite."""
    factor = 0.5**halvings
    x, *others = wide
    finite = np.isfinite(x)
    for number, other in enumerate(others):
        both = finite & np.isfinite(other)
        values = x[both] * factor
        if number == 0:
            yield np.abs(values)
        yield np.abs(other[both] * factor - values)


def _places(x: Array, c: Array, working: Array | None = None) -> tuple[int, NotFinite]:
    """Count the elements that are finite, and compare what is not by place and sign."""
    finite = np.isfinite(x)
    wrong = np.where(finite, ~np.isfinite(c), x != c)
    odd = NotFinite(
        misplaced=int(np.count_nonzero(wrong)),
        expected=bool(np.isnan(x).any()),
        candidate=bool(np.isnan(c).any()),
        working=working is not None and not np.array_equal(np.isfinite(working), finite),
    )
    return int(np.count_nonzero(finite & ~wrong)), odd
