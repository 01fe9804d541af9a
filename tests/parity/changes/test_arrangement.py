"""Every order in which the elements of one array lie in another has its name; other elements have none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.changes.arrangement import arrangement, named
from parity.digests import layouts

X = np.random.default_rng(1).integers(1 << 30, size=(12, 10))
Y = np.random.default_rng(2).integers(1 << 30, size=(4, 3, 2, 5))


@pytest.mark.parametrize(
    ("original", "other", "kind", "words"),
    [
        (X, X.copy(), "identity", ""),
        (X, X.T.copy(), "transposed", "transpose"),
        (X, X.T.copy().reshape(12, 10), "rearranged", "transpose, in another shape"),
        (X, X.reshape(12, 10, 1, 1), "rearranged", "in another shape"),
        (Y, Y.transpose(0, 2, 3, 1).copy(), "transposed", "with its axes in the order 0, 2, 3, 1"),
        (Y, Y.swapaxes(0, 1).copy(), "transposed", "with axes 0 and 1 exchanged"),
        (X, X[::-1].copy(), "flipped", "flipped along axis 0"),
        (X, X[:, ::-1].copy(), "flipped", "flipped along axis 1"),
        (Y, Y[:, :, ::-1, ::-1].copy(), "flipped", "flipped along axes 2, 3"),
        (X, np.concatenate([X[6:], X[:6]]), "rearranged", "with the halves of axis 0 exchanged"),
        (X, np.concatenate([X[4:8], X[:4], X[8:]]), "rearranged", "with the thirds of axis 0 in the order 2, 1, 3"),
        (X, np.concatenate([X[:, 5:], X[:, :5]], 1), "rearranged", "with the halves of axis 1 exchanged"),
        (X, X.reshape(3, 4, 10).swapaxes(0, 1).reshape(12, 10), "rearranged",
         "with axis 0 read as 3 x 4, the 3 and the 4 exchanged"),
        (X, X.reshape(3, 2, 2, 10).swapaxes(1, 2).reshape(12, 10), "rearranged",
         "with axis 0 read as 3 x 2 x 2, the 2 and the 2 exchanged"),
        (X, np.roll(X, 5, 0), "rearranged", "rotated by 5 along axis 0"),
        (X, X[[0, 1, 7, 3, 4, 5, 6, 2, 8, 9, 10, 11]], "rearranged", "with 2 and 7 of axis 0 exchanged"),
        (X, X[[1, 2, 0, *range(3, 12)]], "rearranged", "with 3 of 12 along axis 0 in another order"),
        (np.array(3), np.array([3]), "identity", ""),
    ],
)  # fmt: skip
def test_an_order_is_named(original, other, kind, words):
    found = arrangement(original, other)
    assert (found.kind, found.words) == (kind, words)


@pytest.mark.parametrize("axis", [0, 1])
def test_equal_slices_do_not_hide_an_order(axis):
    x = X % 2 * np.array([0, 0, 1, 0, 1, 0, 1, 0, 0, 1])
    assert arrangement(x, np.flip(x, axis)).words == f"flipped along axis {axis}"


@pytest.mark.parametrize("change", ["one", "other", "smaller", "none"])
def test_other_elements_have_no_order(change):
    other = {"one": X.copy(), "other": X + 1, "smaller": X[:6], "none": X[:0]}[change]
    if change == "one":
        other[3, 4] += 1
    assert arrangement(X, other) is None


@given(st.permutations(range(4)))
def test_any_order_of_axes_is_found(axes):
    found = arrangement(Y, Y.transpose(axes).copy())
    assert found.kind == ("identity" if list(axes) == [0, 1, 2, 3] else "transposed")


@pytest.mark.parametrize("array", [X, Y])
def test_digests_and_arrays_call_an_order_by_the_same_words(array):
    for layout, view in layouts(array).items():
        assert arrangement(array, np.ascontiguousarray(view)) == named(layout)
