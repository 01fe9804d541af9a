"""What one pass over a pair adds up, and the distances that follow: all that is known of a metric of the first pass.

A pair is two or three streams of numbers: the expected tensor, the candidate's error, and the error of the reference
in its working type. Of each a pass keeps its `Moments`, for a block as for a whole tensor: what is found of two blocks
adds up to what is found of both.

    >>> first, second = (of_block(np.array(values), max(values)) for values in ([3.0, 4.0], [12.0]))
    >>> first + second
    Moments(squares=169.0, largest=12.0, exponent=0)
    >>> Distances(3, first + second, Moments(1.69, 1.3)).rel_l2
    0.1

A distance that follows from these moments is one property of `Distances`. One that needs a further sum is a field of
`Moments` too, with its line in `+`, in `of_block` and in `of_segments`. Nothing else in this package knows the fields,
but for `compiled`: while its loops do not keep a new sum, no tensor goes their way.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from parity.distance.products import inner, squares32

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.distance.tensor import Array

__all__ = ["NOTHING", "Distances", "Moments", "NotFinite", "larger", "of_block", "of_segments"]

_COSINE_BY_ERROR: Final = 1e-3
_LEAST: Final = 2.0**-480
_MOST: Final = 2.0**480


def larger(first: float, second: float) -> float:
    """Return the larger of two numbers, NaN if one is NaN."""
    if second > first or math.isnan(second):
        return second
    return first


class Moments(msgspec.Struct, frozen=True, gc=False):
    """Sums over the magnitudes of some numbers, in units of `2**exponent`.

    Attributes:
        squares: The sum of their squares.
        largest: The largest of them; not finite where some number is not.
        exponent: Not 0 where the numbers' squares would leave float64's range.
    """

    squares: float = 0.0
    largest: float = 0.0
    exponent: int = 0

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of the numbers of both, which are counted in the same unit."""
        return Moments(self.squares + other.squares, larger(self.largest, other.largest), self.exponent)

    @property
    def is_finite(self) -> bool:
        """Tell whether all numbers are."""
        return math.isfinite(self.largest)

    @property
    def is_safe(self) -> bool:
        """Tell whether all numbers are finite and their squares add up without leaving float64's range."""
        return self.largest == 0.0 or _LEAST <= self.largest <= _MOST

    def root(self, size: int) -> float:
        """Return the root of the mean square of `size` numbers, in units."""
        return math.sqrt(self.squares / (size or 1))

    def rms(self, size: int) -> float:
        """Return the same as it is."""
        root = math.sqrt(self.squares / (size or 1))
        return _shifted(root, self.exponent) if self.exponent else root

    @property
    def peak(self) -> float:
        """Return the largest magnitude as it is."""
        return _shifted(self.largest, self.exponent) if self.exponent else self.largest


def of_block(values: Array, largest: float) -> Moments:
    """Return the moments of a flat block of float32 or float64; its largest magnitude half types tell faster by bits."""
    if not 0.0 < largest < math.inf:
        return Moments(largest, largest)
    squares = squares32(values, largest) if values.dtype == np.float32 else inner(values, values)
    return Moments(squares, largest)


class Segments(NamedTuple):
    """The moments of each segment of a long array, and which of them are safe."""

    moments: list[Moments]
    are_safe: Array


def of_segments(values: Array, starts: Array) -> Segments:
    """Return the moments of each segment of float64, from its place in `starts` to the next."""
    squares = np.add.reduceat(values * values, starts)
    largest = np.maximum.reduceat(np.abs(values), starts)
    are_safe = (largest == 0.0) | ((largest >= _LEAST) & (largest <= _MOST))
    return Segments(list(map(Moments, squares.tolist(), largest.tolist())), are_safe)


class NotFinite(msgspec.Struct, frozen=True, gc=False):
    """Infinities and NaN of a pair.

    Attributes:
        misplaced: Elements that are not finite where the other side's are, or of another sign.
        expected: Whether there is a NaN in the expected tensor, which nothing can be held against.
        candidate: Whether there is one in the candidate's.
        working: Whether the reference in its working type is finite elsewhere than expected.
    """

    misplaced: int = 0
    expected: bool = False
    candidate: bool = False
    working: bool = False

    def __add__(self, other: NotFinite) -> NotFinite:
        """Return what there is in both."""
        return NotFinite(
            self.misplaced + other.misplaced,
            self.expected or other.expected,
            self.candidate or other.candidate,
            self.working or other.working,
        )


class Distances(msgspec.Struct, frozen=True, gc=False):
    """What a pass finds of a pair, or of a block of it. `error_*` is the candidate's, `working_*` the reference's own.

    Attributes:
        size: Elements, or finite ones where some are not.
        expected: Moments of the expected tensor.
        error: Moments of the candidate's difference from it.
        working: Moments of the difference of the reference in its working type, where there is one.
        odd: What is not finite; None where the pass did not have to look for it.
    """

    size: int
    expected: Moments
    error: Moments
    working: Moments = Moments()
    odd: NotFinite | None = None

    @classmethod
    def of(cls, size: int, streams: Iterable[Moments], odd: NotFinite | None = None) -> Distances:
        """Put together what was found of a pair's two or three streams of numbers."""
        expected, error, *working = streams
        return cls(size, expected, error, working[0] if working else Moments(), odd)

    def __add__(self, other: Distances) -> Distances:
        """Return what a pass over the blocks of both finds."""
        odd = self.odd
        if other.odd is not None:
            odd = other.odd if odd is None else odd + other.odd
        return Distances(
            self.size + other.size,
            self.expected + other.expected,
            self.error + other.error,
            self.working + other.working,
            odd,
        )

    @property
    def is_finite(self) -> bool:
        """Tell whether all numbers and differences that the moments are made of are finite."""
        return self.expected.is_finite and self.error.is_finite and self.working.is_finite

    @property
    def is_safe(self) -> bool:
        """Tell whether the moments hold: all numbers are finite and no square left float64's range."""
        return self.expected.is_safe and self.error.is_safe and self.working.is_safe

    @property
    def misplaced(self) -> int:
        """Return how many elements are not finite where the other side's are, or of another sign."""
        return 0 if self.odd is None else self.odd.misplaced

    @property
    def problem(self) -> str:
        """Return what makes the numbers meaningless, `nan`, `working` or `misplaced`, or nothing."""
        odd = self.odd
        if odd is None:
            return ""
        if odd.expected:
            return "nan"
        if odd.working:
            return "working"
        return "misplaced" if odd.misplaced else ""

    @property
    def scale(self) -> float:
        """Return the rms of the expected tensor."""
        return self.expected.rms(self.size)

    @property
    def largest(self) -> float:
        """Return the largest magnitude of the expected tensor."""
        return self.expected.peak

    @property
    def error_rms(self) -> float:
        """Return the rms of the error."""
        return self.error.rms(self.size)

    @property
    def error_max(self) -> float:
        """Return the largest error."""
        error = self.error
        return error.peak if error.exponent else error.largest

    @property
    def working_rms(self) -> float:
        """Return the rms of the reference's own error."""
        return self.working.rms(self.size)

    @property
    def working_max(self) -> float:
        """Return the reference's own largest error."""
        return self.working.peak

    @property
    def rel_l2(self) -> float:
        """Return the rms of the error relative to the scale; infinite where only the scale is zero."""
        return self._relative(self.error.root(self.size))

    @property
    def max_rel(self) -> float:
        """Return the largest error relative to the scale."""
        return self._relative(self.error.largest)

    @property
    def cosine(self) -> float | None:
        """Return the cosine where it is known from the error alone, which is small; None where a second look is needed."""
        return self.cosine_at(self.rel_l2)

    def cosine_at(self, rel_l2: float) -> float | None:
        """Return the same for a caller that knows `rel_l2` already."""
        if rel_l2 < _COSINE_BY_ERROR and self.odd is None:
            return 1.0 - 0.5 * rel_l2 * rel_l2
        return None

    def _relative(self, error: float) -> float:
        """Return an error, in its own units, relative to the scale."""
        scale = self.expected.root(self.size)
        if not scale:
            return error and error * math.inf  # nothing stays nothing, and NaN stays NaN
        exponent = self.error.exponent - self.expected.exponent
        return _shifted(error / scale, exponent) if exponent else error / scale


NOTHING: Final = Distances(0, Moments(), Moments())
"""What is found of no elements."""


def _shifted(value: float, exponent: int) -> float:
    """Return `value * 2**exponent`, infinity when it does not fit; callers ask only where there is an exponent."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.inf
