"""Blocks cover every element once, and widening is exact."""

from __future__ import annotations

import numpy as np
import pytest

from parity.compare.blocks import BLOCK64, blocks, load32, load32_unordered, load64, scratch
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
        np.arange(3 * 65536 + 5, dtype=np.float32),
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
