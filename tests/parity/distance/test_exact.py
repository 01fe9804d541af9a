"""Exact kinds are compared by value, as integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.distance.exact import locate_exact, measure_exact, same_value
from parity.distance.tensor import Tensor

BIG = 2**53
KINDS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize(
    ("first", "second", "unequal", "distance"),
    [
        (("int64", BIG, 1), ("int64", BIG + 1, 1), 1, 1.0),
        (("int64", BIG), ("uint64", BIG + 1), 1, 1.0),
        (("int64", -1), ("uint64", 2**64 - 1), 1, 2.0**64),
        (("int64", -(2**63)), ("int64", 2**63 - 1), 1, 2.0**64),
        (("uint64", 2**63), ("uint64", 2**63), 0, 0.0),
        (("bool", True, False), ("int64", 1, 0), 0, 0.0),
        (("bool", True, False), ("uint8", 1, 1), 1, 1.0),
        (("int64", 999), ("float32", 999.0), 0, 0.0),
        (("float32", 999.5), ("int64", 999), 1, 0.5),
        (("int64", BIG + 1), ("float64", float(BIG)), 1, 1.0),
        (("int32", 1), ("float32", math.inf), 1, math.inf),
        (("uint8", 0, 255), ("int8", 0, -1), 1, 256.0),
    ],
)
def test_values_are_compared_across_types(
    first: tuple[Any, ...], second: tuple[Any, ...], unequal: int, distance: float
) -> None:
    x, c = (Tensor(np.array(values, name), name) for name, *values in (first, second))
    found = measure_exact(x, c)
    assert (found.unequal, found.error_max) == (unequal, distance)


@given(st.data())
def test_integers_of_any_two_types_differ_by_their_difference(data: st.DataObject) -> None:
    kinds = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(KINDS))
    values = [data.draw(st.integers(int(np.iinfo(kind).min), int(np.iinfo(kind).max))) for kind in kinds]
    x, c = (np.array([value], kind) for value, kind in zip(values, kinds, strict=True))
    found = measure_exact(Tensor(x, kinds[0]), Tensor(c, kinds[1]))
    assert found.unequal == (values[0] != values[1])
    assert found.error_max == pytest.approx(abs(values[0] - values[1]), rel=1e-15)


def test_a_pixel_may_equal_the_working_run_instead_of_the_twin() -> None:
    twin, own = np.array([10, 20, 30], np.uint8), np.array([10, 21, 30], np.uint8)
    made = np.array([10, 21, 31], np.uint8)
    assert measure_exact(*(Tensor(each, "uint8") for each in (twin, made, own))).unequal == 1


def test_nan_in_a_reference_of_floats_is_a_problem() -> None:
    assert measure_exact(Tensor(np.array([math.nan]), "float64"), Tensor(np.array([1]), "int64")).problem == "nan"


def test_the_first_difference_is_located() -> None:
    x = np.zeros((200, 500), np.int64)
    c = x.copy()
    c[100, 7], c[150, 8] = 1, -9
    found = locate_exact(Tensor(x, "int64"), Tensor(c, "int64"))
    assert (found.at, found.reference, found.candidate) == ((150, 8), 0, -9)
    assert found.words == "2 of 100000 differ, the first at [100, 7]"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (1, 1.0, True), (True, 1, True), (None, None, True), (None, 0, False), ("a", "a", True), ("1", 1, False),
        ([1, 2], (1, 2), True), ([1], [1, 2], False), (math.nan, math.nan, True), (BIG, BIG + 1, False),
    ],
)  # fmt: skip
def test_plain_values_are_compared_by_value(first: object, second: object, same) -> None:
    assert same_value(first, second) is same
