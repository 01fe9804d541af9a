"""How large the reference's own error may be before it is no floor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec.structs import astuple

from parity.compare import compare
from parity.compare.ceiling import Model, working_type
from parity.compare.limits import DEPTH, MODEL, REFERENCE_FACTOR
from parity.distance.sums import Distances, Moments
from parity.result import measured
from tests.parity.compare.traces import Checks, Run, manifest, pair, write

if TYPE_CHECKING:
    from pathlib import Path

    from parity.result import Pair

RMS, PEAK = MODEL["float32"]
SHAPE = (4, 64)


def moments(scale: float = 1.0, largest: float = 3.0, size: int = 64) -> Distances:
    """A measurement of which only the expected tensor matters."""
    return Distances(size, expected=Moments(size * scale**2, largest), error=Moments())


def test_one_operator_may_err_by_twice_its_model() -> None:
    assert astuple(Model.of("float32").ceiling(moments())) == pytest.approx((2 * 2e-5, 2 * 4e-5))
    assert astuple(Model.of("float32").ceiling(moments(0.5))) == pytest.approx((2e-5, 4e-5))
    assert astuple(Model.of("float16").ceiling(moments())) == pytest.approx((2 * 2.5 / 1024, 2 * 4 * 2 / 1024))
    assert astuple(Model.of("bfloat16").ceiling(moments(largest=1.0))) == pytest.approx((5 / 128, 8 / 128))


def test_a_run_may_err_by_its_depth_more() -> None:
    assert astuple(Model.of_run("float32").ceiling(moments())) == pytest.approx((200 * 2e-5, 8 * 200 * 2e-5))


def test_it_is_relative_to_what_a_tensor_was_made_from_where_that_is_larger() -> None:
    assert astuple(Model.of("float32").ceiling(moments(), reach=1e3)) == pytest.approx(2 * [2 * 4 * 2.0**-23 * 1e3])
    assert astuple(Model.of("float32").ceiling(moments(), reach=1.0)) == pytest.approx((4e-5, 8e-5))
    # Half types accumulate in float32, but in a run the inputs are rounded to them too.
    assert Model.of("float16").ceiling(moments(), reach=1e5).rms == pytest.approx(2 * 4 * 2.0**-23 * 1e5)
    assert Model.of_run("float16").ceiling(moments(), reach=1e3).rms == pytest.approx(2 * 4 * 2.0**-10 * 1e3)
    assert Model.of("float64").ceiling(moments(), reach=1e3).rms == pytest.approx(2 * 4 * 2.0**-52 * 1e3)


def test_an_outlier_may_be_off_by_a_few_ulp_of_its_own_and_a_tensor_of_zeros_by_the_smallest_numbers() -> None:
    assert Model.of("float32").ceiling(moments(largest=1e4)).max == pytest.approx(2 * 4 * np.spacing(np.float32(1e4)))
    assert astuple(Model.of("float16").ceiling(moments(0.0, 0.0))) == pytest.approx((8 * 2.0**-24, 8 * 2.0**-24))


def test_errors_are_covered_up_to_it_and_what_is_no_number_never_is() -> None:
    floor = Model.of("float32").ceiling(moments())
    assert floor.covers(floor.rms, floor.max)
    assert not floor.covers(floor.rms * 1.01, 0.0)
    assert not floor.covers(0.0, floor.max * 1.01)
    assert not floor.covers(float("nan"), 0.0)


@pytest.mark.parametrize(
    ("dtype", "policy", "expected"),
    [
        ("float32", "float32", "float32"),
        ("float32", "tf32", "float16"),
        ("float32", "hf32", "float16"),
        ("bfloat16", "tf32", "bfloat16"),
        ("float64", "hf32", "float64"),
    ],
)
def test_products_of_ten_bits_are_allowed_where_the_policy_says_so(dtype: str, policy: str, expected: str) -> None:
    assert working_type(dtype, policy) == expected


def off(value: np.ndarray, rms: float, dtype: str = "float32") -> np.ndarray:
    """A tensor that is off by the same amount everywhere."""
    return (value + rms * np.where(np.arange(value.size).reshape(value.shape) % 2, 1.0, -1.0)).astype(dtype)


def judged(
    folder: Path,
    errors: dict[str, float],
    *,
    inputs: Run | None = None,
    mode: str = "layers",
    dtype: str = "float32",
    checks: Checks | None = None,
    **fields: Any,
) -> dict[str, Pair]:
    """The pairs of a right candidate beside a reference whose outputs err by so much, at an rms of 1."""
    exact = np.random.default_rng(1).standard_normal(SHAPE)
    exact /= np.sqrt((exact**2).mean())
    forced: Run = dict.fromkeys(errors, exact)
    working: Run = {address: off(exact, error, dtype) for address, error in errors.items()}
    expected = {"layers": "forced", "free": "float64"}[mode]
    runs = {
        dtype: ("run", dtype, (inputs or {}) | working),
        expected: ({"forced": "forced", "float64": "run"}[expected], "float64", forced),
    }
    trace = write(folder / "r", manifest("reference", checks=checks or Checks(), **fields), runs)
    described = manifest("candidate", reference_digest=trace.digest)
    made = {f"{mode}-{dtype}": (mode, dtype, {address: value.astype(dtype) for address, value in forced.items()})}
    result = compare(trace, [write(folder / "c", described, made)])
    return {address: pair(result, address, "precision", mode) for address in errors}


@pytest.mark.parametrize(("error", "verdict"), [(3.8e-5, "MATCH"), (4.2e-5, "INCOMPARABLE")])
def test_a_module_without_parts_is_one_operator(tmp_path: Path, error: float, verdict: str) -> None:
    found = judged(tmp_path, {"unet.act:output": error})["unet.act:output"]
    assert found.verdict == verdict
    assert measured(found.floor_rms) == pytest.approx(min(error, 4e-5), rel=1e-2)


def test_the_errors_of_parts_add_up_in_the_module_around_them(tmp_path: Path) -> None:
    parts = {f"unet.blocks.{number}:output": 3e-5 for number in range(16)}
    found = judged(tmp_path, parts | {"unet:output": 2.2e-4})
    assert found["unet:output"].verdict == "MATCH"  # up to twice the root of 16 times 3e-5
    beyond = judged(tmp_path / "beyond", parts | {"unet:output": 2.6e-4})
    assert beyond["unet:output"].verdict == "INCOMPARABLE"
    assert "16 modules in float32 may err by 0.00024 here" in beyond["unet:output"].detail


@pytest.mark.parametrize(("dtype", "errors"), [("float32", (4.2e-5,)), ("float16", (2e-2, 4.2e-2))])
def test_what_is_computed_between_parts_may_err_more_in_the_half_types(
    tmp_path: Path, dtype: str, errors: tuple[float, ...]
) -> None:
    """A module with one part, whose own error is small: the limit is that of one operator, times what the type leaves."""
    parts = {"unet.act:output": 1e-6}
    for number, error in enumerate(errors):
        found = judged(tmp_path / str(number), parts | {"unet:output": error}, dtype=dtype)["unet:output"]
        assert found.verdict == ("INCOMPARABLE" if error == errors[-1] else "MATCH")


def test_a_part_that_is_off_excuses_nothing_around_it(tmp_path: Path) -> None:
    found = judged(tmp_path, {"unet.conv_in:output": 0.05, "unet:output": 0.05})
    assert {each.verdict for each in found.values()} == {"INCOMPARABLE"}
    assert measured(found["unet:output"].floor_rms) == pytest.approx(4e-5)
    parts = {f"unet.blocks.{number}:output": 0.05 for number in range(9)}
    whole = judged(tmp_path / "nine", parts | {"unet:output": 5e-5})["unet:output"]
    assert (whole.verdict, measured(whole.floor_rms)) == ("INCOMPARABLE", pytest.approx(4e-5))


def test_parts_that_nobody_compared_count_by_their_declaration(tmp_path: Path) -> None:
    modules = {f"unet.blocks.{number}": "Linear" for number in range(25)}
    assert judged(tmp_path, {"unet:output": 1.9e-4}, modules=modules)["unet:output"].verdict == "MATCH"
    assert judged(tmp_path / "b", {"unet:output": 2.1e-4}, modules=modules)["unet:output"].verdict == "INCOMPARABLE"


@pytest.mark.parametrize(("error", "verdict"), [(3.8e-3, "MATCH"), (4.2e-3, "INCOMPARABLE")])
def test_a_free_run_may_have_its_depth(tmp_path: Path, error: float, verdict: str) -> None:
    found = judged(tmp_path, {"unet.act:output": error}, mode="free")["unet.act:output"]
    assert found.verdict == verdict
    assert pytest.approx(4e-3) == REFERENCE_FACTOR * DEPTH * RMS


def test_one_operator_may_err_relative_to_its_inputs_and_a_module_of_several_may_not(tmp_path: Path) -> None:
    large = np.full(SHAPE, 1e4, "float32")
    given = {"unet.norm:input.0": large, "unet:input.0": large}
    found = judged(tmp_path, {"unet.norm:output": 4e-3, "unet:output": 9e-3}, inputs=given)
    assert found["unet.norm:output"].verdict == "MATCH"
    assert found["unet:output"].verdict == "INCOMPARABLE"
    assert "1 modules in float32 may err by 0.008 here" in found["unet:output"].detail


@pytest.mark.parametrize(
    "given", [np.full((1,), 1e5, "float32"), np.full(SHAPE, 10**5), 1e5], ids=["one number", "indices", "a setting"]
)
def test_a_setting_or_an_index_is_nothing_that_an_error_is_relative_to(tmp_path: Path, given: Any) -> None:
    found = judged(tmp_path, {"unet.norm:output": 3e-3}, inputs={"unet.norm:input.0": given})
    assert found["unet.norm:output"].verdict == "INCOMPARABLE"


@pytest.mark.parametrize(("policy", "verdict"), [("float32", "INCOMPARABLE"), ("tf32", "MATCH")])
def test_a_reference_in_tf32_that_says_so_has_a_floor_as_coarse(tmp_path: Path, policy: str, verdict: str) -> None:
    assert judged(tmp_path, {"unet.act:output": 4e-4}, policy=policy)["unet.act:output"].verdict == verdict


def test_a_wider_tensor_of_a_half_precision_run_is_judged_by_the_runs_type(tmp_path: Path) -> None:
    found = judged(tmp_path, {"unet.act:output": 4e-3}, dtype="float16")
    assert found["unet.act:output"].verdict == "MATCH"
    assert judged(tmp_path / "b", {"unet.act:output": 6e-3}, dtype="float16")["unet.act:output"].verdict != "MATCH"


def test_a_reference_that_does_not_repeat_itself_is_a_finding(tmp_path: Path) -> None:
    checks = Checks(repeatable=False, repeat_max_abs={"unet.act:output": 0.01})
    found = judged(tmp_path, {"unet.act:output": 1e-7}, checks=checks)["unet.act:output"]
    assert (found.verdict, found.flags) == ("INCOMPARABLE", ["reference-error"])
    assert "differs from itself by 0.01 from run to run" in found.detail
    assert measured(found.floor_max) == pytest.approx(2 * PEAK)
