"""Small pairs looked at together are seen as each by itself."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.distance.grid import WORDS, on_half_grid, on_half_grid_many
from parity.distance.tensor import Layout, Tensor
from parity.distance.ulp import largest_ulps, largest_ulps_many
from parity.distance.where import locate, locate_many
from parity.dtypes import narrow, widen
from tests.parity.compare.traces import end_to_end

FLOATS = ["float64", "float32", "float16", "bfloat16"]


def draw_tensor(data: st.DataObject, name: str, shape: tuple[int, ...], base: np.ndarray) -> Tensor:
    """Values near `base`, now and then one far off, not finite, or all on a half type's grid."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    noise = np.where(rng.random(shape) < data.draw(st.sampled_from([0.1, 0.5, 1.0])), rng.standard_normal(shape), 0.0)
    values = np.atleast_1d(base * (1 + data.draw(st.sampled_from([0.0, 1e-6, 0.1])) * noise))
    for special in data.draw(st.lists(st.sampled_from([0.0, 9.0, math.inf, -math.inf, math.nan]), max_size=1)):
        values.flat[rng.integers(values.size)] = special
    if data.draw(st.booleans()):
        values = widen(narrow(values, "bfloat16"), "bfloat16")
    return Tensor(narrow(values, name).reshape(shape), name)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_together_and_alone_give_the_same(data: st.DataObject) -> None:
    types = data.draw(st.sampled_from(FLOATS)), data.draw(st.sampled_from(FLOATS))
    exact, candidate, limits, cosines = [], [], [], []
    for _ in range(data.draw(st.integers(1, 5))):
        shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=0, max_size=4)))
        base = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal(shape)
        exact.append(draw_tensor(data, types[0], shape, base))
        candidate.append(draw_tensor(data, types[1], shape, base))
        limits.append(data.draw(st.sampled_from([0.0, 1e-7, 0.01, 1e300])))
        cosines.append(data.draw(st.sampled_from([None, 1.0])))
    layout = Layout.of([x.array.shape for x in exact])
    both = end_to_end(exact), end_to_end(candidate)
    places = locate_many(layout, *both, limits, cosines)
    for place, x, c, limit, cosine in zip(places, exact, candidate, limits, cosines, strict=True):
        wanted = locate(x, c, limit, cosine)
        assert np.isclose(place.cosine, wanted.cosine, rtol=1e-6, atol=1e-9, equal_nan=True)
        alone, together = (repr(msgspec.structs.replace(each, cosine=0.0)) for each in (wanted, place))  # NaN too
        assert together == alone
    assert largest_ulps_many(layout, *both) == [largest_ulps(*each) for each in zip(exact, candidate, strict=True)]
    if types[1] in WORDS:
        assert on_half_grid_many(layout, both[1]) == [on_half_grid(c) for c in candidate]


@pytest.mark.parametrize(("marked", "words"), [([0, 1, 5], "axis 0 0-1, 5"), ([0, 2, 4, 6], ""), (range(8), "")])
def test_a_scattered_error_of_a_flat_tensor_has_no_range(marked: list[int], words: str) -> None:
    x = np.zeros(9, np.float32)
    c = x.copy()
    c[list(marked)] = 1.0
    places = locate_many(Layout.of([x.shape]), Tensor(x, "float32"), Tensor(c, "float32"), [0.5], [1.0])
    assert places[0].words == f"{len(marked)} of 9 outside" + (f", all in {words}" if words else "")
