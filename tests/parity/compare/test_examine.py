"""The second look at failing pairs: many at once, of one run and type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parity.compare import compare
from tests.parity.compare.traces import exact_run, manifest, noisy, pair, write

if TYPE_CHECKING:
    from pathlib import Path


def test_failing_pairs_are_examined_together_with_and_without_the_references_own_tensor(tmp_path: Path) -> None:
    forced = noisy(exact_run(), 1e-6, 5, "float64")
    working = noisy(forced, 1e-7, 7)
    alone = "unet.act@step=1:output"
    del working[alone]
    runs = {
        "float32": ("run", "float32", working),
        "float64": ("run", "float64", exact_run()),
        "forced": ("forced", "float64", forced),
    }
    trace = write(tmp_path / "r", manifest("reference"), runs)
    made = noisy(forced, 0.1, 8)
    described = manifest("candidate", reference_digest=trace.digest)
    result = compare(trace, [write(tmp_path / "c", described, {"layers-float32": ("layers", "float32", made)})])
    for address in (alone, "unet.conv_in@step=1:output"):
        found = pair(result, address, "precision", "layers")
        assert (found.verdict, found.ground) == ("MISMATCH", "model" if address == alone else "floor")
        distance = np.abs(made[address] - forced[address])
        assert found.worst is not None
        assert found.worst.index == np.unravel_index(distance.argmax(), distance.shape)
