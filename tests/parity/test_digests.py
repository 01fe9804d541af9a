"""Digests of weights recognise what became of a tensor, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.digests import digest, digests, layouts
from parity.dtypes import narrow

GENERATOR = np.random.default_rng(0)


def _known(array, dtype="float32"):
    """Return digest -> name for an array."""
    return {text: name for name, text in digests(array, dtype).items()}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda w: w, "identity/own"),
        (lambda w: w.T, "transpose/own"),
        (lambda w: w[::-1], "flip0/own"),
        (lambda w: w[:, ::-1], "flip1/own"),
        (lambda w: w.astype(np.float16), "identity/float16"),
        (lambda w: narrow(w, "bfloat16"), "identity/bfloat16"),
        (lambda w: w.astype(np.float16).T, "transpose/float16"),
        (lambda w: narrow(w.T, "bfloat16"), "transpose/bfloat16"),
    ],
)
def test_a_known_change_of_a_square_weight_is_recognised(change, name):
    weight = GENERATOR.standard_normal((5, 5)).astype(np.float32)
    assert _known(weight)[digest(change(weight))] == name


def test_a_convolution_knows_both_transpositions_and_four_flips():
    weight = GENERATOR.standard_normal((3, 3, 2, 2)).astype(np.float32)
    known = _known(weight)
    assert known[digest(weight.transpose(1, 0, 2, 3))] == "transpose01/own"
    assert known[digest(weight.transpose(0, 1, 3, 2))] == "transpose23/own"
    assert known[digest(weight[..., ::-1])] == "flip3/own"


def test_layouts_that_cannot_differ_are_left_out():
    assert set(layouts(np.zeros((4, 4, 1, 1)))) == {"identity", "transpose01", "flip0", "flip1"}
    assert set(layouts(np.zeros(3))) == {"identity", "flip0"}
    assert set(layouts(np.zeros(()))) == {"identity"}


@pytest.mark.parametrize(
    ("dtype", "forms"),
    [
        ("float32", {"own", "float16", "bfloat16"}),
        ("float16", {"own", "bfloat16"}),
        ("bfloat16", {"own"}),
        ("int64", {"own"}),
    ],
)
def test_roundings_are_the_coarser_types(dtype, forms):
    array = np.arange(4, dtype="uint16" if dtype == "bfloat16" else dtype)
    assert {name.partition("/")[2] for name in digests(array, dtype)} == forms


@given(st.integers(0, 23), st.sampled_from([1e-7, 1.0, -3.0]))
def test_one_changed_element_is_not_recognised(place, change):
    weight = np.arange(24, dtype=np.float32).reshape(4, 6) / 7
    other = weight.copy()
    other.flat[place] += np.float32(change) if change != 1e-7 else np.spacing(other.flat[place])
    assert digest(other) not in _known(weight) or _known(weight)[digest(other)].endswith("float16")


def test_byte_order_and_contiguity_do_not_matter():
    weight = GENERATOR.standard_normal((4, 6)).astype(np.float32)
    assert digest(weight.astype(">f4")) == digest(weight)
    assert digest(np.asfortranarray(weight)) == digest(weight)
    assert digest(np.zeros((0, 3), np.float32)) == digest(np.zeros(0, np.float64))


def test_overflow_in_float16_is_infinity_and_no_warning():
    assert digest(np.array([np.inf], np.float16)) == digests(np.array([1e6], np.float32), "float32")["identity/float16"]
