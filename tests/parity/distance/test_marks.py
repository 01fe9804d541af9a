"""Marks of stretches join to those of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.distance.marks import blank, joined, scattered, spread, windows

from . import drawn


@given(st.data())
def test_marks_of_any_stretches_join_to_those_of_the_whole(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=5)))
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(shape) < data.draw(st.sampled_from([0.02, 0.3]))
    parts = [scattered(mask.reshape(-1)[cut], shape, cut.start) for cut in drawn.cuts(data, mask.size)]
    for axis, marks in enumerate(joined(shape, parts)):
        others = tuple(other for other in range(len(shape)) if other != axis)
        np.testing.assert_array_equal(marks, mask.any(axis=others))


@given(st.data())
def test_a_spread_stretch_marks_what_it_reaches(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    size = int(np.prod(shape))
    start = data.draw(st.integers(0, size - 1))
    length = data.draw(st.integers(1, size - start))
    part = spread(shape, start, length)
    wanted = scattered(np.ones(length, np.bool_), shape, start)
    for found, marks in zip(joined(shape, [part]), joined(shape, [wanted]), strict=True):
        np.testing.assert_array_equal(found, marks)
    assert all(axis.all() for axis in part.axes)


def test_a_block_of_a_long_vector_has_marks_for_itself_alone() -> None:
    reached = windows((2**40,), 2**39, 1000)
    assert reached.tolist() == [[2**39, 1000, 2**40]]
    assert blank(reached)[0].size == 1000


@pytest.mark.parametrize(
    ("places", "where"),
    [([(0, 0), (3, 2)], "border"), ([(1, 0), (2, 4)], "border"), ([(0, 0), (1, 1)], "inside")],
)
def test_an_image_s_border_is_known(places: list[tuple[int, int]], where: str) -> None:
    mask = np.zeros((1, 2, 4, 5), np.bool_)
    for row, column in places:
        mask[0, 1, row, column] = True
    assert scattered(mask.reshape(-1), mask.shape, 0).is_inside == (where == "inside")
    assert scattered(mask[0].reshape(-1), mask.shape[1:], 0).is_inside, "three axes are no images"
