"""How much of the reference was compared, and why the rest was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from parity.compare import compare
from parity.trace import WeightDigests
from tests.parity.compare.traces import Run, addresses, candidate, manifest, write

if TYPE_CHECKING:
    from pathlib import Path

    from parity.trace import Trace


def test_a_path_with_a_reason_is_not_missed(ref: Trace, tmp_path: Path) -> None:
    def drop(_: str, tensors: Run) -> None:
        for address in list(tensors):
            if address.startswith("unet.conv_in@"):
                del tensors[address]

    dropped = candidate(tmp_path / "c", ref, drop, not_compared={"unet.conv_in": "no counterpart"})
    result = compare(ref, [dropped])
    assert result.verdict == "MATCH"
    assert result.coverage.not_compared == {"unet.conv_in": "no counterpart"}
    assert (result.coverage.paths, result.coverage.compared) == (8, 7)
    without = compare(ref, [candidate(tmp_path / "d", ref, drop)])
    assert without.verdict == "INCOMPLETE"
    assert without.coverage.unexplained == ["unet.conv_in"]


def test_nothing_compared_is_incomplete(ref: Trace, tmp_path: Path) -> None:
    everything = dict.fromkeys(
        {address.partition("@")[0].partition(":")[0] for address in addresses()}, "no counterpart"
    )
    described = manifest("candidate", reference_digest=ref.digest, not_compared=everything)
    result = compare(ref, [write(tmp_path / "c", described, {"layers-float64": ("layers", "float64", {})})])
    assert (result.verdict, result.pairs) == ("INCOMPLETE", [])
    assert compare(ref, []).verdict == "INCOMPLETE"


def test_a_partial_replay_answers_only_for_what_it_was_asked(ref: Trace, tmp_path: Path) -> None:
    def keep(_: str, tensors: Run) -> None:
        for address in list(tensors):
            if not address.startswith("unet.conv_in"):
                del tensors[address]

    partial = candidate(tmp_path / "c", ref, keep, names=("layers-float64",), only=r"unet\.conv_in@.*")
    result = compare(ref, [partial])
    assert (result.verdict, len(result.pairs)) == ("MATCH", 3)
    assert (result.coverage.paths, result.coverage.unexplained) == (1, [])


@pytest.mark.parametrize("input_alone", [True, False])
def test_a_module_of_which_only_inputs_were_compared_was_not_compared(tmp_path: Path, input_alone) -> None:
    """What went into it says nothing of what it does."""
    tensors = {f"unet.{name}@step=0:{port}": np.ones((2, 3)) for name in "ab" for port in ("input.x", "output")}
    trace = write(tmp_path / "r", manifest("reference"), {"float64": ("run", "float64", tensors)})
    if input_alone:
        del tensors["unet.b@step=0:output"]
    described = manifest("candidate", reference_digest=trace.digest)
    result = compare(trace, [write(tmp_path / "c", described, {"layers-float64": ("layers", "float64", tensors)})])
    assert "unet.b@step=0:input.x" in {pair.address for pair in result.pairs if pair.verdict == "MATCH"}
    assert (result.coverage.paths, result.coverage.compared) == (2, 1 if input_alone else 2)
    assert result.coverage.unexplained == (["unet.b"] if input_alone else [])
    assert result.verdict == ("INCOMPLETE" if input_alone else "MATCH")


def test_the_owner_of_a_parameter_that_nothing_calls_is_asked_for_too(tmp_path: Path) -> None:
    digests = WeightDigests(shape=(2, 3), dtype="float32", digests={"identity/own": "d"})
    weights = {f"unet.{name}:weight": digests for name in ("a", "never")}
    tensors = {"unet.a@step=0:output": np.ones((2, 3))}
    trace = write(tmp_path / "r", manifest("reference", weights=weights), {"float64": ("run", "float64", tensors)})
    described = manifest("candidate", reference_digest=trace.digest, weights=weights)
    result = compare(trace, [write(tmp_path / "c", described, {"layers-float64": ("layers", "float64", tensors)})])
    assert (result.coverage.parameter_owners, result.coverage.parameter_owners_compared) == (2, 1)
    assert (result.coverage.unexplained, result.verdict) == (["unet.never"], "INCOMPLETE")
    assert (result.coverage.pairs, len(result.pairs)) == (1, 3)
    reason = {"not_compared": {"unet.never": "identity"}}
    described = manifest("candidate", reference_digest=trace.digest, weights=weights, **reason)
    result = compare(trace, [write(tmp_path / "d", described, {"layers-float64": ("layers", "float64", tensors)})])
    assert (result.coverage.not_compared, result.verdict) == ({"unet.never": "identity"}, "MATCH")


def test_an_excluded_path_is_told_with_its_reason_and_others_keep_theirs(tmp_path: Path) -> None:
    tensors = {f"unet.{name}@step=0:output": np.ones((2, 3)) for name in "abc"}
    trace = write(tmp_path / "r", manifest("reference"), {"float64": ("run", "float64", tensors)})
    described = manifest("candidate", reference_digest=trace.digest, not_compared={"unet.b": "identity"})
    one = {"unet.a@step=0:output": np.ones((2, 3))}
    replay = write(tmp_path / "c", described, {"layers-float64": ("layers", "float64", one)})
    exclude = {"address": r"unet\.[bc]@.*", "reason": "not ours"}
    result = compare(trace, [replay], excludes=[exclude])
    assert result.coverage.not_compared == {"unet.b": "identity", "unet.c": "not ours"}
    assert result.coverage.excluded == {"unet.c@step=0:output": "not ours"}
    assert (result.coverage.compared, result.verdict) == (1, "MATCH")
