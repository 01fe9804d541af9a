"""How many mantissa bits floats use, and by which rounding one tensor's come from another's.

>>> bits_used(np.array([1.5, 1.25], np.float32))
2
>>> rounding(np.array([0.1, 0.7], np.float32), np.array([0.1, 0.7], np.float16).astype(np.float32))
'rounded to float16'
>>> cut = (np.array([0.1, 0.7], np.float32).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
>>> rounding(np.array([0.1, 0.7], np.float32), cut)
'cut to 10 mantissa bits'
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from parity.changes.arrangement import sampled
from parity.digests import ROUNDINGS
from parity.dtypes import bits, narrow, widen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parity.distance.tensor import Array

__all__ = ["are_rounder", "bits_used", "rounded", "rounding"]

_WORDS: Final[dict[str, Any]] = {"float32": np.uint32, "float64": np.uint64}


class _EightBits(NamedTuple):
    """A floating type of eight bits: how many are of the mantissa, and the exponent of its smallest normal number."""

    mantissa: int
    exponent: int


_EIGHT_BITS: Final = {"float8_e4m3": _EightBits(3, -6), "float8_e5m2": _EightBits(2, -14)}


class _Rounding(NamedTuple):
    """A way to round, and how a person says it."""

    words: str
    make: Callable[[Array], Array]

    def explains(self, original: Array, other: Array) -> bool:
        """Tell whether `other` is the original so rounded."""
        return np.array_equal(_bits(self.make(original)), _bits(other))


def bits_used(values: Array) -> int:
    """Return the mantissa bits of the element that uses most; `values` are float32 or float64."""
    words = int(np.bitwise_or.reduce(_bits(values).reshape(-1)))
    if not words:
        return 0
    spare = (words & -words).bit_length() - 1
    return max(0, bits(values.dtype.name) - spare)


def are_rounder(some: Array, others: Array) -> bool:
    """Tell whether some values use fewer mantissa bits than others."""
    return bits_used(some) < bits_used(others)


def rounding(original: Array, other: Array) -> str:
    """Say how `other` was rounded from `original`, both of one shape and type, float32 or float64; nothing if it was not."""
    places = sampled(other.size)
    some, others = original.reshape(-1)[places], other.reshape(-1)[places]
    if not are_rounder(others, some):
        return ""
    for each in _roundings(bits_used(other), other.dtype.name):
        if each.explains(some, others) and each.explains(original, other):
            return each.words
    return ""


def _roundings(left: int, dtype: str) -> Iterator[_Rounding]:
    """Yield the ways that may leave so many bits: to types of less bits, then to any number of bits, cut or to nearest."""
    for name in ROUNDINGS:
        yield _Rounding(f"rounded to {name}", partial(rounded, name=name))
    for name, form in _EIGHT_BITS.items():
        yield _Rounding(f"rounded to {name}", partial(_to_eight_bits, form=form))
    lost = bits(dtype) - left
    if not lost:
        return  # some element that was not sampled uses every bit
    yield _Rounding(f"cut to {left} mantissa bits", partial(_cut, lost=lost))
    yield _Rounding(f"rounded to {left} mantissa bits", partial(_to_nearest, lost=lost))


def rounded(values: Array, name: str) -> Array:
    """Return float32 or float64 values rounded to a half type; what is too large for it becomes infinite."""
    with np.errstate(over="ignore"):
        return widen(narrow(values, name), name, values.dtype.name)


def _cut(values: Array, lost: int) -> Array:
    """Return values without so many of their lowest bits."""
    words = _bits(values)
    return (words >> lost << lost).view(values.dtype)


def _to_nearest(values: Array, lost: int) -> Array:
    """Return values rounded by so many of their lowest bits, ties to even."""
    words = _bits(values)
    half = (1 << lost >> 1) - 1
    is_odd = words >> lost & 1
    return ((words + half + is_odd) >> lost << lost).view(values.dtype)


def _to_eight_bits(values: Array, form: _EightBits) -> Array:
    """Return values rounded to a type of eight bits; none may be too large for it."""
    normal = _to_nearest(values, bits(values.dtype.name) - form.mantissa)
    smallest = 2.0**form.exponent
    step = values.dtype.type(smallest * 2.0**-form.mantissa)
    return np.where(np.abs(values) < smallest, np.rint(values / step) * step, normal)


def _bits(values: Array) -> Array:
    """Return float32 or float64 values as integers."""
    return np.ascontiguousarray(values).view(_WORDS[values.dtype.name])
