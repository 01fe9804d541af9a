"""The floor is the largest of its terms, each in its own case."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import astuple

from parity.compare.floor import Floor, Platform, floor_of, model_floor, pooled, ulp
from parity.compare.limits import MAX_FACTOR, MODEL, POOL_BELOW, RMS_FACTOR
from parity.distance.sums import Distances, Moments
from parity.dtypes import eps


def measured(
    size: int = 64, scale: float = 1.0, largest: float = 4.0, working_rms: float = 0.0, working_max: float = 0.0
) -> Distances:
    """A measurement of which only the reference's side matters."""
    return Distances(
        size,
        expected=Moments(size * scale**2, largest),
        error=Moments(),
        working=Moments(size * working_rms**2, working_max),
    )


@pytest.mark.parametrize(
    ("measure", "platform", "repeat", "rms", "peak"),
    [
        (measured(working_rms=1e-3, working_max=1e-2), Platform(), 0.0, 1e-3, 1e-2),
        (measured(scale=2.0), Platform(1e-4, 1e-3), 0.0, 2e-4, 2e-3),
        (measured(), Platform(), 1e-5, 1e-5, 1e-5),
        (measured(), Platform(), 0.0, 2.0**-24, 2.0**-21),
        (measured(scale=0.0, largest=0.0), Platform(), 0.0, 2.0**-150, 2.0**-149),
    ],
    ids=["own error", "platform", "repeat", "rounding", "zeros"],
)
def test_the_largest_term_is_the_floor(
    measure: Distances, platform: Platform, repeat: float, rms: float, peak: float
) -> None:
    assert astuple(floor_of(measure, "float32", platform, repeat)) == pytest.approx((rms, peak))


def test_a_small_tensor_takes_the_pools_relative_error() -> None:
    pools = pooled(
        [("a", measured(3, 1.0, working_rms=1e-3, working_max=2e-3)), ("a", measured(3, 10.0)), ("b", measured(3, 1.0))]
    )
    assert astuple(floor_of(measured(3, 10.0), "float32", pool=pools["a"])) == pytest.approx((1e-2, 2e-2))
    assert floor_of(measured(64, 10.0), "float32", pool=pools["a"]).rms < 1e-5
    assert pools["b"] == Floor(0.0, 0.0)
    assert "c" not in pooled([("c", measured(64, 1.0, working_rms=1.0))])


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
@pytest.mark.parametrize("value", [1.0, 0.75, 3.5, 1e-3, 1000.0, 0.0])
def test_ulp_is_numpys_spacing(name: str, value: float) -> None:
    assert ulp(name, value) == float(np.spacing(np.array(value, name)))


def test_ulp_of_bfloat16_and_of_what_is_not_finite() -> None:
    assert ulp("bfloat16", 1.0) == eps("bfloat16")
    assert ulp("bfloat16", 0.0) == 2.0**-133
    assert ulp("float32", math.inf) == ulp("float32", math.nan) == 0.0


def test_the_model_is_in_units_of_which_the_limits_are_three_and_eight() -> None:
    floor = model_floor("float32", 10.0)
    assert (RMS_FACTOR * floor.rms, MAX_FACTOR * floor.max) == pytest.approx([10 * each for each in MODEL["float32"]])
    assert MAX_FACTOR * model_floor("float32", 1.0, peak=0.5).max == 0.5
    assert RMS_FACTOR * model_floor("float32", 0.0).rms == 4 * 2.0**-149


@pytest.mark.parametrize(
    ("name", "rms", "peak"), [("float64", 168, 336), ("float32", 168, 336), ("float16", 2.5, 4), ("bfloat16", 2.5, 4)]
)
def test_the_model_is_a_few_ulp_of_its_own_type(name: str, rms: float, peak: float) -> None:
    """168 where sums accumulate in the type itself, 2.5 where they are rounded to it once."""
    floor = model_floor(name, 1.0)
    assert RMS_FACTOR * floor.rms / eps(name) == pytest.approx(rms, rel=0.01)
    assert MAX_FACTOR * floor.max / eps(name) == pytest.approx(peak, rel=0.01)


def test_a_pool_is_relative_to_each_members_own_size() -> None:
    members = [("a", measured(3, 4.0, working_rms=8e-3, working_max=2e-2)), ("a", measured(3, 0.5, working_rms=5e-4))]
    assert astuple(pooled(members)["a"]) == pytest.approx((2e-3, 5e-3))
    assert astuple(pooled(reversed(members))["a"]) == pytest.approx((2e-3, 5e-3))
    assert pooled([("a", measured(3, 0.0, working_rms=1.0)), ("b", measured(POOL_BELOW, 1.0, working_rms=1.0))]) == {}
