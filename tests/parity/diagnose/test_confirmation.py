"""What a replay with the repairs proves: a cause only when all of its outputs match, and of what contains it only what heals."""

from __future__ import annotations

import pytest

from parity.address import path_of
from parity.compare import judge
from parity.diagnose.hypothesis import FITTED, PROVEN, REPORTED, UNEXPLAINED
from parity.repair import SubstituteEdit, WeightEdit, read
from tests.parity.diagnose.test_diagnosis import FAULTS, diagnosed, model

TRANSPOSED = FAULTS["a transposed matrix"][0]
EPSILON = "port.settings['unet.norm']['eps'] = 1e-4"


def in_layers(result, path):
    """Return the pairs of one path in the replay layer by layer."""
    return [pair for pair in result.pairs if pair.mode == "layers" and path_of(pair.address) == path]


def test_a_module_that_still_fails_after_its_inner_part_is_repaired_is_not_excused(program, tmp_path, here):
    """A matrix inside the attention is transposed, and the attention is wrong by itself as well."""
    own = model("own = port.cells['net.attn']", "port.cells['net.attn'] = lambda x: own(x) * x.dtype.type(1.01)")
    result = diagnosed(program, tmp_path, TRANSPOSED + own)
    (cause,) = result.causes
    assert (cause.slug, cause.confirmed) == ("transposed-weight", True)
    assert all(pair.verdict == "MISMATCH" and pair.flags == [] for pair in in_layers(result, "unet.attn"))
    assert all(pair.flags == [] for pair in in_layers(result, "unet"))
    assert result.stages["unet"] == "MISMATCH"
    assert result.first_divergence.stage == "weights"
    assert result.counts["findings"] > len(in_layers(result, "unet.attn.to_q")) + 1


def test_what_only_contained_the_fault_is_excused_and_the_fault_is_not(program, tmp_path, here):
    result = diagnosed(program, tmp_path, TRANSPOSED)
    for path, flags in {"unet.attn": ["contains"], "unet": ["contains"], "unet.attn.to_q": []}.items():
        assert [pair.flags for pair in in_layers(result, path)] == [flags] * 3
    assert (result.verdict, result.stages["unet"]) == ("MISMATCH", "MISMATCH")


@pytest.mark.parametrize("step", [0, 2])
def test_a_cause_is_confirmed_only_when_every_output_matches(program, tmp_path, here, step):
    """The norm's epsilon is wrong in all steps, and in one of them something else is, too."""
    plant = model(
        EPSILON,
        "own, calls = port.cells['net.ln'], []",
        "def cell(x):",
        "    calls.append(x)",
        f"    return own(x) * (1.001 if len(calls) % 3 == {(step + 1) % 3} else 1)",
        "port.cells['net.ln'] = cell",
    )
    result = diagnosed(program, tmp_path, plant, modes=("layers",))
    (cause,) = result.causes
    assert (cause.slug, cause.address, cause.confirmed) == ("norm-epsilon", "unet.norm", False)
    assert cause.confidence == 0.5
    assert cause.evidence[-1].endswith("still differs")
    assert result.verdict == "MISMATCH"


def test_a_cause_at_two_places_is_confirmed_only_when_both_match(program, tmp_path, here):
    """Both epsilons are reported wrong in the same way; one of the two norms does not listen to its own."""
    settings = "port.settings['unet.norm']['eps'] = port.settings['text_encoder.norm']['eps'] = 1e-4"
    healed = diagnosed(program, tmp_path / "both", model(settings), modes=("layers",))
    assert all(cause.confirmed and cause.confidence == PROVEN for cause in healed.causes)
    deaf = model(
        settings,
        "from tests.parity.numpy_candidate import normal",
        "gain, bias = port.state['net.ln.gain'], port.state['net.ln.bias']",
        "port.cells['net.ln'] = lambda x: normal(x, 1e-4) * gain + bias",
    )
    found = diagnosed(program, tmp_path / "one", deaf, modes=("layers",))
    assert {cause.address: cause.confirmed for cause in found.causes} == {"text_encoder.norm": True, "unet.norm": False}


@pytest.mark.parametrize("name", FAULTS)
def test_a_confidence_is_a_share_and_only_a_proof_is_certain(program, tmp_path, name, here):
    plant, _, _, repairable = FAULTS[name]
    for cause in diagnosed(program, tmp_path, plant, modes=("layers",)).causes:
        assert 0 < cause.confidence <= 1
        assert cause.confidence == PROVEN or not cause.confirmed
        assert cause.confirmed is repairable
        assert cause.evidence[-1].startswith("replayed with the repair applied, ") is repairable
        assert (cause.before is not None) is (cause.after is not None) is repairable


def test_words_for_confidence_stand_for_shares_in_their_order():
    assert 0 < UNEXPLAINED < REPORTED < FITTED < PROVEN == 1


def test_a_result_that_was_diagnosed_keeps_its_excuses_when_it_is_judged_again(program, tmp_path, here):
    result = diagnosed(program, tmp_path, TRANSPOSED)
    again = judge(result, [])
    assert again == result
    assert [pair.flags for pair in in_layers(again, "unet.attn")] == [["contains"]] * 3


def test_layers_in_the_working_type_alone_have_suspects_causes_and_proof(program, tmp_path, here):
    result = diagnosed(program, tmp_path, TRANSPOSED + model(EPSILON), modes=("layers",), dtypes=("float32",))
    assert [(cause.slug, cause.address, cause.confirmed) for cause in result.causes] == [
        ("transposed-weight", "unet.attn.to_q", True),
        ("norm-epsilon", "unet.norm", True),
    ]
    (command,) = here
    assert "--dtype=float32" in command


def test_where_nothing_can_be_repaired_the_recorded_outputs_stand_in_and_the_fault_stays_a_finding(
    program, tmp_path, here
):
    """They end what the free run inherits from the place, and prove no cause."""
    result = diagnosed(program, tmp_path, FAULTS["a factor"][0], modes=("layers",))
    (cause,) = result.causes
    assert (cause.confirmed, cause.before, cause.after) == (False, None, None)
    assert all(pair.flags == [] for pair in in_layers(result, "unet.norm"))
    edits = read(tmp_path / "counterfactual" / "repair.json").edits
    assert edits == (SubstituteEdit(path="unet.norm"),)


def test_a_repair_and_a_substitution_go_together_each_for_its_own_cause(program, tmp_path, here):
    result = diagnosed(program, tmp_path, TRANSPOSED + FAULTS["a factor"][0], modes=("layers",))
    assert [(cause.slug, cause.confirmed) for cause in result.causes] == [
        ("transposed-weight", True),
        ("scaled-output", False),
    ]
    kinds = [type(edit) for edit in read(tmp_path / "counterfactual" / "repair.json").edits]
    assert kinds == [WeightEdit, SubstituteEdit]


def test_nothing_stands_in_for_a_parameter_with_an_address_of_its_own(program, tmp_path, here):
    plant = "def checkpoint(state):\n    state['net.ff.bias'] = state['net.ff.bias'] + 1\n"
    (cause,) = diagnosed(program, tmp_path, plant, modes=("layers",)).causes
    assert (cause.slug, cause.address, cause.confirmed, here) == ("different-weight", "unet.ff:bias", False, [])
