"""The original, run from its checkout: what the harness finds in it by itself.

Needs PARITY_GM_SOURCE, a checkout of mindone at commit a24c0eb7, and the extra [gm].
"""

import os
import subprocess
import sys

import pytest

from mindone_sdxl import files
from parity import result as results
from parity.address import Address
from tests.conftest import ROOT, run_parity

SOURCE = os.environ.get("PARITY_GM_SOURCE", "")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not SOURCE, reason="PARITY_GM_SOURCE is not set: a checkout of mindone at commit a24c0eb7"),
]
SEMANTICS = 1e-9
DOWNSAMPLERS = {f"vae.encoder.down_blocks.{level}.downsamplers.0" for level in range(3)}


def judged(recorded, folder, *options, code=1):
    """Replay in float64, compare and diagnose."""
    steps = (
        (0, "replay", recorded, "--candidate", "gm", "--source", SOURCE, "--out", folder / "gm", "--dtype", "float64", *options),
        (code, "compare", recorded, folder / "gm", "--out", folder / "result"),
        (code, "diagnose", folder / "result"),
    )  # fmt: skip
    for expected, *arguments in steps:
        finished = run_parity(folder, *arguments)
        assert finished.code == expected, finished.stderr
    return results.read(folder / "result")


@pytest.fixture(scope="module")
def recorded(tiny_model, tmp_path_factory):
    """The main job's reference, without a replay in the port."""
    del tiny_model
    folder = tmp_path_factory.mktemp("recorded") / "reference"
    finished = run_parity(folder, "record", "fixtures/cases/tiny.toml", "--reference", "diffusers", "--out", folder)
    assert finished.code == 0, finished.stderr
    return folder


@pytest.fixture(scope="module")
def original(recorded, tmp_path_factory):
    """Text to image with EulerA, and the encoder, in float64 and all modes."""
    return judged(recorded, tmp_path_factory.mktemp("gm"))


def failing(result, mode):
    return [pair for pair in result.pairs if pair.mode == mode and pair.verdict != "MATCH"]


def path_of(pair):
    return Address.parse(pair.address).path


def test_everything_but_the_encoder_computes_what_the_reference_computes(original):
    wrong = {path_of(pair) for mode in ("layers", "steps", "free") for pair in failing(original, mode)}
    assert wrong
    assert [path for path in wrong if not path.startswith(("vae.encode", "vae.quant_conv"))] == []
    matching = [
        pair.rel_l2 for pair in original.pairs if pair.mode == "free" and pair.verdict == "MATCH" and pair.rel_l2
    ]
    assert len(matching) > 2000
    assert max(matching) < 1e-12


def test_the_encoder_s_padding_is_named_located_and_proven(original):
    (cause,) = original.causes
    assert (cause.slug, {cause.address, *cause.others}, cause.confirmed) == ("padding", DOWNSAMPLERS, True)
    assert cause.before > 0.1
    assert cause.after < SEMANTICS
    assert any("only the border differs (bottom, right)" in fact for fact in cause.evidence)


def test_eta_differs_and_changes_nothing(original):
    (pair,) = [pair for pair in failing(original, "audit") if pair.address.startswith("scheduler:")]
    assert (pair.address, pair.flags) == ("scheduler:attribute.eta", ["equivalent"])
    assert "eta is 0.001; the reference has 1.0" in pair.detail


def test_the_exponential_of_the_platform_is_named_and_proven(recorded, tmp_path):
    only = r"unet\.(time_proj|add_time_proj)@step=0:output|unet@step=0:output\.0"
    steps = (
        (0, "replay", recorded, "--candidate", "gm", "--source", SOURCE, "--out", tmp_path / "gm", "--mode", "layers", "--only", only),
        (1, "compare", recorded, tmp_path / "gm", "--out", tmp_path / "result"),
        (None, "diagnose", tmp_path / "result"),
    )  # fmt: skip
    for expected, *arguments in steps:
        finished = run_parity(tmp_path, *arguments)
        assert finished.code == expected or expected is None, finished.stderr
    result = results.read(tmp_path / "result")
    (cause,) = [cause for cause in result.causes if cause.slug == "platform-precision"]
    assert {cause.address, *cause.others} == {"unet.time_proj", "unet.add_time_proj", "unet"}
    assert "exp" in cause.evidence[0]
    assert cause.confirmed
    flagged = [pair for pair in result.pairs if "platform-precision" in pair.flags]
    assert {pair.verdict for pair in flagged} == {"MATCH"}


def test_the_conversion_for_lcm_leaves_the_projection_untransposed(recorded, tiny_model, tmp_path):
    converted = tmp_path / "lcm.ckpt"
    command = [sys.executable, "-m", "ms_candidates.gm.convert", str(tiny_model), str(converted), "--source", SOURCE]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    result = judged(recorded, tmp_path, "--weights", converted, "--mode", "layers", "--only", "text_encoder_2.*")
    (cause,) = [cause for cause in result.causes if cause.slug.endswith("-weight")]
    assert (cause.slug, cause.address, cause.confirmed) == ("transposed-weight", "text_encoder_2.text_projection", True)
    assert cause.after < SEMANTICS


def test_tensors_that_a_checkpoint_lacks_are_named_by_the_audit(recorded, tiny_model, tmp_path):
    state = files.read(whole_checkpoint(tiny_model, tmp_path))
    removed = [name for name in state if ".middle_block.1.norm." in name]
    files.write(tmp_path / "partial.ckpt", {name: array for name, array in state.items() if name not in removed})
    result = judged(
        recorded, tmp_path, "--weights", tmp_path / "partial.ckpt", "--mode", "layers", "--only", "unet.mid_block.*"
    )
    (cause,) = [cause for cause in result.causes if cause.slug == "weight-not-loaded"]
    assert cause.address == "unet.mid_block.attentions.0.norm"
    assert cause.evidence[0].startswith("parameters never loaded: 2 of ")
    lost = {pair.address for pair in result.pairs if pair.mode == "audit" and "initial value" in pair.detail}
    assert lost == {"unet.mid_block.attentions.0.norm:weight", "unet.mid_block.attentions.0.norm:bias"}


LMS = """
schema = 1
[model]
file = "model.safetensors"
config = "model.yaml"
[prompt]
positive = ["a lighthouse keeper's kitchen at dusk"]
negative = ["blurry"]
[sampling]
sampler = "LinearMultistep"
discretization = "LegacyDDPM"
steps = 5
seed = 7
[size]
height = 64
width = 32
"""


@pytest.mark.skipif("PARITY_SGM_SOURCE" not in os.environ, reason="PARITY_SGM_SOURCE is not set: a checkout of sgm")
def test_the_multistep_sampler_adds_its_update_twice(tiny_model, tmp_path):
    subprocess.run([sys.executable, "-m", "torch_refs.sgm.files", tiny_model, tmp_path], cwd=ROOT, check=True)
    (tmp_path / "lms.toml").write_text(LMS)
    finished = run_parity(
        tmp_path, "record", tmp_path / "lms.toml", "--reference", "sgm", "--out", tmp_path / "reference"
    )
    assert finished.code == 0, finished.stderr
    result = judged(tmp_path / "reference", tmp_path, "--mode", "layers", "--only", "scheduler.*")
    assert (result.first_divergence.address, result.first_divergence.stage) == (
        "scheduler.step@step=0:output",
        "sampler",
    )
    (cause,) = [cause for cause in result.causes if cause.address.startswith("scheduler.")]
    assert (cause.slug, cause.address, cause.confirmed) == ("sampler-step-scaled", "scheduler.step", True)
    assert cause.after < SEMANTICS
    assert "2 times exactly: the update is added 2 times" in cause.evidence


def whole_checkpoint(model, folder):
    path = folder / "whole.ckpt"
    subprocess.run([sys.executable, "-m", "mindone_sdxl.convert", str(model), str(path)], cwd=ROOT, check=True)
    return path
