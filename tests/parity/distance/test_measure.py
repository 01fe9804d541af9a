"""Every distance is right to 1e-6 of itself, for any type, layout and scale."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.distance.batch import measure_many
from parity.distance.blocks import BLOCK
from parity.distance.careful import careful
from parity.distance.measure import measure
from parity.distance.tensor import Layout, Tensor
from parity.distance.where import locate
from parity.dtypes import narrow, widen
from tests.parity.compare.traces import end_to_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from parity.distance.sums import Distances

FLOATS = ["float64", "float32", "float16", "bfloat16"]
DISTANCES = [
    "size", "scale", "largest", "error_rms", "error_max", "rel_l2", "max_rel", "working_rms", "working_max",
]  # fmt: skip
RIGHT = 1e-6


def exactly(values: np.ndarray, name: str) -> list[Fraction]:
    """The elements as fractions."""
    return [Fraction(float(value)) for value in widen(values, name).reshape(-1)]


def together(exact: Tensor, candidate: Tensor) -> Distances:
    """The pair measured as a batch of one."""
    return measure_many(Layout.of([exact.array.shape]), exact, candidate)[0]


def root(square: Fraction) -> float:
    """The square root of a fraction of any size."""
    if not square:
        return 0.0
    shift = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    return math.ldexp(math.sqrt(square / Fraction(4) ** shift), shift)


def expected(x: list[Fraction], c: list[Fraction]) -> tuple[float, float, float, float]:
    """Rms of x, rms of the error, largest error, rel_l2 by exact arithmetic."""
    errors = [b - a for a, b in zip(x, c, strict=True)]
    x_square, e_square = sum(a * a for a in x) / len(x), sum(e * e for e in errors) / len(x)
    rel = root(e_square / x_square) if x_square else (math.inf if e_square else 0.0)
    return root(x_square), root(e_square), float(max(map(abs, errors))), rel


def check(found: Distances, wanted: tuple[float, float, float, float]) -> None:
    for got, want in zip((found.scale, found.error_rms, found.error_max, found.rel_l2), wanted, strict=True):
        tiny = 5e-324 if got is not found.rel_l2 else 0.0
        assert got == want or abs(got - want) <= RIGHT * abs(want) + tiny, (found, wanted)


def values(rng: np.random.Generator, shape: tuple[int, ...], scale: float, name: str) -> np.ndarray:
    return narrow((rng.standard_normal(shape) * scale).astype("float64"), name)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("relative", [1e-7, 1e-3, 10.0, 0.0])
def test_distances_agree_with_exact_arithmetic(name: str, relative: float) -> None:
    rng = np.random.default_rng(3)
    x = values(rng, (3, 50, 7), 1.0, name)
    c = narrow(widen(x, name) * (1 + relative * rng.standard_normal(x.shape)), name)
    check(measure(Tensor(x, name), Tensor(c, name)), expected(exactly(x, name), exactly(c, name)))


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, scale) for name in ("float64", "float32", "bfloat16") for scale in (1e30, 1e-30, 3e-38, 1e37)]
    + [
        ("float32", 1e-42),
        ("float64", 1e300),
        ("float64", 1e-300),
        ("float64", 5e-320),
        ("float16", 3e-7),
        ("float16", 5e3),
    ],
)
def test_distances_hold_at_any_scale(name: str, scale: float) -> None:
    rng = np.random.default_rng(4)
    x = values(rng, (999,), scale, name)
    c = values(rng, (999,), scale, name)
    check(measure(Tensor(x, name), Tensor(c, name)), expected(exactly(x, name), exactly(c, name)))
    check(together(Tensor(x, name), Tensor(c, name)), expected(exactly(x, name), exactly(c, name)))


@pytest.mark.parametrize("value", [1.0, 0.1, 1.9999999, 1 / 3])
def test_long_constant_tensors_do_not_bias_the_float32_sums(value: float) -> None:
    size = 3_000_001
    x = np.full(size, value, np.float32)
    c = np.full(size, np.float32(value) * np.float32(1.37), np.float32)
    found = measure(Tensor(x, "float32"), Tensor(c, "float32"))
    assert found.scale == pytest.approx(float(x[0]), rel=RIGHT)
    assert found.error_rms == pytest.approx(float(c[0]) - float(x[0]), rel=RIGHT)


def test_three_tensors_are_measured_in_one_pass() -> None:
    rng = np.random.default_rng(5)
    exact = rng.standard_normal(40000)
    own, c = (exact + 1e-3).astype("float32"), (exact + 2e-3).astype("float16")
    found = measure(Tensor(exact, "float64"), Tensor(c, "float16"), Tensor(own, "float32"))
    check(found, expected(exactly(exact, "float64"), exactly(c, "float16")))
    assert found.working_rms == pytest.approx(math.sqrt(float(((own - exact) ** 2).mean())), rel=RIGHT)
    assert found.working_max == pytest.approx(float(np.abs(own - exact).max()), rel=RIGHT)


@given(st.data())
def test_any_finite_float32_pair_is_measured_right(data: st.DataObject) -> None:
    number = st.floats(width=32, allow_nan=False, allow_infinity=False)
    pairs = data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=30))
    x, c = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    wanted = expected(exactly(x, "float32"), exactly(c, "float32"))
    check(measure(Tensor(x, "float32"), Tensor(c, "float32")), wanted)
    check(careful(Tensor(x, "float32"), Tensor(c, "float32")), wanted)
    check(together(Tensor(x, "float32"), Tensor(c, "float32")), wanted)


@given(st.data())
def test_any_finite_float64_pair_is_measured_right(data: st.DataObject) -> None:
    number = st.floats(allow_nan=False, allow_infinity=False)
    pairs = data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=10))
    x, c = (np.array(column) for column in zip(*pairs, strict=True))
    found = measure(Tensor(x, "float64"), Tensor(c, "float64"))
    scale, rms, peak, rel = _capped(exactly(x, "float64"), exactly(c, "float64"))
    for got, want in ((found.scale, scale), (found.error_rms, rms), (found.error_max, peak), (found.rel_l2, rel)):
        assert got == want or abs(got - want) <= RIGHT * abs(want) + 5e-324, (found, scale, rms, peak, rel)


def _capped(x: list[Fraction], c: list[Fraction]) -> tuple[float, float, float, float]:
    """As `expected`, infinity for what no float64 holds."""
    errors = [abs(b - a) for a, b in zip(x, c, strict=True)]
    x_square, e_square = sum(a * a for a in x) / len(x), sum(e * e for e in errors) / len(x)

    def fitting(make: Callable[[], float]) -> float:
        try:
            return make()
        except OverflowError:
            return math.inf

    rel = fitting(lambda: root(e_square / x_square)) if x_square else (math.inf if e_square else 0.0)
    return fitting(lambda: root(x_square)), fitting(lambda: root(e_square)), fitting(lambda: float(max(errors))), rel


@pytest.mark.parametrize("name", FLOATS)
def test_layout_and_byte_order_change_nothing(name: str) -> None:
    rng = np.random.default_rng(6)
    x, c = values(rng, (30, 40, 50), 1.0, name), values(rng, (30, 40, 50), 1.0, name)
    plain = measure(Tensor(x, name), Tensor(c, name))
    turned = np.asfortranarray(c)
    swapped = x.astype(x.dtype.newbyteorder(">"))
    spread = np.empty((30, 40, 100), c.dtype)[:, :, ::2]
    spread[...] = c
    for first, second in ((x, turned), (swapped, c), (swapped, spread)):
        found = measure(Tensor(first, name), Tensor(second, name))
        assert found.error_max == plain.error_max
        assert found.error_rms == pytest.approx(plain.error_rms, rel=RIGHT)
        assert found.rel_l2 == pytest.approx(plain.rel_l2, rel=RIGHT)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("shape", [(), (1,), (5, 1, 3), (70000,)])
def test_identical_tensors_have_no_distance(name: str, shape: tuple[int, ...]) -> None:
    x = values(np.random.default_rng(7), shape, 1.0, name)
    found = measure(Tensor(x, name), Tensor(x.copy(), name))
    assert (found.error_rms, found.error_max, found.rel_l2, found.problem) == (0.0, 0.0, 0.0, "")
    assert found.cosine == 1.0


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("size", [5, 40000])
@pytest.mark.parametrize(
    ("reference", "candidate", "problem"),
    [
        (math.nan, 1.0, "nan"), (math.nan, math.nan, "nan"), (1.0, math.nan, "misplaced"), (1.0, math.inf, "misplaced"),
        (math.inf, 1.0, "misplaced"), (math.inf, -math.inf, "misplaced"), (math.inf, math.nan, "misplaced"),
        (math.inf, math.inf, ""), (-math.inf, -math.inf, ""),
    ],
)  # fmt: skip
def test_what_is_not_finite_is_compared_by_place_and_sign(
    name: str, size: int, reference: float, candidate: float, problem: str
) -> None:
    x = values(np.random.default_rng(8), (size,), 1.0, name)
    c = x.copy()
    x[size // 2], c[size // 2] = (narrow(np.array([value]), name)[0] for value in (reference, candidate))
    for found in (measure(Tensor(x, name), Tensor(c, name)), together(Tensor(x, name), Tensor(c, name))):
        assert found.problem == problem
        if problem == "misplaced":
            assert not math.isfinite(found.error_max)
            assert found.misplaced == 1
        if not problem:
            assert found.error_max == 0.0
            assert found.size == size - 1


def test_a_working_run_that_overflows_where_the_twin_does_not_is_a_problem() -> None:
    exact = np.array([1.0, 70000.0])
    own = np.array([1.0, np.inf], np.float16)
    assert measure(Tensor(exact, "float64"), Tensor(own, "float16"), Tensor(own, "float16")).problem == "working"


def test_complex_numbers_are_measured_by_modulus() -> None:
    rng = np.random.default_rng(9)
    x = (rng.standard_normal(5000) + 1j * rng.standard_normal(5000)).astype(np.complex64)
    c = (x + (3e-3 + 4e-3j)).astype(np.complex64)
    found = measure(Tensor(x, "complex64"), Tensor(c, "complex64"))
    difference = np.abs(c.astype(complex) - x.astype(complex))
    assert found.error_max == pytest.approx(float(difference.max()), rel=RIGHT)
    assert found.error_rms == pytest.approx(5e-3, rel=1e-4)
    assert found.scale == pytest.approx(float(np.sqrt((np.abs(x.astype(complex)) ** 2).mean())), rel=RIGHT)


@pytest.mark.parametrize(
    "types", [("float64", "float32", "float32"), ("float32", "float32"), ("float64", "bfloat16", "float16")]
)
def test_batches_give_the_same_numbers_as_single_pairs(types: tuple[str, ...]) -> None:
    rng = np.random.default_rng(10)
    wide = [rng.standard_normal(size) for size in (1, 2, 16, 63, 2000)]
    columns = [[Tensor(narrow(x + 1e-3 * k, name), name) for x in wide] for k, name in enumerate(types)]
    layout = Layout.of([x.shape for x in wide])
    for number, found in enumerate(measure_many(layout, *map(end_to_end, columns))):
        alone = measure(*(column[number] for column in columns))
        for name in DISTANCES:
            assert getattr(found, name) == pytest.approx(getattr(alone, name), rel=RIGHT)


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_a_tensor_of_several_blocks_is_measured_as_a_whole(name: str) -> None:
    rng = np.random.default_rng(9)
    x = narrow(rng.standard_normal(2 * BLOCK + 77), name)
    c = narrow(widen(x, name) * 1.03, name)
    found = measure(Tensor(x, name), Tensor(c, name))
    exact, wrong = widen(x, name), widen(c, name)
    assert found.error_rms == pytest.approx(np.sqrt(np.mean((wrong - exact) ** 2)), rel=1e-6)
    assert found.error_max == pytest.approx(np.abs(wrong - exact).max(), rel=1e-6)
    assert found.scale == pytest.approx(np.sqrt(np.mean(exact**2)), rel=1e-6)
    place = locate(Tensor(x, name), Tensor(c, name), 0.05)
    assert place.outside == np.count_nonzero(np.abs(wrong - exact) > 0.05)
    assert place.at == (int(np.abs(wrong - exact).argmax()),)
