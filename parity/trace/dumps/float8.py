"""Floats of eight bits, for which numpy has no type: every value of them is one of float16.

    >>> widened(np.array([0x38, 0x7E, 0x80], np.uint8), "float8_e4m3fn").tolist()
    [1.0, 448.0, -0.0]
    >>> widened(np.array([0x3C, 0x7C], np.uint8), "float8_e5m2").tolist()
    [1.0, inf]

Source: https://github.com/openxla/stablehlo/blob/main/rfcs/20230309-fp8_e4m3_e5m2.md
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FLOAT8", "WIDENED", "widened"]

FLOAT8: Final = frozenset({"float8_e4m3fn", "float8_e5m2"})
WIDENED: Final = "float16"
_MAGNITUDE: Final = 127


def widened(data: NDArray[np.uint8], name: str) -> NDArray[Any]:
    """Return numbers of one byte each as float16, exactly.

    Args:
        data: Their bytes, of any shape.
        name: Their type, one of `FLOAT8`.
    """
    if name == "float8_e5m2":  # the upper half of a float16
        return (data.astype("<u2") << 8).view("<f2")
    return _e4m3fn()[data]


@cache
def _e4m3fn() -> NDArray[Any]:
    """Return what each byte stands for: a sign, four bits of exponent, three of mantissa; no infinity, one NaN."""
    codes = np.arange(256)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    normal = (8 + mantissa) * 2.0 ** (exponent - 10.0)
    magnitude = np.where(exponent > 0, normal, mantissa * 2.0**-9)
    magnitude[codes & _MAGNITUDE == _MAGNITUDE] = np.nan
    return np.where(codes & 128, -magnitude, magnitude).astype("<f2")
