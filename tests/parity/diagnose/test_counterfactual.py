"""A counterfactual replay: a process of its own builds the candidate again, edits it and replays what failed."""

from __future__ import annotations

import pytest

from parity.diagnose import counterfactual
from parity.diagnose.counterfactual import replay_with
from parity.errors import ChildInputError
from parity.repair import AttributeEdit, Repairs, SubstituteEdit, WeightEdit, read
from parity.trace import Trace
from tests.parity.numpy_candidate import replayed

PLANT = "def checkpoint(state):\n    state['net.attn.q'] = state['net.attn.q'].T\n"
REPAIR = WeightEdit(address="unet.attn.to_q:weight", change="transpose")
PLACES = ("unet.attn.to_q@step=1:output", "unet.attn@step=1:output")


@pytest.fixture(scope="module")
def broken(program, tmp_path_factory):
    """A port with a transposed matrix."""
    return replayed(program, tmp_path_factory.mktemp("broken") / "candidate", plant=PLANT)


def repaired(program, broken, folder, *edits, modes=("layers",), dtype="float64"):
    """Replay two places with edits."""
    return replay_with(edits, PLACES, reference=program, candidate=broken, folder=folder, modes=modes, dtype=dtype)


def verdicts(result):
    """Return the verdict of each address that was replayed."""
    return {pair.address: pair.verdict for pair in result.pairs if pair.mode == "layers"}


def test_a_child_process_replays_what_was_asked_with_the_same_fault_and_the_repair(program, broken, tmp_path):
    result, refused = repaired(program, broken, tmp_path / "new" / "folder", REPAIR)
    assert verdicts(result) == dict.fromkeys(PLACES, "MATCH")
    assert refused == {}
    assert read(tmp_path / "new" / "folder" / "repair.json") == Repairs(edits=(REPAIR,), strict=False)
    assert Trace.open(tmp_path / "new" / "folder" / "candidate").runs == ("layers-float64",)


def test_without_a_repair_the_fault_is_still_there(program, broken, tmp_path, here):
    assert verdicts(repaired(program, broken, tmp_path)[0]) == dict.fromkeys(PLACES, "MISMATCH")
    (arguments,) = here
    assert f"--plant={broken.folder.with_name('candidate-plant.py')}" in arguments


def test_types_and_modes_are_those_that_were_asked_for(program, broken, tmp_path, here):
    repaired(program, broken, tmp_path, REPAIR, modes=("free", "steps"), dtype="float32")
    assert Trace.open(tmp_path / "candidate").runs == ("free-float32", "steps-float32")


def test_an_edit_that_is_refused_is_told_with_its_reason(program, broken, tmp_path, here):
    _, refused = repaired(program, broken, tmp_path, AttributeEdit(path="unet.ff", name="eps", value=1.0), REPAIR)
    ((edit, reason),) = refused.items()
    assert '"unet.ff"' in edit
    assert reason == "unet.ff has no attribute 'eps' here"


def test_a_replay_before_is_replaced(program, broken, tmp_path, here):
    repaired(program, broken, tmp_path)
    assert set(verdicts(repaired(program, broken, tmp_path, REPAIR)[0]).values()) == {"MATCH"}


def test_a_substitution_ends_what_is_inherited(program, broken, tmp_path, here):
    """In the free run: whatever contains the place gets the reference's tensor from it."""
    edits = (SubstituteEdit(path="unet.attn"),)
    result, _ = replay_with(
        edits,
        ["unet@step=0:output"],
        reference=program,
        candidate=broken,
        folder=tmp_path,
        modes=("free",),
        dtype="float64",
    )
    assert [pair.verdict for pair in result.pairs if pair.mode == "free"] == ["MATCH"]


def test_more_addresses_than_a_command_line_takes_are_all_replayed(program, broken, tmp_path, here, monkeypatch):
    monkeypatch.setattr(counterfactual, "_LONGEST", 20)
    result, _ = repaired(program, broken, tmp_path, REPAIR)
    assert len(verdicts(result)) > len(PLACES)
    assert "--only=.*" in here[0]


def test_a_child_that_fails_is_an_error_that_says_how_to_run_it_alone(program, broken, tmp_path, capfd):
    broken.manifest.command = [*broken.manifest.command, "--device=Abacus", "--nothing"]
    try:
        with pytest.raises(ChildInputError, match=r"failed with exit code 2 .*parity replay .*--nothing"):
            repaired(program, broken, tmp_path)
    finally:
        del broken.manifest.command[-2:]
    assert "--nothing" in capfd.readouterr().err
