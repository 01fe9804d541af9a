"""Blocks cover every element once, and widening is exact."""

from __future__ import annotations

import numpy as np
import pytest

from parity.distance.blocks import (
    BLOCK,
    BLOCK64,
    blocks,
    is_beyond_half,
    load32,
    load32_unordered,
    load64,
    load_pair,
    scratch,
    widest,
)
from parity.dtypes import narrow, widen


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_finite_half_number_is_widened_exactly(name: str) -> None:
    bits = np.arange(65536, dtype=np.uint16)
    stored = bits if name == "bfloat16" else bits.view(np.float16)
    with np.errstate(invalid="ignore"):
        wanted = widen(stored, name)
    finite = np.isfinite(wanted)
    room = scratch()
    for start in range(0, bits.size, BLOCK64):
        part = slice(start, start + BLOCK64)
        keep = finite[part]
        single = load32(stored[part], name, room.single[0], room.words)
        with np.errstate(invalid="ignore"):
            double = load64(stored[part], name, room.double[0])
        np.testing.assert_array_equal(single[keep], wanted[part][keep])
        np.testing.assert_array_equal(np.signbit(single[keep]), np.signbit(wanted[part][keep]))
        np.testing.assert_array_equal(double, wanted[part])


def test_two_bfloat16_numbers_of_a_word_are_both_widened() -> None:
    numbers = narrow(np.array([1.0, -2.5, 3.0, -0.0, 1e38, 1e-40]), "bfloat16")
    wide = widen(numbers, "bfloat16")
    found = load32_unordered(numbers, np.empty(8, np.float32))
    np.testing.assert_array_equal(found, np.concatenate([wide[0::2], wide[1::2]]))
    np.testing.assert_array_equal(np.signbit(found), np.signbit(np.concatenate([wide[0::2], wide[1::2]])))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(2 * BLOCK + 5, dtype=np.float32),
        np.arange(60, dtype=np.float64).reshape(3, 4, 5).transpose(2, 0, 1),
        np.arange(50, dtype=">f4").reshape(5, 10)[:, ::2],
        np.array(7.0),
        np.arange(24, dtype=np.int64)[::-1],
    ],
    ids=["several blocks", "transposed", "big-endian and strided", "0-d", "reversed"],
)
def test_blocks_are_the_elements_in_c_order(array: np.ndarray) -> None:
    seen = np.concatenate([block.copy() for (block,) in blocks([array])])
    np.testing.assert_array_equal(seen, array.reshape(-1))
    assert seen.dtype.isnative


def test_arrays_of_different_layout_are_cut_alike() -> None:
    plain = np.arange(40000.0).reshape(200, 200)
    turned = np.ascontiguousarray(plain.T).T
    for first, second in blocks([plain, turned]):
        np.testing.assert_array_equal(first, second)


def test_an_empty_array_has_no_blocks() -> None:
    assert [block.size for (block,) in blocks([np.empty((0, 3))])] == []
    assert sum(block.size for (block,) in blocks([np.empty((3, 0)).T])) == 0


@pytest.mark.parametrize("names", [("float16", "float16"), ("bfloat16", "bfloat16"), ("float16", "float32")])
@pytest.mark.parametrize("odd", [None, np.inf, -np.inf, np.nan])
def test_a_pair_is_widened_as_numpy_does_it_whatever_it_holds(names: tuple[str, str], odd: float | None) -> None:
    rng = np.random.default_rng(1)
    wide = [rng.standard_normal(1000) * 10.0 ** rng.integers(-7, 4, 1000) for _ in names]
    for values in wide:
        values[:2] = 0.0, -0.0
        if odd is not None:
            values[500] = odd
    stored = [narrow(values, name) for values, name in zip(wide, names, strict=True)]
    found = load_pair(stored[0], stored[1], names)
    for values, array, name in zip(found, stored, names, strict=True):
        np.testing.assert_array_equal(values, widen(array, name))
        assert np.array_equal(np.signbit(values), np.signbit(widen(array, name)))
        np.testing.assert_array_equal(widest(array, name), widen(array, name))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_long_and_big_endian_half_types_are_widened_too(name: str) -> None:
    stored = narrow(np.linspace(-3, 3, BLOCK + 3), name)
    for array in (stored, stored[:7].astype(stored.dtype.newbyteorder(">"))):
        np.testing.assert_array_equal(load64(array, name, np.empty(array.size)), widen(array, name))


@pytest.mark.parametrize("word", [0x7C00, 0xFC00, 0x7C01, 0xFFFF])
def test_a_float16_that_is_not_finite_is_noticed(word: int) -> None:
    block = np.array([0x7BFF, 0xFBFF, 0, word], np.uint16).view(np.float16)
    assert is_beyond_half(block, scratch())
    assert not is_beyond_half(block[:3], scratch())
