"""Wider tensors of a half-precision run: on that type's grid by right, and named only where they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from parity.compare import compare
from tests.parity.compare.traces import manifest, pair, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parity.compare.traces import Run

GUIDANCE = "guidance@step=0:output"
NAMED = ("MISMATCH", "half-precision grid")


@pytest.mark.parametrize(
    ("working", "error", "expected"),
    [("float16", 2e-3, ("MATCH", "")), ("float16", 2e-2, NAMED), ("float32", 2e-3, NAMED)],
)
def test_a_float32_tensor_on_the_grid_of_float16(
    working: str, error: float, expected: tuple[str, str], tmp_path: Path
) -> None:
    exact = np.random.default_rng(0).standard_normal(64)

    def off(seed: int, error: float) -> Run:
        return {GUIDANCE: (exact + error * np.random.default_rng(seed).standard_normal(64)).astype("float32")}

    twin = {GUIDANCE: exact}
    runs = {"float64": ("run", "float64", twin), "forced": ("forced", "float64", twin)}
    trace = write(tmp_path / "r", manifest("reference"), {working: ("run", working, off(1, 1e-3)), **runs})
    rounded = {GUIDANCE: off(2, error)[GUIDANCE].astype("float16").astype("float32")}
    described = manifest("candidate", reference_digest=trace.digest)
    other = write(tmp_path / "c", described, {f"layers-{working}": ("layers", working, rounded)})
    found = pair(compare(trace, [other]), GUIDANCE, "precision", "layers")
    assert (found.verdict, found.hard) == expected
    assert ("half-precision-grid" in found.flags) == bool(found.hard)


@pytest.mark.parametrize("size", [64, 5000])
def test_a_large_element_that_is_off_by_its_own_ulp_shows_no_grid(size: int, tmp_path: Path) -> None:
    """Without a twin; the candidate delivers float32 made of float16 numbers, of which one is off by two ulp."""
    exact = np.full(size, 1 + 2.0**-10, np.float16)
    exact[0] = 1025.0
    off = exact.astype(np.float32)
    off[0] += 2.0
    trace = write(tmp_path / "r", manifest("reference"), {"float16": ("run", "float16", {GUIDANCE: exact})})
    described = manifest("candidate", reference_digest=trace.digest)
    other = write(tmp_path / "c", described, {"layers-float16": ("layers", "float16", {GUIDANCE: off})})
    found = pair(compare(trace, [other]), GUIDANCE, "precision", "layers")
    assert (found.verdict, found.flags, found.outside) == ("MATCH", ["mixed-dtype"], 0)


@pytest.mark.parametrize(("size", "named"), [(16, True), (15, False)])
def test_float16_on_the_grid_of_bfloat16_is_named_by_how_many_values_lie_there(
    size: int, named, tmp_path: Path
) -> None:
    """However small the error is beside the reference's own."""
    exact = 1 + np.random.default_rng(4).random(size)
    working = (exact + 0.004).astype("float16")
    twin = {GUIDANCE: exact}
    runs = {"float64": ("run", "float64", twin), "forced": ("forced", "float64", twin)}
    trace = write(tmp_path / "r", manifest("reference"), {"float16": ("run", "float16", {GUIDANCE: working}), **runs})
    coarse = {GUIDANCE: (np.rint(exact * 128) / 128).astype("float16")}
    coarse[GUIDANCE][0] += 3 / 128  # near the limit, so that it is looked at again
    described = manifest("candidate", reference_digest=trace.digest)
    other = write(tmp_path / "c", described, {"layers-float16": ("layers", "float16", coarse)})
    found = pair(compare(trace, [other]), GUIDANCE, "precision", "layers")
    assert (found.verdict, "half-precision-grid" in found.flags) == ("MISMATCH" if named else "MATCH", named)
