"""Distances between tensors in one cache-blocked pass, right to 1e-6 of themselves at any scale.

`measure` takes the candidate's tensor, the exact one, and on request the reference's own in its working
type, and walks them together. Three ways lead through a pair, each giving the same numbers:

- `_single`: float32 and narrower on both sides. The difference of two float32 numbers is right to 6e-8 and
  sums run in float32 over rows of 512, then in float64. A block too small or too large for float32 squares
  is summed in float64.
- `_double`: everything widened to float64.
- `careful`: numbers that are not finite, or whose squares would leave float64's range; scaled by powers of
  two, two passes.

    >>> m = measure(np.array([3.0, 4.0]), "float64", np.array([3.0, 4.5]), "float64")
    >>> m.error_max, round(m.rel_l2, 3)
    (0.5, 0.1)
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from parity.compare.blocks import BLOCK64, Scratch, blocks, load32, load64, scratch
from parity.compare.sums import inner, squares32
from parity.dtypes import storage, widen

__all__ = ["Measure", "careful", "finish", "measure", "widest"]

_NARROW: Final = frozenset({"float32", "float16", "bfloat16"})
_HALF_INFINITY: Final = {"float16": 0x7C00, "bfloat16": 0x7F80}
_HIDES: Final = 32.0  # what a float16 infinity, widened to 2**16, is at least away from a finite number
_SAFE64: Final = (2.0**-480, 2.0**480)
_COSINE_BY_ERROR: Final = 1e-3


class Measure(NamedTuple):
    """What one pass finds. `error_*` is the candidate against the exact tensor, `own_*` the reference's own.

    Attributes:
        size: Elements, or finite ones where some are not.
        scale, largest: rms and largest magnitude of the exact tensor.
        rel_l2, max_rel: error_rms and error_max relative to `scale`; infinite when only `scale` is zero.
        problem: "" or what makes the numbers meaningless: `nan`, `own`, `misplaced`.
        misplaced: Elements that are not finite where the other side's are, or of another sign.
    """

    size: int
    scale: float
    largest: float
    error_rms: float
    error_max: float
    rel_l2: float
    max_rel: float
    own_rms: float = 0.0
    own_max: float = 0.0
    cosine: float | None = None
    problem: str = ""
    misplaced: int = 0


def measure(
    exact: np.ndarray, exact_type: str, candidate: np.ndarray, candidate_type: str,
    own: np.ndarray | None = None, own_type: str = "",
) -> Measure:  # fmt: skip
    """Measure a pair of floating tensors of one shape, with at least one element; both real or both complex.

    Args:
        exact: The exact tensor in storage form, with its true type beside it; so the others.
        exact_type: Name of the exact tensor's type.
        candidate: The candidate's tensor.
        candidate_type: Name of the candidate's type.
        own: The reference's own tensor in its working type, measured against `exact` in the same pass.
        own_type: Name of its type.
    """
    with np.errstate(all="ignore"):
        found = None
        if exact_type.startswith("complex"):
            pass
        elif own is None and exact_type in _NARROW and candidate_type in _NARROW:
            found = _single(exact, exact_type, candidate, candidate_type)
        else:
            found = _double(exact, exact_type, candidate, candidate_type, own, own_type)
        if found is None:
            return careful(exact, exact_type, candidate, candidate_type, own, own_type)
        return found


def _single(exact: np.ndarray, exact_type: str, candidate: np.ndarray, candidate_type: str) -> Measure | None:
    """Measure in float32, or return None where that is impossible."""
    room = scratch()
    squares = error = largest = error_max = 0.0
    for x_block, c_block in blocks((exact, candidate)):
        top = _largest(x_block, exact_type, room)
        if not top < math.inf:
            return None
        x = load32(x_block, exact_type, room.single[0], room.words)
        c = load32(c_block, candidate_type, room.single[1], room.words)
        d = np.subtract(c, x, out=room.single[2][: x.size])
        peak = _peak32(d)
        if not peak < math.inf or (peak >= _HIDES and not _largest(c_block, candidate_type, room) < math.inf):
            return None
        squares += squares32(x, top, room.double[0])
        if peak:
            error += squares32(d, peak, room.double[0])
            error_max = max(error_max, peak)
        largest = max(largest, top)
    return finish(exact.size, squares, largest, error, error_max)


def _peak32(values: np.ndarray) -> float:
    """Return the largest magnitude of float32 values, NaN if one is NaN."""
    return max(float(np.maximum.reduce(values)), -float(np.minimum.reduce(values)))


def _largest(block: np.ndarray, name: str, room: Scratch) -> float:
    """Return the largest magnitude of a block, infinity or NaN if one is not finite; the half types by their bits."""
    if name == "float32":
        return _peak32(block)
    half = room.words.view(np.uint16)[: block.size]
    bits = np.uint16(np.maximum.reduce(np.bitwise_and(block.view(np.uint16), np.uint16(0x7FFF), out=half)))
    if bits >= _HALF_INFINITY[name]:
        return math.inf
    return float(widen(np.array([bits], np.uint16).view(storage(name)), name)[0])


def _double(
    exact: np.ndarray, exact_type: str, candidate: np.ndarray, candidate_type: str,
    own: np.ndarray | None, own_type: str,
) -> Measure | None:  # fmt: skip
    """Measure in float64, or return None where some number is not finite or the squares leave the range."""
    room = scratch().double
    squares = error = largest = error_max = own_error = own_max = 0.0
    arrays = (exact, candidate) if own is None else (exact, candidate, own)
    for group in blocks(arrays, BLOCK64):
        x = load64(group[0], exact_type, room[0])
        size = x.size
        magnitude = np.abs(x, out=room[3][:size])
        largest = max(largest, _peak(magnitude))
        squares += inner(magnitude, magnitude)
        d = np.subtract(load64(group[1], candidate_type, room[1]), x, out=room[1][:size])
        np.abs(d, out=d)
        error_max = max(error_max, _peak(d))
        error += inner(d, d)
        if own is not None:
            d = np.subtract(load64(group[2], own_type, room[2]), x, out=room[2][:size])
            np.abs(d, out=d)
            own_max = max(own_max, _peak(d))
            own_error += inner(d, d)
        if max(largest, error_max, own_max) == math.inf:
            return None
    if not (_in_range(largest) and _in_range(error_max) and _in_range(own_max)):
        return None
    return finish(exact.size, squares, largest, error, error_max, own_error, own_max)


def _peak(magnitudes: np.ndarray) -> float:
    """Return the largest of non-negative values, infinity for a NaN."""
    found = float(np.maximum.reduce(magnitudes))
    return found if found == found else math.inf  # noqa: PLR0124


def _in_range(peak: float) -> bool:
    """Tell whether squares of numbers up to `peak` add up without leaving float64's range."""
    return peak == 0.0 or _SAFE64[0] <= peak <= _SAFE64[1]


def finish(
    size: int, squares: float, largest: float, error: float, error_max: float, own_error: float = 0.0, own_max: float = 0.0,
) -> Measure:  # fmt: skip
    """Turn sums into distances."""
    scale = math.sqrt(squares / size)
    rms = math.sqrt(error / size)
    rel = _ratio(rms, scale)
    cosine = 1.0 - 0.5 * rel * rel if rel < _COSINE_BY_ERROR else None
    return Measure(
        size,
        scale,
        largest,
        rms,
        error_max,
        rel,
        _ratio(error_max, scale),
        math.sqrt(own_error / size),
        own_max,
        cosine,
    )


def _ratio(part: float, whole: float) -> float:
    """Return `part / whole`; 0 for nothing of nothing, infinity for something of nothing."""
    if whole:
        return part / whole
    return math.inf if part else 0.0


class _Scaled:
    """A sum of squares and a peak kept as `value * 2**exponent`, so that no scale is too large or small."""

    __slots__ = ("exponent", "peak", "squares")

    def __init__(self) -> None:
        """Start at zero."""
        self.peak = 0.0
        self.exponent = 0
        self.squares = 0.0

    def see(self, magnitudes: np.ndarray) -> None:
        """First pass: note the largest magnitude."""
        if magnitudes.size:
            self.peak = max(self.peak, float(magnitudes.max()))
            self.exponent = math.frexp(self.peak)[1]

    def add(self, magnitudes: np.ndarray) -> None:
        """Second pass: add the squares."""
        scaled = np.ldexp(magnitudes, -self.exponent)
        self.squares += inner(scaled, scaled)

    def mean_root(self, size: int) -> float:
        """Return the rms of `size` values without its factor `2**exponent`."""
        return math.sqrt(self.squares / size) if size else 0.0


def careful(
    exact: np.ndarray, exact_type: str, candidate: np.ndarray, candidate_type: str,
    own: np.ndarray | None = None, own_type: str = "",
) -> Measure:  # fmt: skip
    """Measure a pair of any numbers, complex ones by their modulus: infinities by place and sign, NaN, the ends of the range."""
    arrays = (exact, candidate) if own is None else (exact, candidate, own)
    types = (exact_type, candidate_type, own_type)[: len(arrays)]
    with np.errstate(all="ignore"):
        walk = _Walk(arrays, types, 0)
        if not walk.overflow:
            return walk.result()
        return _Walk(arrays, types, 1).result()


def widest(block: np.ndarray, name: str) -> np.ndarray:
    """Return a fresh float64 or complex128 copy of a block."""
    if name.startswith("complex"):
        return block.astype(np.complex128)
    return load64(block, name, np.empty(block.size))


class _Walk:
    """Two passes over tensors with any numbers; `halvings` 1 keeps differences of huge numbers finite."""

    def __init__(self, arrays: tuple[np.ndarray, ...], types: tuple[str, ...], halvings: int) -> None:
        """Walk twice: peaks and places first, then the sums scaled by the peaks."""
        self.shift = halvings
        self.factor = 0.5**halvings
        self.problem = ""
        self.misplaced = self.size = 0
        self.not_a_number = self.overflow = False
        self.exact, self.error, self.own = _Scaled(), _Scaled(), _Scaled()
        for second in (False, True):
            for group in blocks(arrays, BLOCK64):
                wide = [widest(block, name) for block, name in zip(group, types, strict=True)]
                if not second:
                    self._places(wide)
                self._sums(wide, second=second)

    def _places(self, wide: list[np.ndarray]) -> None:
        """Compare what is not finite by place and sign."""
        x, c = wide[0], wide[1]
        finite = np.isfinite(x)
        wrong = np.where(finite, ~np.isfinite(c), x != c)
        self.misplaced += int(np.count_nonzero(wrong))
        self.not_a_number = self.not_a_number or bool(np.isnan(c).any())
        self.size += int(np.count_nonzero(finite & ~wrong))
        if np.isnan(x).any():
            self.problem = "nan"
        elif len(wide) > 2 and not self.problem and not np.array_equal(np.isfinite(wide[2]), finite):  # noqa: PLR2004
            self.problem = "own"

    def _sums(self, wide: list[np.ndarray], *, second: bool) -> None:
        """Note peaks in the first pass, add squares in the second."""
        both = np.isfinite(wide[0]) & np.isfinite(wide[1])
        x = wide[0][both] * self.factor
        pairs = [(self.exact, np.abs(x)), (self.error, np.abs(wide[1][both] * self.factor - x))]
        if len(wide) > 2:  # noqa: PLR2004
            both = np.isfinite(wide[0]) & np.isfinite(wide[2])
            pairs.append((self.own, np.abs(wide[2][both] * self.factor - wide[0][both] * self.factor)))
        for total, magnitudes in pairs:
            if second:
                total.add(magnitudes)
            else:
                total.see(magnitudes)
                self.overflow = self.overflow or total.peak == math.inf

    def result(self) -> Measure:
        """Put the numbers together; a wrong infinity makes the error infinite, a NaN makes it NaN."""
        size, shift = self.size, self.shift
        scale, error, own = (total.mean_root(size) for total in (self.exact, self.error, self.own))
        rms, error_max = _back(error, self.error.exponent + shift), _back(self.error.peak, shift)
        rel = _quotient(error, self.error.exponent, scale, self.exact.exponent)
        max_rel = _quotient(self.error.peak, 0, scale, self.exact.exponent)
        problem = self.problem
        if self.misplaced:
            problem = problem or "misplaced"
            rms = error_max = rel = max_rel = math.nan if self.not_a_number else math.inf
        return Measure(
            size, _back(scale, self.exact.exponent + shift), _back(self.exact.peak, shift), rms, error_max, rel, max_rel,
            _back(own, self.own.exponent + shift), _back(self.own.peak, shift), None, problem, self.misplaced,
        )  # fmt: skip


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
