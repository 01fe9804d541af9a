"""The place of an error in numbers and words."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.distance import fast, where
from parity.distance.measure import measure
from parity.distance.tensor import Layout, Tensor
from parity.distance.where import locate, locate_many
from parity.dtypes import narrow, widen

from . import drawn


@given(st.data())
def test_a_planted_error_is_found_at_its_place(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["float64", "float32", "float16", "bfloat16"]))
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=0, max_size=4)))
    index = tuple(data.draw(st.integers(0, length - 1)) for length in shape)
    wide = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal(shape)
    x = narrow(np.atleast_1d(wide), name).reshape(shape)
    c = x.copy()
    before = float(widen(x.reshape(-1), name)[np.ravel_multi_index(index, shape) if shape else 0])
    c[index] = narrow(np.array([before + 4.0]), name)[0]
    found = locate(Tensor(x, name), Tensor(c, name), 0.5)
    assert found.at == index
    assert found.outside == 1
    assert found.reference == before
    assert found.candidate == float(widen(np.array([c[index]]), name)[0])


@pytest.mark.parametrize("far", [0, 40000, 199999])
def test_the_place_is_right_in_any_block(far: int) -> None:
    x = np.zeros(200000, np.float32)
    c = x.copy()
    c[far] = 1.0
    assert locate(Tensor(x, "float32"), Tensor(c, "float32"), 0.1).at == (far,)


def _image() -> np.ndarray:
    return np.zeros((2, 8, 5, 6))


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ((slice(None), slice(4, 6)), "120 of 480 outside, all in channels 4-5"),
        ((slice(None), [0, 3]), "120 of 480 outside, all in channels 0, 3"),
        ((slice(None), slice(None), -1), "96 of 480 outside, all on the border"),
        ((slice(None), slice(None), 2), "96 of 480 outside, all in row 2"),
        ((1,), "240 of 480 outside, all in image 1"),
        ((), "480 of 480 outside"),
        ((0, 1, 2, 3), "1 of 480 outside, all in image 0, channel 1, row 2, column 3"),
    ],
)
def test_words_say_where_the_error_sits(where: tuple[object, ...], words: str) -> None:
    x, c = _image(), _image()
    c[where] = 1.0
    assert locate(Tensor(x, "float64"), Tensor(c, "float64"), 0.5).words == words


def test_tokens_and_unnamed_axes_have_words_too() -> None:
    x = np.zeros((2, 77, 16))
    c = x.copy()
    c[:, 5] = 1.0
    assert locate(Tensor(x, "float64"), Tensor(c, "float64"), 0.5).words.endswith("all in token 5")
    x = np.zeros((4, 4, 4, 4, 4))
    c = x.copy()
    c[1] = 1.0
    assert locate(Tensor(x, "float64"), Tensor(c, "float64"), 0.5).words.endswith("all in axis 0 1")


def test_a_nan_is_the_worst_element() -> None:
    x = np.arange(10.0)
    c = x.copy()
    c[3], c[7] = math.nan, 50.0
    found = locate(Tensor(x, "float64"), Tensor(c, "float64"), 1.0)
    assert found.at == (3,)
    assert found.outside == 2
    assert math.isnan(found.candidate)


def test_cosine_is_that_of_the_whole_tensors() -> None:
    x, c = np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0])
    assert locate(Tensor(x, "float64"), Tensor(c, "float64"), 0.1).cosine == pytest.approx(0.5)
    assert locate(Tensor(x, "float64"), Tensor(-x, "float64"), 0.1).cosine == pytest.approx(-1.0)
    assert locate(Tensor(x, "float64"), Tensor(x * 0, "float64"), 0.1).cosine == 0.0


@pytest.mark.parametrize("scale", [1e-30, 1e-42, 1e30])
def test_cosine_holds_at_any_scale(scale: float) -> None:
    x = (scale * np.array([1.0, 0.0, 1.0])).astype(np.float32)
    c = (scale * np.array([1.0, 1.0, 0.0])).astype(np.float32)
    assert locate(Tensor(x, "float32"), Tensor(c, "float32"), 0.0).cosine == pytest.approx(0.5)


def test_words_stay_true_when_there_are_too_many_coordinates() -> None:
    x = np.zeros((2, 64, 80, 80), np.float32)
    c = x.copy()
    c[1, 16:60] = 1.0
    words = locate(Tensor(x, "float32"), Tensor(c, "float32"), 0.5).words
    assert words.startswith("281600 of 819200 outside, all in image 1, channels 1")
    first, last = (int(number) for number in words.rpartition(" ")[2].split("-"))
    assert first == 16
    assert 59 <= last <= 63


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_a_search_that_knows_the_peak_ends_at_the_same_place(name: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4, 50_000))
    c = x.copy()
    c[2, 7] += 0.5
    c[3, 9] += 0.5
    first, second = (Tensor(narrow(values, name), name) for values in (x, c))
    measured = measure(first, second)
    full = locate(first, second, 1.0, 1.0)
    assert locate(first, second, 1.0, 1.0, measured.error_max) == full
    assert full.at == (2, 7) or name in {"float16", "bfloat16"}
    outside = locate(first, second, 0.1, 1.0, measured.error_max)
    assert outside.outside == 2
    assert locate(first, second, 1.0, None, measured.error_max).cosine == pytest.approx(1.0, abs=1e-3)


@given(st.data())
def test_small_pairs_are_seen_together_as_each_alone(data: st.DataObject) -> None:
    layout, *sides = drawn.pairs(data)
    limits = [data.draw(st.sampled_from([0.0, 1e-7, 0.01, 1e300])) for _ in layout.shapes]
    cosines = [data.draw(st.sampled_from([None, 1.0])) for _ in layout.shapes]
    places = locate_many(layout, *drawn.both(sides), limits, cosines)
    for place, x, c, limit, cosine in zip(places, *sides, limits, cosines, strict=True):
        wanted = locate(x, c, limit, cosine)
        assert np.isclose(place.cosine, wanted.cosine, rtol=1e-6, atol=1e-9, equal_nan=True)
        alone, together = (repr(msgspec.structs.replace(each, cosine=0.0)) for each in (wanted, place))  # NaN too
        assert together == alone


@pytest.mark.parametrize(("marked", "words"), [([0, 1, 5], "axis 0 0-1, 5"), ([0, 2, 4, 6], ""), (range(8), "")])
def test_a_scattered_error_of_a_flat_tensor_has_no_range(marked: list[int], words: str) -> None:
    x = np.zeros(9, np.float32)
    c = x.copy()
    c[list(marked)] = 1.0
    places = locate_many(Layout.of([x.shape]), Tensor(x, "float32"), Tensor(c, "float32"), [0.5], [1.0])
    assert places[0].words == f"{len(marked)} of 9 outside" + (f", all in {words}" if words else "")


@pytest.mark.parametrize("way", ["numpy", "compiled"])
@given(st.data())
def test_sights_of_any_stretches_add_up_to_that_of_the_whole(way: str, data: st.DataObject) -> None:
    """As long as no stretch is outside so densely that it counts as a whole."""
    kernels = fast.kernels() if way == "compiled" else None
    if way == "compiled" and kernels is None:
        pytest.skip("the compiled path needs the extra [fast]")
    name = data.draw(st.sampled_from(drawn.FLOATS))
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=5)))
    base = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal(shape)
    x, c = (drawn.tensor(data, name, shape, base) for _ in range(2))
    search = where.Search((name, name), shape, data.draw(st.sampled_from([0.0, 1e-7, 0.1])), with_cosine=True)
    first, second = (fast.raw(each.array, name).reshape(-1) for each in (x, c))
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(where, "_DENSE", 1.0)
        whole = where._look(search, kernels, first, second, where.Sight()).place(search, None)
        seen = where.Sight()
        for stretch in drawn.cuts(data, first.size):
            seen += where._look(search, kernels, first[stretch], second[stretch], seen)
        found = seen.place(search, None)
    if all(np.isfinite(widen(each.array, name)).all() for each in (x, c)):  # a block with an infinity has no part in it
        assert np.isclose(found.cosine, whole.cosine, rtol=1e-6, atol=1e-9)
    assert repr(msgspec.structs.replace(found, cosine=0.0)) == repr(msgspec.structs.replace(whole, cosine=0.0))
