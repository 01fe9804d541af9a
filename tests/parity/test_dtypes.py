"""Types: names, storage, and bfloat16 there and back."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.dtypes import FLOATS, bits, eps, is_coarser, is_float, narrow, storage, widen


def test_bfloat16_is_stored_as_little_endian_words():
    assert storage("bfloat16") == np.dtype("<u2")
    assert storage("float32") == np.dtype("<f4")
    assert storage("float32") is storage("float32")


def test_an_unknown_type_is_an_error_each_time_it_is_asked_for():
    for _ in range(2):
        with pytest.raises(ValueError, match="'float8' is not a tensor type; one of bool, int8"):
            storage("float8")


def test_only_real_floating_types_have_mantissa_bits():
    assert [name for name in ("bool", "int64", "complex64", *FLOATS) if is_float(name)] == list(FLOATS)
    assert (bits("bfloat16"), eps("float16")) == (7, 2.0**-10)


def test_every_bfloat16_survives_widening_and_narrowing():
    words = np.arange(1 << 16, dtype=np.uint16)
    wide = widen(words, "bfloat16", "float32")
    with np.errstate(invalid="ignore"):
        again = narrow(widen(words, "bfloat16"), "bfloat16")
    number = ~np.isnan(wide)
    assert np.array_equal(again[number], words[number])
    assert set(again[~number].tolist()) == {0x7FC0}


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3)])
def test_shape_and_kind_are_kept_and_nothing_is_a_scalar(name, shape):
    values = np.full(shape, 1.5)
    stored = narrow(values, name)
    assert isinstance(stored, np.ndarray)
    assert (stored.shape, stored.dtype) == (shape, storage(name))
    wide = widen(stored, name)
    assert isinstance(wide, np.ndarray)
    assert wide.dtype == np.float64
    assert np.array_equal(wide, values)


def test_zero_dimensions_and_numpy_scalars_of_bfloat16_widen():
    assert widen(np.array(0x3FC0, np.uint16), "bfloat16") == 1.5
    assert widen(np.array([0x3FC0], np.uint16)[0], "bfloat16") == 1.5
    assert narrow(np.float64(1.5), "bfloat16") == 0x3FC0


def test_views_that_are_not_contiguous_and_big_endian_ones_are_read_in_order():
    words = np.array([[0x3F80, 0x4000], [0x4040, 0x4080]], np.uint16)
    assert widen(words.T, "bfloat16").tolist() == [[1, 3], [2, 4]]
    assert widen(words.astype(">u2"), "bfloat16").tolist() == [[1, 2], [3, 4]]
    assert narrow(np.array([[1, 2], [3, 4]], ">f8").T, "bfloat16").tolist() == words.T.tolist()


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_narrowing_is_to_nearest_with_ties_to_even(value):
    largest = float.fromhex("0x1.fep127")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        word = int(narrow(np.float32(value), "bfloat16"))
    found = float(widen(np.uint16(word), "bfloat16"))
    if np.isinf(found):
        assert abs(value) > largest
        return
    for other in (word - 1, word + 1):
        neighbour = float(widen(np.uint16(other & 0xFFFF), "bfloat16"))
        if np.isfinite(neighbour) and np.sign(neighbour) * np.sign(found) >= 0:
            assert abs(value - found) <= abs(value - neighbour)
            assert abs(value - found) < abs(value - neighbour) or word % 2 == 0


@pytest.mark.parametrize("word", [0xFFFFFFFF, 0x7FFFFFFF, 0x7F800001])
def test_every_nan_narrows_to_the_one_nan_without_a_warning(word):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert narrow(np.array(word, np.uint32).view(np.float32), "bfloat16") == 0x7FC0


@pytest.mark.parametrize(
    ("name", "than", "expected"),
    [("bfloat16", "float16", True), ("float16", "bfloat16", False), ("float32", "float32", False),
     ("int8", "float64", False), ("float16", "int64", False)],
)  # fmt: skip
def test_a_coarser_type_has_fewer_bits_and_integers_are_neither(name, than, expected):
    assert is_coarser(name, than) is expected
