"""Distances counted in representable numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.distance.tensor import Tensor
from parity.distance.ulp import largest_ulps, largest_ulps_many
from parity.dtypes import narrow, widen

from . import drawn


@pytest.mark.parametrize(("name", "steps"), [("float64", 5), ("float32", 3), ("float16", 2), ("bfloat16", 7)])
def test_ulps_count_representable_numbers(name: str, steps: int) -> None:
    def count(first: list[float], second: list[float]) -> float:
        return largest_ulps(*(Tensor(narrow(np.array(values), name), name) for values in (first, second)))

    code = {"float64": np.int64, "float32": np.int32}.get(name, np.int16)
    x = narrow(np.array([1.0, -2.5, 100.0]), name)
    c = (x.view(code) + np.array([0, steps, 1], code)).view(x.dtype)
    assert largest_ulps(Tensor(x, name), Tensor(c, name)) == steps
    assert largest_ulps(Tensor(widen(x, name), "float64"), Tensor(c, name)) == steps
    assert count([0.0, 1.0], [-0.0, 1.0]) == 0.0
    assert count([1.0, 2.0], [math.nan, 2.0]) == count([math.inf], [-math.inf]) == count([1.0], [math.inf]) == math.inf
    assert count([math.inf, 1.0], [math.inf, 1.0]) == 0.0
    smallest = {"float64": 5e-324, "float32": 1.4e-45, "float16": 6e-8, "bfloat16": 9.2e-41}[name]
    assert count([smallest], [-smallest]) == 2.0


@given(st.data())
def test_small_pairs_are_counted_together_as_each_alone(data: st.DataObject) -> None:
    layout, *sides = drawn.pairs(data)
    assert largest_ulps_many(layout, *drawn.both(sides)) == [largest_ulps(x, c) for x, c in zip(*sides, strict=True)]
