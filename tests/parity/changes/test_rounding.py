"""Roundings are told apart by their bits, and nothing that was not rounded has one."""

from __future__ import annotations

import numpy as np
import pytest

from parity.changes.rounding import bits_used, rounding
from parity.dtypes import narrow, widen

X = (np.random.default_rng(1).standard_normal(500) * 0.05).astype(np.float32)


def cut(x: np.ndarray, left: int, *, nearest: bool = False) -> np.ndarray:
    """Leave so many mantissa bits, by Python's integers."""
    unit = 1 << (23 - left)
    words = []
    for word in x.view(np.uint32).tolist():
        low = word % unit
        up = nearest and (low > unit // 2 or (low == unit // 2 and word // unit % 2))
        words.append(word - low + up * unit)
    return np.array(words, np.uint32).view(np.float32)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_types_are_told(name):
    assert rounding(X, widen(narrow(X, name), name, "float32")) == f"rounded to {name}"


@pytest.mark.torch
@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("scale", [1e-3, 0.05, 10.0])
def test_types_of_eight_bits_are_told(name, scale):
    torch = pytest.importorskip("torch")
    values = X * np.float32(scale / 0.05)
    found = torch.from_numpy(values).to(getattr(torch, name)).float().numpy()
    assert rounding(values, found) == f"rounded to {name.removesuffix('fn')}"


@pytest.mark.parametrize("left", [8, 10, 13, 20])
@pytest.mark.parametrize(("word", "nearest"), [("cut", False), ("rounded", True)])
def test_any_number_of_bits_is_told(left, word, nearest):
    found = cut(X, left, nearest=nearest)
    assert rounding(X, found) == f"{word} to {left} mantissa bits"
    assert bits_used(found) == left


def test_what_is_no_rounding_is_not_called_one():
    wrong = cut(X, 10)
    wrong[77] += np.float32(2.0**-8)
    assert [rounding(X, other) for other in (X, X + np.float32(1e-7), wrong, cut(X[::-1].copy(), 10))] == [""] * 4
    assert rounding(cut(X, 10), X) == ""
    assert bits_used(np.zeros(3, np.float32)) == 0


def test_float64_may_have_been_float32():
    wide = np.random.default_rng(2).standard_normal(300)
    assert rounding(wide, wide.astype(np.float32).astype(np.float64)) == "rounded to 23 mantissa bits"


def test_a_tensor_whose_sample_alone_is_rounder_is_not_rounded():
    for seed in range(50):
        wide = np.random.default_rng(seed).standard_normal(4)
        other = wide.copy()
        other[seed % 4] = np.float32(other[seed % 4])
        other[(seed + 1) % 4] = np.float32(other[(seed + 1) % 4])
        assert rounding(wide, other) == ""
