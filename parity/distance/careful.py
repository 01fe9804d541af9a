"""Distances between tensors that may hold any numbers: infinities, NaN, the ends of the range, complex ones.

Two passes: the first compares places and signs of what is not finite and finds the largest magnitudes, the
second adds squares scaled by powers of two, so that neither 1e300 overflows nor a denormal vanishes.

    >>> from parity.distance.tensor import Tensor
    >>> careful(Tensor(np.array([1e-320]), "float64"), Tensor(np.array([1.5e-320]), "float64")).rel_l2
    0.5
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from parity.distance.blocks import BLOCK64, blocks, widest
from parity.distance.measurement import Measure
from parity.distance.sums import inner

if TYPE_CHECKING:
    from parity.distance.tensor import Array, Tensor

__all__ = ["careful"]

_WITH_WORKING: Final = 3


class _Scaled:
    """A sum of squares and a peak kept as `value * 2**exponent`, so that no scale is too large or small."""

    __slots__ = ("exponent", "peak", "squares")

    def __init__(self) -> None:
        """Start at zero."""
        self.peak = 0.0
        self.exponent = 0
        self.squares = 0.0

    def see(self, magnitudes: Array) -> None:
        """First pass: note the largest magnitude."""
        if magnitudes.size:
            self.peak = max(self.peak, float(magnitudes.max()))
            self.exponent = math.frexp(self.peak)[1]

    def add(self, magnitudes: Array) -> None:
        """Second pass: add the squares."""
        scaled = np.ldexp(magnitudes, -self.exponent)
        self.squares += inner(scaled, scaled)

    def mean_root(self, size: int) -> float:
        """Return the rms of `size` values without its factor `2**exponent`."""
        return math.sqrt(self.squares / size) if size else 0.0


def careful(expected: Tensor, candidate: Tensor, working: Tensor | None = None) -> Measure:
    """Measure a pair of any numbers, complex ones by their modulus; infinities by place and sign."""
    group = (expected, candidate) if working is None else (expected, candidate, working)
    with np.errstate(all="ignore"):
        walk = _Walk(group, 0)
        return _Walk(group, 1).result() if walk.overflow else walk.result()


class _Walk:
    """Two passes over tensors with any numbers; `halvings` 1 keeps differences of huge numbers finite."""

    def __init__(self, tensors: tuple[Tensor, ...], halvings: int) -> None:
        """Walk twice: peaks and places first, then the sums scaled by the peaks."""
        self.shift = halvings
        self.factor = 0.5**halvings
        self.problem = ""
        self.misplaced = self.size = 0
        self.not_a_number = self.overflow = False
        self.expected, self.error, self.working = _Scaled(), _Scaled(), _Scaled()
        arrays = [tensor.array for tensor in tensors]
        for second in (False, True):
            for group in blocks(arrays, BLOCK64):
                wide = [widest(block, tensor.dtype) for block, tensor in zip(group, tensors, strict=True)]
                if not second:
                    self._places(wide)
                self._sums(wide, second=second)

    def _places(self, wide: list[Array]) -> None:
        """Compare what is not finite by place and sign."""
        x, c = wide[0], wide[1]
        finite = np.isfinite(x)
        wrong = np.where(finite, ~np.isfinite(c), x != c)
        self.misplaced += int(np.count_nonzero(wrong))
        self.not_a_number = self.not_a_number or bool(np.isnan(c).any())
        self.size += int(np.count_nonzero(finite & ~wrong))
        if np.isnan(x).any():
            self.problem = "nan"
        elif len(wide) == _WITH_WORKING and not self.problem and not np.array_equal(np.isfinite(wide[2]), finite):
            self.problem = "working"

    def _sums(self, wide: list[Array], *, second: bool) -> None:
        """Note peaks in the first pass, add squares in the second."""
        both = np.isfinite(wide[0]) & np.isfinite(wide[1])
        x = wide[0][both] * self.factor
        pairs = [(self.expected, np.abs(x)), (self.error, np.abs(wide[1][both] * self.factor - x))]
        if len(wide) == _WITH_WORKING:
            both = np.isfinite(wide[0]) & np.isfinite(wide[2])
            pairs.append((self.working, np.abs(wide[2][both] * self.factor - wide[0][both] * self.factor)))
        for total, magnitudes in pairs:
            if second:
                total.add(magnitudes)
            else:
                total.see(magnitudes)
                self.overflow = self.overflow or total.peak == math.inf

    def result(self) -> Measure:
        """Put the numbers together; a wrong infinity makes the error infinite, a NaN makes it NaN."""
        size, shift = self.size, self.shift
        scale, error, working = (total.mean_root(size) for total in (self.expected, self.error, self.working))
        rms, error_max = _back(error, self.error.exponent + shift), _back(self.error.peak, shift)
        rel = _quotient(error, self.error.exponent, scale, self.expected.exponent)
        max_rel = _quotient(self.error.peak, 0, scale, self.expected.exponent)
        problem = self.problem
        if self.misplaced:
            problem = problem or "misplaced"
            rms = error_max = rel = max_rel = math.nan if self.not_a_number else math.inf
        return Measure(
            size=size,
            scale=_back(scale, self.expected.exponent + shift),
            largest=_back(self.expected.peak, shift),
            error_rms=rms,
            error_max=error_max,
            rel_l2=rel,
            max_rel=max_rel,
            working_rms=_back(working, self.working.exponent + shift),
            working_max=_back(self.working.peak, shift),
            problem=problem,
            misplaced=self.misplaced,
        )


def _back(mantissa: float, exponent: int) -> float:
    """Return `mantissa * 2**exponent`, infinity when it does not fit."""
    try:
        return math.ldexp(mantissa, exponent)
    except OverflowError:
        return math.inf


def _quotient(part: float, part_exponent: int, whole: float, whole_exponent: int) -> float:
    """Return the ratio of two scaled numbers."""
    if not whole:
        return math.inf if part else 0.0
    return _back(part / whole, part_exponent - whole_exponent)
