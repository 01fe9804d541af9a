"""How small a fault may be and still be seen: a sweep over size, per kind of fault and type.

>>> point = next(point for point in detection_curve(7, repeats=2) if point.size_in_rms >= 1e-3)
>>> point.detected
1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from parity.selftest.judging import judged
from parity.selftest.specimen import rounded, specimen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parity.distance.tensor import Array

__all__ = ["Point", "detection_curve"]

_SHAPE: Final = (2, 16, 12, 12)
_TYPES: Final = {"float64": 1e-12, "float32": 1e-6, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_FACTORS: Final = (0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One point of the curve: of `repeats` pairs with a fault of this size, the share that did not match."""

    kind: str
    dtype: str
    size_in_rms: float
    detected: float


def _factor(x: Array, size: float, _: np.random.Generator) -> Array:
    """Everything by a factor."""
    scaled: Array = x * (1 + size)
    return scaled


def _bias(x: Array, size: float, _: np.random.Generator) -> Array:
    """Everything shifted."""
    return x + size


def _noise(x: Array, size: float, rng: np.random.Generator) -> Array:
    """Noise everywhere."""
    noisy: Array = x + size * rng.standard_normal(x.shape)
    return noisy


def _element(x: Array, size: float, rng: np.random.Generator) -> Array:
    """One element."""
    wrong = x.copy()
    wrong.flat[rng.integers(x.size)] += size
    return wrong


def _channel(x: Array, size: float, rng: np.random.Generator) -> Array:
    """One channel shifted."""
    wrong = x.copy()
    wrong[:, rng.integers(x.shape[1])] += size
    return wrong


_KINDS: Final[dict[str, Callable[[Array, float, np.random.Generator], Array]]] = {
    "factor": _factor, "bias": _bias, "noise": _noise, "one element": _element, "one channel": _channel,
}  # fmt: skip


def detection_curve(seed: int, repeats: int = 8) -> Iterator[Point]:
    """Yield the points of every kind and type, sizes from below the type's rounding upwards."""
    rng = np.random.default_rng(seed)
    for kind, plant in _KINDS.items():
        for dtype, unit in _TYPES.items():
            specimens = []
            for number, factor in enumerate(_FACTORS):
                for repeat in range(repeats):
                    x = rounded(rng.standard_normal(_SHAPE), dtype)
                    specimens.append(specimen(f"{number} {repeat}", "fault", x, plant(x, factor * unit, rng), dtype))
            found = judged(specimens)
            for number, factor in enumerate(_FACTORS):
                seen = sum(found[f"{number} {repeat}"].verdict != "MATCH" for repeat in range(repeats))
                yield Point(kind=kind, dtype=dtype, size_in_rms=factor * unit, detected=seen / repeats)
