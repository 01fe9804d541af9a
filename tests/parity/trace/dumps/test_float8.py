"""Every float of eight bits, against the definition of its type."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parity.trace.dumps.float8 import FLOAT8, widened


def defined(code, name):
    """Return what a byte stands for, by the definition of the type alone."""
    bits, bias = (3, 7) if name == "float8_e4m3fn" else (2, 15)
    sign = -1.0 if code & 128 else 1.0
    exponent, mantissa = (code & 127) >> bits, code & (1 << bits) - 1
    if name == "float8_e4m3fn" and code & 127 == 127:
        return math.nan
    if name == "float8_e5m2" and exponent == 31:
        return math.nan if mantissa else sign * math.inf
    fraction = mantissa / (1 << bits)
    return sign * (math.ldexp(1 + fraction, exponent - bias) if exponent else math.ldexp(fraction, 1 - bias))


@pytest.mark.parametrize("name", sorted(FLOAT8))
def test_every_byte_is_what_its_type_says(name):
    read = widened(np.arange(256, dtype=np.uint8), name)
    wanted = np.array([defined(code, name) for code in range(256)])
    assert read.dtype == np.float16
    assert np.array_equal(read, wanted, equal_nan=True)
    assert np.array_equal(np.signbit(read[~np.isnan(wanted)]), np.signbit(wanted[~np.isnan(wanted)]))
