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
