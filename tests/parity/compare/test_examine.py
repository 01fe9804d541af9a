"""The second look at failing pairs: many at once, of one run and type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parity.compare import compare
from tests.parity.compare.traces import exact_run, manifest, noisy, pair, write

if TYPE_CHECKING:
    from pathlib import Path

OUT = "unet.a@step=0:output"


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


def test_only_the_rms_fails_where_every_element_is_off_by_a_little(tmp_path: Path) -> None:
    """Then an element counts as outside beyond the limit of the rms, since none is beyond that of the maximum."""
    exact = np.full((4, 64), 1.0)
    working = exact + 1e-3 * np.where(np.arange(64) % 2, 1, -1)
    runs = {
        "float32": ("run", "float32", {OUT: working.astype("float32")}),
        "float64": ("run", "float64", {OUT: exact}),
    }
    trace = write(tmp_path / "r", manifest("reference"), runs | {"forced": ("forced", "float64", {OUT: exact})})
    ours = {"layers-float32": ("layers", "float32", {OUT: (exact + 4e-3).astype("float32")})}
    result = compare(trace, [write(tmp_path / "c", manifest("candidate", reference_digest=trace.digest), ours)])
    found = pair(result, OUT, "precision", "layers")
    assert (found.verdict, found.outside) == ("MISMATCH", 256)
    assert found.max_ulp > 10_000


def test_what_is_equal_and_has_to_be_has_no_worst_element(tmp_path: Path) -> None:
    ids = {"tokenizer:output": np.arange(12).reshape(3, 4)}
    trace = write(tmp_path / "r", manifest("reference"), {"float64": ("run", "float64", ids)})
    ours = {"layers-float64": ("layers", "float64", ids)}
    (found,) = compare(trace, [write(tmp_path / "c", manifest("candidate", reference_digest=trace.digest), ours)]).pairs
    assert (found.verdict, found.worst, found.detail, found.outside) == ("MATCH", None, "", 0)
