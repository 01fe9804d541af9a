"""A pair's numbers, types and flags, and what cannot be compared."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from parity.compare import compare
from parity.trace import Island, Row, Trace
from tests.parity.compare.traces import (
    IDS,
    Run,
    candidate,
    exact_run,
    manifest,
    noisy,
    pair,
    reference,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path

from tests.parity.compare.traces import CONV, planting


def test_an_island_is_judged_at_float32s_rounding_in_the_open(tmp_path: Path) -> None:
    island = Island(path="unet.time_proj", operator="exp", dtype="float32", file="embeddings.py", function="sinusoid")
    trace = reference(tmp_path / "r", islands=[island])

    def rounded(name: str, tensors: Run) -> None:
        if name == "layers-float64":
            for path in ("unet.time_proj", "unet.conv_in"):
                tensors[f"{path}@step=0:output"] *= 1 + 1e-7

    result = compare(trace, [candidate(tmp_path / "c", trace, rounded)])
    inside = pair(result, "unet.time_proj@step=0:output", "semantics", "layers")
    assert (inside.verdict, inside.flags) == ("MATCH", ["island"])
    assert pair(result, "unet@step=0:output", "semantics", "layers").flags == ["island"]
    assert pair(result, "unet.conv_in@step=0:output", "semantics", "layers").verdict == "MISMATCH"


@pytest.mark.parametrize(
    ("dtype", "verdict", "hard"), [("float16", "MISMATCH", "narrower type"), ("float64", "MATCH", "")]
)
def test_another_type_than_asked_is_flagged_and_a_narrower_one_fails(
    ref: Trace, tmp_path: Path, dtype: str, verdict: str, hard: str
) -> None:
    plant = planting("layers-float32", CONV, lambda t: t.astype(dtype))
    found = pair(compare(ref, [candidate(tmp_path / "c", ref, plant)]), CONV, "precision", "layers")
    assert (found.verdict, found.hard) == (verdict, hard)
    assert "mixed-dtype" in found.flags


def _bumped(ids: np.ndarray) -> np.ndarray:
    """The ids with one of them wrong."""
    ids = ids.copy()
    ids[1, 70] += 1
    return ids


def test_one_wrong_token_id_is_a_mismatch_at_its_place(ref: Trace, tmp_path: Path) -> None:
    plant = planting(
        "layers-float32", IDS, lambda t: t.__setitem__((1, 70), t[1, 70] + 1) if t.flags.writeable else _bumped(t)
    )
    found = pair(compare(ref, [candidate(tmp_path / "c", ref, plant)]), IDS, "precision", "layers")
    assert (found.verdict, found.basis, found.outside, found.error_max) == ("MISMATCH", "exact", 1, 1.0)
    assert found.worst is not None
    assert found.worst.index == (1, 70)


def test_ids_in_another_type_match_and_are_flagged(ref: Trace, tmp_path: Path) -> None:
    plant = planting("free-float32", IDS, lambda t: t.astype("float64"))
    found = pair(compare(ref, [candidate(tmp_path / "c", ref, plant)]), IDS, "precision", "free")
    assert (found.verdict, found.flags) == ("MATCH", ["mixed-dtype"])


def test_empty_tensors_compare_nothing(tmp_path: Path) -> None:
    tensors = {"unet.conv_in@step=0:output": np.empty((0, 3))}
    trace = write(tmp_path / "r", manifest("reference"), {"float64": ("run", "float64", tensors)})
    other = write(
        tmp_path / "c",
        manifest("candidate", reference_digest=trace.digest),
        {"layers-float64": ("layers", "float64", tensors)},
    )
    (only,) = compare(trace, [other]).pairs
    assert (only.verdict, only.detail) == ("MISSING", "empty on both sides; nothing was compared")


def test_nan_in_the_reference_is_never_a_match(tmp_path: Path) -> None:
    run = exact_run()
    run[CONV][0, 0, 0, 0] = math.nan
    trace = write(tmp_path / "r", manifest("reference"), {"float64": ("run", "float64", run)})
    other = write(
        tmp_path / "c",
        manifest("candidate", reference_digest=trace.digest),
        {"layers-float64": ("layers", "float64", run)},
    )
    result = compare(trace, [other])
    assert pair(result, CONV, "semantics", "layers").verdict == "INCOMPARABLE"
    assert result.verdict == "MISMATCH"


def test_without_a_twin_semantics_is_not_measured_and_depth_is_flagged(tmp_path: Path) -> None:
    run = noisy(exact_run(), 0.0, 1)
    trace = write(tmp_path / "r", manifest("reference"), {"float32": ("run", "float32", run)})
    rows = [Row(path="unet.conv_in", native="conv", kind="conv"), Row(path="unet", native="unet")]
    runs = {"layers-float32": ("layers", "float32", noisy(run, 1e-6, 2))}
    result = compare(
        trace, [write(tmp_path / "c", manifest("candidate", reference_digest=trace.digest, alignment=rows), runs)]
    )
    assert result.checks["semantics"] == "not measured"
    assert pair(result, CONV, "precision", "layers").basis == "model"
    assert pair(result, CONV, "precision", "layers").flags == []
    assert pair(result, "unet@step=0:output", "precision", "layers").flags == ["unbounded-depth"]
    assert result.verdict == "MATCH"
    runs = {"layers-float32": ("layers", "float32", noisy(run, 1e-4, 2))}
    result = compare(trace, [write(tmp_path / "d", manifest("candidate", reference_digest=trace.digest), runs)])
    assert pair(result, CONV, "precision", "layers").verdict == "MISMATCH"


def test_plain_values_are_compared_when_both_sides_have_them(tmp_path: Path) -> None:
    values = {
        "guidance@step=0:input.scale": 5.0,
        "unet.conv_in@step=0:input.mask": None,
        "guidance@step=0:input.count": 3,
    }
    trace = write(tmp_path / "r", manifest("reference"), {"float64": ("run", "float64", exact_run() | values)})
    described = manifest("candidate", reference_digest=trace.digest)
    other = exact_run() | values | {"guidance@step=0:input.scale": 7.5, "guidance@step=0:input.count": 3.0}
    result = compare(trace, [write(tmp_path / "c", described, {"layers-float64": ("layers", "float64", other)})])
    assert pair(result, "guidance@step=0:input.scale", "semantics", "layers").verdict == "MISMATCH"
    assert pair(result, "unet.conv_in@step=0:input.mask", "semantics", "layers").verdict == "MATCH"
    assert pair(result, "guidance@step=0:input.count", "semantics", "layers").flags == ["mixed-dtype"]


def as_shown(value: object) -> object:
    """What a result shows of a plain value: a finite number, or how Python writes it."""
    is_number = type(value) in {int, float} and math.isfinite(value)
    return float(value) if is_number else str(value)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ("fast", "fast", "MATCH"), ("fast", "slow", "MISMATCH"), ("", "slow", "MISMATCH"), ("5", 5, "MISMATCH"),
        (True, True, "MATCH"), (True, False, "MISMATCH"), (True, 1, "MATCH"), (True, 2, "MISMATCH"), (True, 1.0 + 2.0**-52, "MISMATCH"),
        (None, None, "MATCH"), (None, 0, "MISMATCH"), (None, "None", "MISMATCH"), (None, False, "MISMATCH"),
        (3, 3, "MATCH"), (3, 4, "MISMATCH"), (3, 3.0, "MATCH"), (3, 3.0001, "MISMATCH"), (10**17, 10**17 + 1, "MISMATCH"),
        (5.0, 5.0 * (1 + 2.0**-50), "MATCH"), (5.0, 5.0 * (1 + 2.0**-40), "MISMATCH"), (0.0, 1e-300, "MISMATCH"), (5.0, -5.0, "MISMATCH"),
        (math.inf, math.inf, "MATCH"), (math.inf, -math.inf, "MISMATCH"), (1e308, math.inf, "MISMATCH"), (math.nan, 1.0, "MISMATCH"),
    ],
)  # fmt: skip
def test_a_plain_value_is_the_same_or_a_float_to_its_rounding(
    tmp_path: Path, first: object, second: object, verdict: str
) -> None:
    """What is no float is equal or wrong; a truth value is not rounded."""
    found = []
    for name, (one, other) in {"forth": (first, second), "back": (second, first)}.items():
        (tmp_path / name).mkdir()
        trace = write(
            tmp_path / name / "r", manifest("reference"), {"float64": ("run", "float64", {"unet:input.x": one})}
        )
        runs = {"layers-float64": ("layers", "float64", {"unet:input.x": other})}
        replay = write(tmp_path / name / "c", manifest("candidate", reference_digest=trace.digest), runs)
        found += compare(trace, [replay]).pairs
    assert [each.verdict for each in found] == [verdict, verdict]
    assert [bool(each.detail) for each in found] == [verdict != "MATCH"] * 2
    assert [each.outside for each in found] == [int(verdict != "MATCH")] * 2
    shown = [(each.worst.reference, each.worst.candidate) for each in found]
    assert shown == [(as_shown(first), as_shown(second)), (as_shown(second), as_shown(first))]


def test_a_plain_float_is_rounded_as_the_runs_type_rounds(tmp_path: Path) -> None:
    values = {"unet:input.x": 5.0 * (1 + 2.0**-21)}
    trace = write(tmp_path / "r", manifest("reference"), {"float32": ("run", "float32", {"unet:input.x": 5.0})})
    runs = {"layers-float32": ("layers", "float32", values), "layers-float64": ("layers", "float64", values)}
    result = compare(trace, [write(tmp_path / "c", manifest("candidate", reference_digest=trace.digest), runs)])
    assert {each.dtype: each.verdict for each in result.pairs} == {"float32": "MATCH", "float64": "MISMATCH"}


def test_a_rows_operator_has_its_platforms_own_error_in_the_floor(tmp_path: Path) -> None:
    """The rms in the rms, the largest in the largest, each relative to the tensor's rms."""
    exact = 2.0 * np.where(np.arange(64) % 2, 1.0, -1.0)
    runs = {"float32": ("run", "float32", {CONV: exact.astype("float32")})}
    runs |= {name: (mode, "float64", {CONV: exact}) for name, mode in (("float64", "run"), ("forced", "forced"))}
    trace = write(tmp_path / "r", manifest("reference"), runs)
    described = manifest(
        "candidate",
        reference_digest=trace.digest,
        alignment=[Row(path="unet.conv_in", native="conv", kind="conv2d")],
        floors={"conv2d": {"float32": {"rel_l2": 1e-6, "rel_max": 5e-6}}},
    )
    ours = {"layers-float32": ("layers", "float32", {CONV: exact.astype("float32")})}
    found = pair(compare(trace, [write(tmp_path / "c", described, ours)]), CONV, "precision", "layers")
    assert (found.floor_rms, found.floor_max) == pytest.approx((2e-6, 1e-5))
