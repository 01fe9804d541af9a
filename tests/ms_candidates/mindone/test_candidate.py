"""mindone itself, replayed by an interpreter that has it: `PARITY_MINDONE_PYTHON` names one with mindone==0.5.0."""

import os
import subprocess

import pytest

from parity.compare import compare
from parity.diagnose import causes_of
from parity.diagnose.evidence import Evidence
from parity.errors import InputError
from parity.replay import Request, find
from parity.trace import Manifest, Trace
from tests.conftest import ROOT

PYTHON = os.environ.get("PARITY_MINDONE_PYTHON")
installed = pytest.mark.skipif(PYTHON is None, reason="PARITY_MINDONE_PYTHON names no interpreter with mindone 0.5.0")


def replay(recorded, out, *options):
    command = [
        PYTHON,
        "-m",
        "parity",
        "replay",
        recorded,
        "--candidate",
        "ms_candidates.mindone.candidate:candidate",
        "--out",
        out,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [*map(str, command), *options], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return Trace.open(out)


CASE = {
    "prompt": {"positive": ["a cat"], "negative": []},
    "sampling": {
        "sampler": "EulerAncestral",
        "discretization": "DiffusersDDPM",
        "steps": 1,
        "guidance": 5.0,
        "seed": 0,
    },
    "size": {"height": 64, "width": 64, "original": [64, 64], "crop": [0, 0], "target": [64, 64]},
}


def test_it_is_an_entry_point_and_its_alignment_needs_no_framework(tiny_model, tmp_path):
    candidate = find("mindone")
    manifest = Manifest(side="reference", name="x", case=CASE, case_digest="")
    request = Request(model=tiny_model, weights=None, folder=tmp_path, dtype="float32", device="CPU", manifest=manifest)
    rows, reasons = candidate.alignment(request)
    assert {row.function for row in rows} == {True}
    assert reasons == {}


def test_a_model_that_is_no_diffusers_folder_is_refused(tmp_path):
    manifest = Manifest(side="reference", name="x", case=CASE, case_digest="")
    request = Request(model=tmp_path, weights=None, folder=tmp_path, dtype="float32", device="CPU", manifest=manifest)
    with pytest.raises(InputError, match="mindone loads diffusers folders only"):
        find("mindone").alignment(request)


@installed
def test_float64_agrees_and_the_sinusoid_s_exponential_is_too_coarse_in_float32(recorded, tmp_path):
    reference = Trace.open(recorded)
    only = r"(unet|unet\.(time_proj|add_time_proj|time_embedding|conv_in|mid_block))@step=0.*"
    trace = replay(recorded, tmp_path / "trace", "--mode", "layers", "--only", only)
    result = compare(reference, [trace])
    assert all(pair.verdict == "MATCH" for pair in result.pairs if pair.question == "semantics")
    wrong = {pair.address for pair in result.pairs if pair.verdict == "MISMATCH"}
    assert wrong == {
        "unet.time_proj@step=0:output", "unet.add_time_proj@step=0:output", "unet@step=0:output.0",
    }  # fmt: skip


@installed
def test_a_text_encoder_saved_by_transformers_5_is_not_loaded_and_the_audit_says_so(recorded, tiny_model, tmp_path):
    only = r"text_encoder\.embeddings@call=0.*"
    options = ("--weights", str(tiny_model), "--mode", "layers", "--dtype", "float64", "--only", only)
    trace = replay(recorded, tmp_path / "trace", *options)
    reference = Trace.open(recorded)
    result = compare(reference, [trace])
    assert result.verdict == "MISMATCH"
    assert result.first_divergence.stage == "weights"
    unfilled = {address for address, known in trace.manifest.weights.items() if known.initial}
    assert unfilled == {address for address in trace.manifest.weights if address.startswith("text_encoder.")}
    (cause,) = causes_of(Evidence(result, reference, [trace]))
    assert cause.slug == "weight-not-loaded"
    assert cause.evidence[0] == "parameters never loaded: all 68 of text_encoder"
