"""The main job as a user runs it, and the same with planted faults: each is named, located and confirmed."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from parity import result as results
from parity.address import STAGES, Address
from parity.compare import compare
from parity.report.headline import headline
from parity.trace import Trace
from tests.conftest import ROOT, run_parity
from tests.parity.compare.altered import KINDS, altered

pytestmark = [pytest.mark.full, pytest.mark.torch, pytest.mark.mindspore]

FAULTS = ROOT / "fixtures" / "faults"
SEMANTICS, LATENTS, IMAGE = 1e-9, 1e-5, 2e-5


def pairs_of(result, **wanted):
    return [pair for pair in result.pairs if all(getattr(pair, name) == value for name, value in wanted.items())]


def path_of(pair):
    return Address.parse(pair.address).path


def test_the_healthy_port_matches(main_job):
    assert main_job.code == 0, main_job.stdout + main_job.stderr
    assert main_job.stdout.startswith("MATCH")
    result = results.read(main_job.folder)
    assert result.verdict == "MATCH"
    assert result.first_divergence is None
    assert result.causes == []
    assert {(pair.question, pair.mode, pair.dtype) for pair in result.pairs if pair.mode != "audit"} == {
        (question, mode, dtype)
        for question, dtype in (("semantics", "float64"), ("precision", "float32"))
        for mode in ("free", "steps", "layers")
    }


def test_semantics_agree_in_float64_and_no_island_is_left(main_job):
    result = results.read(main_job.folder)
    assert result.islands == []
    assert all(pair.rel_l2 <= SEMANTICS for pair in pairs_of(result, question="semantics") if pair.rel_l2 is not None)


def test_the_free_float32_run_reaches_its_latents_and_image(main_job):
    price = results.read(main_job.folder).price
    assert price["final_latents"]["float32"]["candidate"]["max_over_largest"] <= LATENTS
    assert price["image"]["float32"]["candidate"]["max_over_largest"] <= IMAGE


@pytest.mark.parametrize(("run", "slug"), [("float32", "reference-error"), ("float64", "twin-error")])
def test_a_reference_that_is_off_is_a_finding_about_it_and_excuses_nothing(main_job, run, slug):
    result = results.read(main_job.folder)
    reference = altered(Trace.open(result.traces["reference"]), KINDS["scaled"], run, at=r"unet\..*attn1.*")
    candidates = [Trace.open(path) for side, path in result.traces.items() if side != "reference"]
    found = compare(reference, candidates)
    assert (found.verdict, [cause.slug for cause in found.causes]) == ("INCOMPLETE", [slug])
    assert pairs_of(found, verdict="MISMATCH") == []
    off = {pair.address for pair in found.pairs if slug in pair.flags}
    measured = [pair for pair in found.pairs if pair.mode != "audit"]
    assert off == {pair.address for pair in measured if ".attn1" in pair.address and pair.stage == "unet"}
    assert headline(found).startswith("INCOMPLETE: the reference's ")
    wrong = [
        altered(each, lambda array: array * 0.9, *(name for name in each.runs if "float32" in name))
        for each in candidates
    ]
    worse = compare(reference, wrong)
    assert {pair.verdict for pair in pairs_of(worse, mode="layers", question="precision", basis="floor")} == {
        "MISMATCH"
    }


def test_every_parameter_owner_and_every_named_function_is_compared(main_job):
    coverage = results.read(main_job.folder).coverage
    assert coverage.unexplained == []
    assert coverage.parameter_owners == coverage.parameter_owners_compared > 500
    assert set(coverage.not_compared.values()) == {"identity"}
    compared = {path_of(pair) for pair in results.read(main_job.folder).pairs if pair.mode == "layers"}
    assert compared >= {
        "tokenizer", "tokenizer_2", "encode_prompt", "add_time_ids", "scheduler.set_timesteps", "prepare_latents",
        "scheduler.scale_model_input", "guidance", "scheduler.step", "vae.decode", "vae.encode", "postprocess",
    }  # fmt: skip


def test_recording_is_neutral_and_repeatable(recorded):
    checks = Trace.open(recorded).manifest.checks
    assert checks.neutral is True
    assert checks.repeatable is True


def test_the_injection_files_are_one_for_each_image(recorded):
    names = {path.name for path in recorded.glob("*.npy")}
    assert names == {f"{stem}_000{image}.npy" for stem in ("init_latent", "init_noise_scheduler") for image in (0, 1)}


def test_the_reports_stand_alone(main_job):
    html = (main_job.folder / "report.html").read_text()
    outside_scripts = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", outside_scripts)
    assert "default-src 'none'" in outside_scripts  # a browser that obeys it asks no network for anything
    assert "MATCH" in html
    suites = ET.parse(main_job.folder / "junit.xml").getroot()
    assert suites.findall(".//failure") == []
    assert len(suites.findall(".//testcase")) > 100


def test_the_candidate_s_process_never_imports_torch(recorded, tmp_path):
    code = (
        "import sys; sys.argv = ['parity', 'replay', *sys.argv[1:]]\nfrom parity.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'mindspore' in sys.modules and 'torch' not in sys.modules, 'torch'"
    )
    arguments = [recorded, "--out", tmp_path / "trace", "--mode", "free", "--dtype", "float32", "--only", "tokenizer.*"]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, cwd=ROOT, capture_output=True)


@pytest.fixture(scope="module")
def least_model(tmp_path_factory):
    """The smallest model of all kinds of blocks."""
    folder = tmp_path_factory.mktemp("least")
    subprocess.run([sys.executable, "-m", "torch_refs.tiny", str(folder), "--least"], cwd=ROOT, check=True)
    return folder


def test_the_transposed_projection_is_named_located_and_proven(least_model, tmp_path):
    """As in the main job, with the smallest model and one step instead of four."""
    case = (ROOT / "fixtures" / "cases" / "tiny.toml").read_text()
    changes = {'folder = "fixtures/tiny"': f'folder = "{least_model}"', "steps = 4": "steps = 1"}
    for old, new in changes.items():
        assert old in case
        case = case.replace(old, new)
    (tmp_path / "one.toml").write_text(case)
    out = tmp_path / "out"
    finished = run_parity(
        tmp_path, "run", tmp_path / "one.toml", "--out", out, "--plant", "text-projection-untransposed"
    )
    assert finished.code == 1, finished.stderr
    assert finished.stdout.startswith("text_encoder_2.text_projection")
    result = results.read(out)
    (cause,) = result.causes
    assert (cause.slug, cause.address, cause.confirmed) == ("transposed-weight", "text_encoder_2.text_projection", True)
    assert "transpose, exactly" in cause.evidence[0]
    assert cause.before > 0.1
    assert cause.after < SEMANTICS
    assert "transpose" in cause.repair
    check_upstream_and_downstream(result, "text_encoder_2.text_projection")
    assert result.price["image"]["float32"]["candidate"]["max_over_largest"] > 1 / 255  # a level of eight bits
    assert result.price["repaired"]["image"]["float64"]["candidate"]["max_over_largest"] < SEMANTICS


def check_upstream_and_downstream(result, place):
    """Everything before the fault matches, everything after it has it from there."""
    first = min(pair.order for pair in pairs_of(result, mode="free", question="semantics") if path_of(pair) == place)
    for pair in pairs_of(result, mode="free"):
        if pair.verdict != "MATCH":
            assert pair.order >= first, pair.address
            assert "inherited" in pair.flags or place.startswith((path_of(pair), place)), pair.address
    for pair in pairs_of(result, mode="layers"):
        if pair.verdict != "MATCH":
            assert path_of(pair) == place or "contains" in pair.flags, (pair.address, pair.flags)


LAYERS = ("--mode", "layers", "--only")
FIRST_STEP = r"unet(\.[^@]*)?@step=0[:,].*"

SQUARE = {
    "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q": "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight",
    "vae.decoder.mid_block.attentions.0.to_k": "first_stage_model.decoder.mid.attn_1.k.weight",
    "text_encoder.encoder.layers.1.self_attn.out_proj": "conditioner.embedders.0.transformer.text_model.encoder.layers.1.self_attn.out_proj.weight",
}
TRANSPOSED = f"""
import numpy as np
def checkpoint(state):
    for name in {list(SQUARE.values())!r}:
        state[name] = np.ascontiguousarray(np.swapaxes(state[name], 0, 1))
"""


def test_several_faults_at_once_are_each_named_located_and_proven(recorded, tmp_path):
    """Square matrices transposed at places of three networks, another GELU in all gates, another epsilon in all norms."""
    files = [str(FAULTS / f"{name}.py") for name in ("unet-gelu-tanh", "text-encoder-2-layernorm-eps")]
    anonymous = tmp_path / "x.py"  # its name says nothing: the causes come from traces and weights alone
    anonymous.write_text(
        f"{TRANSPOSED}import runpy\ndef model(root):\n"
        f"    for file in {files}:\n        runpy.run_path(file)['model'](root)\n"
    )
    result = replayed(recorded, tmp_path, anonymous, *LAYERS, f"{FIRST_STEP}|(vae|text_encoder(_2)?)[.@:].*")
    causes = {}
    for cause in result.causes:
        assert cause.confirmed
        assert cause.after < SEMANTICS
        causes.setdefault(cause.slug, []).append(cause)
    assert set(causes) == {"transposed-weight", "activation-variant", "norm-epsilon"}
    assert {cause.address for cause in causes["transposed-weight"]} == set(SQUARE)
    (activation,), (epsilon,) = causes["activation-variant"], causes["norm-epsilon"]
    check_places(activation, r"unet\..*\.ff\.net\.0", 17)
    check_places(epsilon, r"text_encoder_2\.text_model\..*layer_norm\d?", 11)
    assert 1e-5 < activation.before < 1e-3
    assert 1e-4 < epsilon.before < 1e-1
    check_local(result, {*SQUARE, activation.address, *activation.others, epsilon.address, *epsilon.others})


def test_noise_that_comes_one_step_late_is_named_located_and_proven(recorded, tmp_path):
    anonymous = tmp_path / "x.py"
    anonymous.write_text((FAULTS / "noise-one-step-late.py").read_text())
    result = replayed(recorded, tmp_path, anonymous, "--mode", "free", *LAYERS, "(scheduler|guidance).*")
    (cause,) = result.causes
    assert (cause.slug, cause.address, cause.others, cause.confirmed) == (
        "noise-step-shifted",
        "scheduler.step",
        [],
        True,
    )
    assert 1e-2 < cause.before < 10.0
    assert cause.after < SEMANTICS
    check_local(result, {"scheduler.step"})


def check_places(cause, pattern, count):
    """A cause sits at so many places of this pattern."""
    places = [cause.address, *cause.others]
    assert len(places) == count
    assert all(re.fullmatch(pattern, place) for place in places)


def check_local(result, places):
    """Module by module, what fails by itself are these places and no other."""
    failing = [pair for pair in pairs_of(result, mode="layers") if pair.verdict != "MATCH"]
    assert {path_of(pair) for pair in failing if "contains" not in pair.flags} == places


def replayed(recorded, folder, plant, *options):
    """Replay in float64 with a fault, compare and diagnose."""
    steps = (
        ("replay", recorded, "--out", folder / "candidate", "--dtype", "float64", "--plant", plant, *options),
        ("compare", recorded, folder / "candidate", "--out", folder),
        ("diagnose", folder),
    )
    for expected, arguments in zip((0, 1, 1), steps, strict=True):
        finished = run_parity(folder, *arguments)
        assert finished.code == expected, finished.stderr
    return results.read(folder)


def test_the_stages_of_a_result_are_in_their_order(main_job):
    stages = list(results.read(main_job.folder).stages)
    assert stages == [stage for stage in STAGES if stage in stages]


def test_the_result_is_plain_json(main_job):
    plain = json.loads((main_job.folder / "result.json").read_text())
    assert set(plain) >= {
        "schema",
        "verdict",
        "counts",
        "first_divergence",
        "causes",
        "pairs",
        "coverage",
        "platform",
        "provenance",
    }


PARTS = r"unet(\.time_proj)?@step=0[:,].*"


@pytest.mark.parametrize(
    ("plant", "explained"), [("timestep-frequencies-exp", True), ("timestep-angles-summed", False)]
)
def test_only_an_excess_that_an_operator_in_float64_takes_away_is_the_platforms(plant, explained, recorded, tmp_path):
    anonymous = tmp_path / "x.py"
    anonymous.write_text((FAULTS / f"{plant}.py").read_text())
    chosen = ("--dtype", "float64", "--dtype", "float32", "--mode", "layers", "--mode", "steps", "--only", PARTS)
    replay = ("replay", recorded, "--out", tmp_path / "candidate", "--plant", anonymous, *chosen)
    compared = ("compare", recorded, tmp_path / "candidate", "--out", tmp_path)
    # Comparing alone tells a coarse exponential from a fault only where the fault is off by more than it explains.
    for codes, arguments in (({0}, replay), ({4} if explained else {1, 4}, compared)):
        finished = run_parity(tmp_path, *arguments)
        assert finished.code in codes, finished.stderr
    before = results.read(tmp_path)
    failing = [pair.address for pair in pairs_of(before, mode="layers") if pair.verdict == "MISMATCH"]
    assert {Address.parse(address).path for address in failing} == {"unet", "unet.time_proj"}
    assert all(pair.verdict == "MATCH" for pair in pairs_of(before, question="semantics"))
    finished = run_parity(tmp_path, "diagnose", tmp_path)
    result = results.read(tmp_path)
    flagged = [pair for pair in result.pairs if "platform-precision" in pair.flags]
    if explained:
        assert finished.code == 0, finished.stdout + finished.stderr
        (cause,) = result.causes
        assert (cause.slug, cause.address, cause.confirmed) == ("platform-precision", "unet.time_proj", True)
        assert cause.edits == [{"kind": "precision", "operators": ["exp"]}]
        assert {pair.address for pair in flagged if pair.mode == "layers"} == set(failing)
        assert all(pair.verdict == "MATCH" and "exp in float64" in pair.detail for pair in flagged)
        assert result.verdict == "MATCH"
    else:
        assert finished.code == 1, finished.stdout + finished.stderr
        assert flagged == []
        assert [pair.address for pair in pairs_of(result, mode="layers") if pair.verdict == "MISMATCH"] == failing
