"""What the differences cost at the final latents and the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from parity.compare import compare
from parity.trace import Trace
from tests.parity.compare.traces import candidate, manifest, write

if TYPE_CHECKING:
    from pathlib import Path


def test_the_price_is_told_at_the_last_latents_and_the_image(ref: Trace, tmp_path: Path) -> None:
    price = compare(ref, [candidate(tmp_path / "c", ref)]).price
    assert set(price) == {"final_latents", "image"}
    assert set(price["image"]) == {"float32", "float64"}
    latents = price["final_latents"]["float32"]
    assert latents["address"] == "scheduler.step@step=2:output"
    exact, made = (
        ref.run("float64").tensor(latents["address"]),
        Trace.open(tmp_path / "c").run("free-float32").tensor(latents["address"]),
    )
    assert latents["candidate"]["max_over_largest"] == pytest.approx(
        float(np.abs(made - exact).max() / np.abs(exact).max())
    )
    assert set(latents) == {"address", "candidate", "reference", "between"}


def test_the_last_step_and_the_first_image_count_and_what_no_run_has_costs_nothing(tmp_path: Path) -> None:
    ones = np.ones(20, np.float32)
    tensors = {"scheduler.step@step=0:output": ones, "scheduler.step@step=1:output": 2 * ones}
    trace = write(tmp_path / "r", manifest("reference"), {"float32": ("run", "float32", tensors)})
    described = manifest("candidate", reference_digest=trace.digest)
    price = compare(trace, [write(tmp_path / "c", described, {"free-float32": ("free", "float32", tensors)})]).price
    assert {what: list(by_type) for what, by_type in price.items()} == {"final_latents": ["float32"]}
    assert price["final_latents"]["float32"]["address"] == "scheduler.step@step=1:output"
