"""Whether all values lie on the grid of a half type."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.distance.grid import WORDS, on_half_grid, on_half_grid_many
from parity.distance.tensor import Tensor
from parity.dtypes import narrow, widen

from . import drawn


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("size", [7, 300, 200_000])
def test_one_value_off_the_grid_is_enough(name: str, size: int) -> None:
    rough = narrow(np.random.default_rng(0).standard_normal(size), "bfloat16")
    values = narrow(widen(rough, "bfloat16"), name)
    assert on_half_grid(Tensor(values, name))
    values[-1] = 1 + 2.0**-10 if name == "float16" else 1 + 2.0**-20
    assert not on_half_grid(Tensor(values, name))


def test_denormals_of_float16_count_for_nothing() -> None:
    assert on_half_grid(Tensor(np.array([6e-8, 1.0], np.float16), "float16"))


@given(st.data())
def test_small_tensors_are_told_together_as_each_alone(data: st.DataObject) -> None:
    layout, *sides = drawn.pairs(data)
    if sides[1][0].dtype in WORDS:
        assert on_half_grid_many(layout, drawn.both(sides)[1]) == [on_half_grid(c) for c in sides[1]]
