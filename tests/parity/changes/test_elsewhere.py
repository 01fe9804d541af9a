"""A tensor is found under the name of another one whose values it has."""

from __future__ import annotations

import numpy as np
import pytest

from parity.changes.elsewhere import Elsewhere
from parity.distance.tensor import Tensor

DRAWN = np.random.default_rng(1).standard_normal((3, 6, 6)).astype(np.float32)
TENSORS = {f"{name}:weight": Tensor(array, "float32") for name, array in zip("abc", DRAWN, strict=True)}


@pytest.fixture
def known():
    index = Elsewhere()
    for name, tensor in TENSORS.items():
        index.add(name, lambda tensor=tensor: tensor)
    return index


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (DRAWN[1], "b:weight"),
        (DRAWN[1].T.copy(), "b:weight, its transpose"),
        (DRAWN[2].astype("f2"), "c:weight, rounded to float16, stored as float16"),
        (DRAWN[2].astype("f8"), "c:weight, stored as float64"),
        (DRAWN[2].T.astype("f2").copy(), "c:weight, its transpose, rounded to float16"),
        (DRAWN[1] + np.float32(1e-3), ""),
        (np.concatenate([DRAWN[1][:5], DRAWN[2][5:]]), ""),
    ],
)
def test_values_of_another_are_found(known, array, found):
    assert known.find(Tensor(array, array.dtype.name)) == found


def test_a_tensor_is_not_its_own_copy(known):
    assert known.find(TENSORS["b:weight"], besides="b:weight") == ""


def test_tensors_of_one_number_say_nothing():
    index, zeros = Elsewhere(), Tensor(np.zeros((4, 4)), "float64")
    index.add("a:bias", lambda: zeros)
    assert index.find(zeros) == ""
