"""What is found of blocks adds up to what is found of the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.distance.exact import measure_exact
from parity.distance.measure import measure
from parity.distance.sums import NOTHING, Distances, Moments, NotFinite, of_block, of_segments
from parity.distance.tensor import Tensor
from parity.dtypes import narrow

from . import drawn

PROPERTIES = [name for name, value in vars(Distances).items() if isinstance(value, property)]


@given(st.data())
def test_any_split_of_a_pair_adds_up_to_the_whole(data: st.DataObject) -> None:
    types = [data.draw(st.sampled_from(drawn.FLOATS)) for _ in range(data.draw(st.sampled_from([2, 3])))]
    size = data.draw(st.integers(1, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    columns = [narrow(rng.standard_normal(size), name) for name in types]
    whole = measure(*map(Tensor, columns, types))
    total = NOTHING
    for stretch in drawn.cuts(data, size):
        total += measure(*(Tensor(column[stretch], name) for column, name in zip(columns, types, strict=True)))
    assert total.size == whole.size == size
    for found, wanted in ((total.expected, whole.expected), (total.error, whole.error), (total.working, whole.working)):
        assert found.largest == wanted.largest
        assert found.squares == pytest.approx(wanted.squares, rel=1e-6)


@given(st.data())
def test_any_split_of_integers_adds_up_to_the_whole(data: st.DataObject) -> None:
    numbers = st.lists(st.integers(-3, 3), min_size=1, max_size=30)
    x = np.array(data.draw(numbers))
    c = x + np.array(data.draw(st.lists(st.integers(0, 1), min_size=x.size, max_size=x.size)))
    pairs = [(Tensor(x[part], "int64"), Tensor(c[part], "int64")) for part in drawn.cuts(data, x.size)]
    first, *others = (measure_exact(*pair) for pair in pairs)
    assert sum(others, first) == measure_exact(Tensor(x, "int64"), Tensor(c, "int64"))


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), min_size=1, max_size=5))
def test_segments_have_the_moments_of_blocks(rows: list[list[float]]) -> None:
    starts = np.cumsum([0, *map(len, rows[:-1])])
    found = of_segments(np.concatenate(rows), starts)
    for row, moments in zip(rows, found.moments, strict=True):
        wanted = of_block(np.abs(row), max(map(abs, row)))
        assert (moments.largest, moments.squares) == (wanted.largest, pytest.approx(wanted.squares, rel=1e-12))
    assert found.are_safe.tolist() == [moments.is_safe for moments in found.moments]


@pytest.mark.parametrize("largest", [0.0, 1.0, 2.0**480, 1e-200, 1e200, math.inf, math.nan])
def test_moments_are_safe_where_squares_can_be_added(largest: float) -> None:
    assert Moments(1.0, largest).is_safe == (largest in {0.0, 1.0, 2.0**480})
    assert Moments(1.0, largest).is_finite == math.isfinite(largest)


def test_what_is_not_finite_adds_up_too() -> None:
    first, second = NotFinite(misplaced=2, candidate=True), NotFinite(misplaced=1, working=True)
    assert first + second == NotFinite(misplaced=3, candidate=True, working=True)
    plain = Distances(1, Moments(), Moments())
    odd = Distances(1, Moments(), Moments(), odd=first)
    assert (plain + odd).odd == (odd + plain).odd == first
    assert ((plain + plain).odd, (odd + odd).misplaced) == (None, 4)


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        (None, ""), (NotFinite(), ""), (NotFinite(misplaced=1), "misplaced"), (NotFinite(1, working=True), "working"),
        (NotFinite(1, expected=True, working=True), "nan"),
    ],
)  # fmt: skip
def test_the_worst_problem_is_told(odd: NotFinite | None, problem: str) -> None:
    assert Distances(1, Moments(), Moments(), odd=odd).problem == problem


def test_a_unit_that_does_not_fit_makes_a_distance_infinite_and_a_ratio_right() -> None:
    huge = Distances(1, Moments(0.25, 0.5, 1025), Moments(0.5625, 0.75, 1026))
    assert (huge.scale, huge.error_rms, huge.rel_l2, huge.max_rel) == (math.inf, math.inf, 3.0, 3.0)


def test_every_distance_of_nothing_is_zero() -> None:
    wanted = {"cosine": 1.0, "problem": "", "is_finite": True, "is_safe": True}
    for name in PROPERTIES:
        assert getattr(NOTHING, name) == wanted.get(name, 0.0)
