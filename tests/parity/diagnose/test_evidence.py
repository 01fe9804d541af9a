"""What a diagnosis may look at: what differs, where, in which tensors, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from parity.address import Address, path_of
from parity.compare import compare
from parity.diagnose.evidence import Evidence, Recordings
from tests.parity.compare.traces import manifest, write
from tests.parity.numpy_candidate import replayed

PLANT = """
def checkpoint(state):
    state['net.attn.q'] = state['net.attn.q'].T
    state['net.ff.bias'] = state['net.ff.bias'] + 1
def model(port):
    port.settings['unet.norm']['eps'] = port.settings['text_encoder.norm']['eps'] = 1e-3
    port.settings['unet.attn']['scale'] = 0.25
"""


def evidence(program, folder, **options):
    """Return the evidence of a port with several faults."""
    trace = replayed(program, folder / "candidate", plant=PLANT, **options)
    return Evidence(compare(program, [trace]), program, [trace])


@pytest.fixture(scope="module")
def found(program, tmp_path_factory):
    """The evidence in both types."""
    return evidence(program, tmp_path_factory.mktemp("evidence"), modes=("layers",))


def test_a_parameter_that_differs_has_both_digests_and_the_ports_name(found):
    weights = {weight.place: weight for weight in found.weights()}
    assert set(weights) == {"unet.attn.to_q", "unet.ff:bias"}
    matrix = weights["unet.attn.to_q"]
    assert (matrix.native, matrix.aside, matrix.forms) == ("net.attn.q", " (native net.attn.q)", ["transpose/own"])
    assert matrix.digest == matrix.candidate.digests["identity/own"] != matrix.reference.digests["identity/own"]
    assert weights["unet.ff:bias"].forms == []
    assert list(weights["unet.ff:bias"].twins) == []


def test_settings_that_differ_alike_are_one_with_all_their_places(found):
    settings = {setting.name: setting for setting in found.settings()}
    assert set(settings) == {"eps", "scale"}
    assert settings["scale"].paths == ("unet.attn",)
    assert (settings["scale"].reference, settings["scale"].candidate) == (pytest.approx(0.5), 0.25)
    assert settings["scale"].native == "net.attn"
    assert [setting.paths for setting in found.settings() if setting.name == "eps"] == [
        ("text_encoder.norm",),
        ("unet.norm",),
    ]


def test_a_suspect_fails_while_nothing_inside_it_does(found):
    suspects = {suspect.path: suspect for suspect in found.suspects()}
    assert set(suspects) == {"text_encoder.norm", "unet.norm", "unet.attn.to_q", "unet.ff"}
    assert len(suspects["unet.norm"].pairs) == 3
    assert suspects["unet.norm"].attribute("eps") == 1e-6
    assert suspects["unet.norm"].attribute("num_groups") is None


def test_a_suspects_tensors_are_those_of_the_float64_layer_replay(found, program):
    suspect = next(suspect for suspect in found.suspects() if suspect.path == "unet.norm")
    failures = list(suspect.failures())
    assert [failure.address.step for failure in failures] == [0, 1, 2]
    for failure in failures:
        assert (failure.reference.dtype, failure.candidate.dtype) == (np.float64, np.float64)
        assert list(failure.inputs) == ["hidden_states"]
        assert np.array_equal(failure.reference, program.run("float64").tensor(str(failure.address)))
        assert failure.first_input is failure.inputs["hidden_states"]


def test_without_float64_the_working_types_tensors_are_looked_at(program, tmp_path):
    found = evidence(program, tmp_path, modes=("layers",), dtypes=("float32",))
    assert (found.reference_run.info.dtype, found.candidate_run.info.dtype) == ("float32", "float32")
    suspect = next(suspect for suspect in found.suspects() if suspect.path == "unet.norm")
    assert [failure.address.step for failure in suspect.failures()] == [0, 1, 2]


def test_without_a_layer_replay_there_is_no_suspect(program, tmp_path):
    found = evidence(program, tmp_path, modes=("free",), dtypes=("float64",))
    assert (list(found.suspects()), found.failing, found.candidate_run) == ([], [], None)
    assert {weight.place for weight in found.weights()} == {"unet.attn.to_q", "unet.ff:bias"}


def test_the_references_tensor_of_another_place_is_found_by_its_call_or_its_only_one(found, program):
    run = program.run("float64")
    for call, text in ((1, "unet.act@step=1,call=1:output"), (0, "unet.norm@step=1:output")):
        address = Address.parse(text)
        asked = Address(path=address.path, step=1, call=call, port="output")
        assert np.array_equal(found.recorded(asked), run.tensor(text))
    assert found.recorded(Address(path="unet.norm", step=7, port="output")) is None


def test_a_recording_is_told_from_a_replay(found, program):
    assert not found.is_of_references
    assert Evidence(found.result, program, [program]).is_of_references


@pytest.mark.parametrize("names", [("float32", "float64"), ("float64", "float32"), ("float64",)])
def test_of_two_recordings_the_working_runs_are_held_side_by_side(tmp_path, names):
    run = {"unet.a@step=0:output": np.ones((2, 3))}
    written = {name: ("run", name, {key: value.astype(name) for key, value in run.items()}) for name in names}
    written["forced"] = ("forced", "float64", run)
    trace = write(tmp_path, manifest("reference"), written)
    recordings = Recordings.of(trace, trace)
    assert [each.info.dtype for each in recordings] == [min(names)] * 2
    assert (recordings.hold("unet.a@step=0:output"), recordings.hold("unet.a@step=1:output")) == (True, False)


def test_a_pair_has_the_candidates_own_name_of_its_place(found):
    natives = {path_of(pair.address): pair.native for pair in found.layers}
    assert (natives["unet.norm"], natives["unet.attn.to_q"]) == ("net.ln", "net.attn.qkv")
