"""What became of a tensor is proven where equality can, and measured where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.changes import exact_change, measured_change, variant_of
from parity.digests import UNCHANGED, digests
from parity.distance.tensor import Tensor
from parity.dtypes import narrow

X = (np.random.default_rng(1).standard_normal((64, 48)) * 0.05).astype(np.float32)
Z = np.where(np.arange(48) == 3, np.float32(0), X)
NOISE = np.sign(np.random.default_rng(2).standard_normal(X.shape)).astype(np.float32)
IDS = np.arange(77)


def tensor(array: np.ndarray, dtype: str = "") -> Tensor:
    return Tensor(array, dtype or array.dtype.name)


@pytest.mark.parametrize(
    ("expected", "candidate", "kind", "words"),
    [
        (X, tensor(X.astype("f2")), "rounded", "the reference's value rounded to float16, stored as float16"),
        (X, tensor(X.astype("f2").astype("f4")), "rounded", "the reference's value rounded to float16"),
        (X, tensor(narrow(X, "bfloat16"), "bfloat16"), "rounded",
         "the reference's value rounded to bfloat16, stored as bfloat16"),
        (X.astype("f2"), tensor(X), "rounded", "the reference's is the candidate's value rounded to float16"),
        (X, tensor(X.astype("f8")), "stored type", "equal, but stored as float64; the reference has float32"),
        (IDS, tensor(IDS.astype("i4")), "stored type", "equal, but stored as int32; the reference has int64"),
        (IDS.astype("f4"), tensor(IDS), "stored type", "equal, but stored as int64; the reference has float32"),
        (Z, tensor(np.where(Z == 0, -Z, Z)), "signs of zero", "equal but for signs of zeros or the bits of NaN"),
        (Z.astype("f2"), tensor(np.where(Z == 0, -Z, Z).astype("f2").astype("f4")), "signs of zero",
         "equal but for signs of zeros, stored as float32; the reference has float16"),
        (X, tensor(X.T.copy()), "transposed", "equals the reference's transpose"),
        (X, tensor(X.T.astype("f2").copy()), "transposed", "equals the reference's transpose, rounded to float16"),
        (X, tensor(X[:, ::-1].astype("f2").astype("f4")), "flipped",
         "equals the reference's flipped along axis 1, rounded to float16"),
        (X, tensor(np.concatenate([X[32:], X[:32]])), "rearranged",
         "equals the reference's with the halves of axis 0 exchanged"),
        (IDS, tensor(IDS[::-1].copy()), "flipped", "equals the reference's flipped along axis 0"),
        (X, tensor(np.zeros_like(X)), "initial", "all zeros"),
        (X, tensor(np.ones_like(X)), "initial", "all ones"),
        (X, tensor(narrow(np.full_like(X, 0.5), "bfloat16"), "bfloat16"), "initial", "all 0.5"),
        ((X + 1j * X), tensor((X + 1j * X).T.copy()), "transposed", "equals the reference's transpose"),
    ],
)  # fmt: skip
def test_equality_proves_it(expected, candidate, kind, words):
    found = exact_change(tensor(expected), candidate)
    assert (found.kind, found.words) == (kind, words)


def changed(array: np.ndarray, index, value) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("expected", "candidate", "kind", "words"),
    [
        (X, -X, "scaled", "the reference's negated"),
        (X, X * np.float32(3), "scaled", "the reference's times 3"),
        (X, X * np.float32(1 - 1e-5), "scaled", "the reference's times 0.99999"),
        (X, X + np.float32(1), "scaled", "the reference's plus 1"),
        (X, changed(X, (3, 4), 1), "elements", "1 element differs, at [3, 4], by at most 0.99"),
        (X, changed(X, 3, X[3] + 1), "elements", "48 of 3072 elements differ, all in row 3, by at most 1"),
        (X, changed(X, (3, 4), np.nan), "elements", "1 element differs, at [3, 4]; some are not finite"),
        (X, X + np.float32(1e-7) * NOISE, "update", "a small change of 100 % of the elements, by at most 1e-07"),
        (X, NOISE, "different", "other values, cosine 0.0"),
        (IDS, changed(IDS, 5, 9), "elements", "1 of 77 differ, the first at [5]"),
        (IDS, IDS + 1, "different", "77 of 77 differ, the first at [0]"),
        (np.full((), 100), np.full((), 101), "elements", "101; the reference has 100"),
        (np.full((), 1.5), np.full((), 3.0), "elements", "1 element differs, at [], by at most 1.5"),
        (np.zeros(9), np.arange(9.0), "different", "other values, cosine 0"),
    ],
)
def test_the_rest_is_measured(expected, candidate, kind, words):
    assert exact_change(tensor(expected), tensor(candidate)) is None
    found = measured_change(tensor(expected), tensor(candidate))
    assert found.kind == kind
    assert found.words.startswith(words)


def test_sizes_that_differ_prove_nothing():
    assert exact_change(tensor(X), tensor(X[:5])) is None


def test_forms_of_digests_are_told_in_the_same_words():
    forms = digests(X, "float32").keys() - {UNCHANGED}
    assert len(forms) == 11
    for form in forms:
        layout, _, name = form.partition("/")
        view = {"identity": X, "transpose": X.T, "flip0": X[::-1], "flip1": X[:, ::-1]}[layout]
        array = np.ascontiguousarray(view)
        if name != "own":
            array = narrow(array, name)
        said = exact_change(tensor(X), tensor(array, X.dtype.name if name == "own" else name)).words
        assert said.removesuffix(f", stored as {name}") == variant_of(form).words


@given(st.integers(0, X.size - 1), st.integers(0, 31))
def test_no_bit_that_differs_is_taken_for_a_stored_type(place, bit):
    words = X.view(np.uint32).copy()
    words.reshape(-1)[place] ^= np.uint32(1 << bit)
    found = exact_change(tensor(X), tensor(words.view(np.float32)))
    assert found is None or found.kind != "stored type"
