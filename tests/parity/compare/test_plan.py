"""What of a candidate is held against what of the reference, and what is missing, unexpected or excluded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from parity.compare import compare
from parity.errors import CaseError
from tests.parity.compare.traces import Run, candidate, manifest, pair, reference, write

if TYPE_CHECKING:
    from pathlib import Path

    from parity.trace import Trace

from tests.parity.compare.traces import CONV, planting


def test_pairs_of_every_run_stand_against_the_right_exact_run(ref: Trace, tmp_path: Path) -> None:
    result = compare(ref, [candidate(tmp_path / "c", ref)])
    assert pair(result, CONV, "semantics", "layers").basis == "float64"
    found = pair(result, CONV, "precision", "layers")
    forced, working = ref.run("forced").tensor(CONV), ref.run("float32").tensor(CONV)
    assert found.basis == "floor"
    assert found.reference_rms == pytest.approx(float(np.sqrt(((working - forced) ** 2).mean())), rel=1e-6)
    assert found.scale == pytest.approx(float(np.sqrt((forced**2).mean())), rel=1e-6)
    twin = ref.run("float64").tensor(CONV)
    free = pair(result, CONV, "precision", "free")
    assert free.reference_max == pytest.approx(float(np.abs(working - twin).max()), rel=1e-6)


def test_what_is_missing_or_unexpected_makes_the_whole_incomplete(ref: Trace, tmp_path: Path) -> None:
    def plant(name: str, tensors: Run) -> None:
        if name == "layers-float32":
            del tensors[CONV]
            tensors["unet.extra@step=0:output"] = np.ones(20, np.float32)

    result = compare(ref, [candidate(tmp_path / "c", ref, plant)])
    assert pair(result, CONV, "precision", "layers").verdict == "MISSING"
    assert pair(result, "unet.extra@step=0:output", "precision", "layers").verdict == "UNEXPECTED"
    assert (result.verdict, result.first_divergence) == ("INCOMPLETE", None)
    assert result.stages["unet"] == "INCOMPLETE"


def test_excluded_addresses_are_listed_and_an_exclude_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    case = {"schema": 1, "exclude": [{"address": r"unet\.conv_in@step=1:.*", "reason": "excluded by the case"}]}
    trace = reference(tmp_path / "r")
    trace.manifest.case = case
    plant = planting("layers-float64", CONV, lambda t: t.__imul__(2))
    result = compare(trace, [candidate(tmp_path / "c", trace, plant)])
    assert result.verdict == "MATCH"
    assert result.coverage.excluded == {CONV: "excluded by the case"}
    case["exclude"] = [{"address": "unet.conv_in", "reason": "identity"}]
    with pytest.raises(CaseError, match="matches no address"):
        compare(trace, [candidate(tmp_path / "d", trace)])


def test_what_the_working_run_alone_recorded_is_held_against_it_by_the_modelled_floor(tmp_path: Path) -> None:
    run = {"unet.a@step=0:output": np.full((4, 8), 0.3)}
    alone = {"unet.b@step=0:output": np.full((4, 8), 0.7)}
    runs = {
        "float32": ("run", "float32", {name: value.astype("float32") for name, value in (run | alone).items()}),
        "float64": ("run", "float64", run),
        "forced": ("forced", "float64", run),
    }
    trace = write(tmp_path / "r", manifest("reference"), runs)
    for factor, verdict in ((1.0, "MATCH"), (1.5, "MISMATCH")):
        ours = {name: (factor * value).astype("float32") for name, value in (run | alone).items()}
        described = manifest("candidate", reference_digest=trace.digest)
        replay = write(tmp_path / verdict, described, {"layers-float32": ("layers", "float32", ours)})
        found = {each.address: each for each in compare(trace, [replay]).pairs}
        assert found["unet.b@step=0:output"].basis == "model"
        assert found["unet.a@step=0:output"].basis == "floor"
        assert [found[name].verdict for name in sorted(found)] == [verdict, verdict]
        assert (found["unet.a@step=0:output"].order, found["unet.b@step=0:output"].order) == (0, 1)


@pytest.mark.parametrize(("run", "verdicts"), [("layers", ["MISSING"]), ("free", ["MISSING"]), ("steps", [])])
def test_outside_the_loop_every_output_is_asked_for_but_in_the_step_replay(
    ref: Trace, tmp_path: Path, run: str, verdicts: list[str]
) -> None:
    outside = "text_encoder.layer:output"

    def drop(name: str, tensors: Run) -> None:
        if name == f"{run}-float64":
            tensors.pop(outside, None)

    result = compare(ref, [candidate(tmp_path / "c", ref, drop)])
    found = [
        each.verdict for each in result.pairs if (each.address, each.mode, each.dtype) == (outside, run, "float64")
    ]
    assert found == verdicts
    assert result.verdict == ("INCOMPLETE" if verdicts else "MATCH")
