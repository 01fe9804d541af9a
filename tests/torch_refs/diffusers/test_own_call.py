"""`with parity.recording(pipeline, out)`: anyone's own call becomes the trace that `parity record` would write."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import parity  # noqa: E402
from parity import result as results  # noqa: E402
from parity.errors import CaseError, InputError, TraceError  # noqa: E402
from parity.trace import Trace, read_injection  # noqa: E402
from tests.conftest import run_parity  # noqa: E402
from tests.torch_refs.support import ignore  # noqa: E402
from torch_refs.diffusers.samplers import SAMPLERS  # noqa: E402

pytestmark = pytest.mark.torch

CALL = {
    "prompt": ["Astronaut in a jungle, cold color palette, muted colors, detailed, 8k", "two foxes"],
    "negative_prompt": ["blurry", "text"], "num_inference_steps": 3, "height": 64, "width": 32,
    "original_size": (2051, 70), "crops_coords_top_left": (3, 5), "target_size": (60, 31),
}  # fmt: skip


def encodes(address):
    """Tell whether an address belongs to the encoder, whose image has another size in the small case."""
    return address.startswith(("vae.enc", "vae.quant_conv"))


def marks(run):
    """Return what was recorded, by address."""
    return {record.address: (record.digest, record.value) for record in run.records if not encodes(record.address)}


@pytest.fixture(scope="module")
def own(folder, resolved, tmp_path_factory):
    """A recorded call, the images it returned, those of a call that nobody watched, and the trace's folder."""
    from torch_refs.diffusers.reference import load_pipeline

    pipeline = load_pipeline(resolved, "cpu", "float32")
    out = tmp_path_factory.mktemp("own") / "trace"

    def call():
        return pipeline(**CALL, generator=torch.Generator().manual_seed(7), output_type="np").images

    unwatched = call()
    with parity.recording(pipeline, out):
        images = call()
    assert type(pipeline).__module__.startswith("diffusers.")
    return Trace.open(out, verify=True), images, unwatched, out


def test_the_call_returns_what_it_always_returns(own):
    _, images, unwatched, _ = own
    assert np.array_equal(images, unwatched)


def test_the_trace_is_the_one_that_parity_record_writes(own, trace):
    mine = own[0]
    assert set(mine.runs) == set(trace.runs)
    for name in ("float32", "float64", "forced", "steps"):
        assert marks(mine.run(name)) == marks(trace.run(name)), name
    assert mine.manifest.weights == trace.manifest.weights
    assert (mine.manifest.checks.neutral, mine.manifest.checks.repeatable) == (True, True)


def test_the_case_is_the_resolved_call(own, folder):
    case, sources = own[0].manifest.case, own[0].manifest.sources
    assert case["prompt"] == {"positive": CALL["prompt"], "negative": CALL["negative_prompt"]}
    assert case["sampling"] | {"steps": 3, "guidance": 5.0, "seed": 7, "sampler": "EulerAncestral"} == case["sampling"]
    assert case["size"] == {"height": 64, "width": 32, "original": [2051, 70], "crop": [3, 5], "target": [60, 31]}
    assert case["model"]["folder"] == str((folder / "tiny").resolve())
    assert (sources["sampling.steps"], sources["encode.seed"]) == ("call", "default")


def test_latents_and_noise_are_kept_for_other_programs(own, trace):
    mine, theirs = read_injection(own[3]), read_injection(trace.folder)
    assert np.array_equal(mine.latents, theirs.latents)
    assert np.array_equal(mine.noise, theirs.noise)


@pytest.mark.mindspore
def test_the_trace_replays_and_matches(own, tmp_path):
    arguments = ("--dtype", "float32", "--out", tmp_path / "candidate")  # float64 takes a minute more
    done = run_parity(tmp_path, "replay", own[3], "--candidate", "mindone_sdxl", *arguments)
    assert done.code == 0, done.stderr
    done = run_parity(tmp_path, "compare", own[3], tmp_path / "candidate", "--out", tmp_path / "result")
    assert done.code == 0, done.stdout
    assert results.read(tmp_path / "result").verdict == "MATCH"
    shutil.rmtree(tmp_path)


def short(pipeline, out, **arguments):
    """Record a call of one step without the twin."""
    call = {"prompt": "a fox", "num_inference_steps": 1, "height": 32, "width": 32, "output_type": "np"} | arguments
    with parity.recording(pipeline, out, dtypes=["float32"]):
        pipeline(**call)
    return Trace.open(out)


def test_given_latents_are_the_recorded_noise_and_torchs_own_generator_is_repeated(pipeline, tmp_path):
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(11)
    trace = short(pipeline, tmp_path / "trace", latents=latents)
    following = torch.rand(3)
    run = trace.run("float32")
    assert np.array_equal(run.tensor("prepare_latents:input.noise"), latents.numpy())
    assert trace.manifest.checks.neutral is True
    assert trace.manifest.case["sampling"]["seed"] == 11
    torch.manual_seed(11)
    assert np.array_equal(run.tensor("scheduler.step@step=0:input.noise"), torch.randn(1, 4, 4, 4).numpy())
    assert torch.equal(following, torch.rand(3)), "recording drew from the script's own generator"


def test_a_recording_that_computes_something_else_says_so(pipeline, tmp_path):
    class Meddling(torch.nn.Module):
        calls = 0

        def forward(self, x):
            """Change the result from the second run on."""
            Meddling.calls += 1
            return torch.nn.functional.silu(x) * (1 if Meddling.calls == 1 else 1.001)

    pipeline.unet.conv_act = Meddling()
    trace = short(pipeline, tmp_path / "trace", generator=torch.Generator().manual_seed(1))
    assert trace.manifest.checks.neutral is False


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_own_scheduler_of_every_sampler_is_the_case_s(pipeline, tmp_path, name):
    row = SAMPLERS[name]
    settings = {key: True for key in ("use_karras_sigmas",) if key in row.settings}
    pipeline.scheduler = row.scheduler.from_config(pipeline.scheduler.config, **row.defaults, **settings)
    call = {"eta": 0.7} if "eta" in row.options else {}
    trace = short(pipeline, tmp_path / "trace", **call)
    sampling = trace.manifest.case["sampling"]
    wanted = {"sampler": name} | call | ({"karras": True} if settings else {})
    assert sampling == sampling | wanted
    assert (trace.manifest.checks.neutral, trace.manifest.checks.repeatable) == (True, True)
    assert trace.manifest.attributes["scheduler"]["class"] == row.scheduler.__name__
    draws = "scheduler.step@step=0:input.noise" in trace.run("float32")
    assert draws is row.drawing(call.get("eta", 0.0))
    assert (read_injection(trace.folder).noise is not None) is draws


def test_a_scheduler_whose_settings_have_no_formula_is_refused_before_anything_runs(pipeline, tmp_path):
    from diffusers import DPMSolverMultistepScheduler

    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, solver_order=3)
    with pytest.raises(CaseError, match="DPMSolverMultistepScheduler: solver_order is 3; the float64 twin knows 2"):
        short(pipeline, tmp_path / "trace")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eta": 0.7}, "eta=0.7, which a case cannot say"),
        ({"num_images_per_prompt": 2}, "num_images_per_prompt=2, which a case cannot say"),
        ({"prompt_2": "x"}, "prompt_2='x'"),
        ({"clip_skip": 1}, "clip_skip=1"),
        ({"prompt": None, "prompt_embeds": torch.zeros(1, 77, 8)}, "prompt_embeds="),
        ({"prompt": None}, "no prompt"),
        ({"output_type": "latent"}, "output_type='latent'"),
        ({"height": 36}, "multiple of 8"),
        ({"guidance_scale": float("nan")}, "sampling.guidance is nan; it must be 0 to 1,000"),
        ({"guidance_scale": float("inf")}, "sampling.guidance is inf"),
        ({"guidance_scale": None}, "the call is no case: "),
        ({"num_inference_steps": 0}, "sampling.steps is 0"),
        ({"crops_coords_top_left": (-1, 0)}, "size.crop is -1"),
        ({"callback_on_step_end": ignore}, "callback_on_step_end="),
    ],
)
def test_what_a_case_cannot_say_is_refused_before_anything_runs(pipeline, tmp_path, arguments, message):
    with pytest.raises(CaseError, match=message):
        short(pipeline, tmp_path / "trace", **arguments)
    assert not (tmp_path / "trace").exists()
    assert "Watched" not in repr(type(pipeline))


def test_no_call_and_two_calls_are_errors(pipeline, tmp_path):
    with pytest.raises(InputError, match="was not called"), parity.recording(pipeline, tmp_path / "a"):
        pass
    call = {"prompt": "a", "num_inference_steps": 1, "height": 32, "width": 32}
    with pytest.raises(InputError, match="called twice"), parity.recording(pipeline, tmp_path / "b"):  # noqa: PT012
        pipeline(**call)
        pipeline(**call)


def test_an_error_of_the_script_is_its_own_and_nothing_is_recorded(pipeline, tmp_path):
    with pytest.raises(ZeroDivisionError), parity.recording(pipeline, tmp_path / "a"):
        _ = 1 / 0
    assert not (tmp_path / "a").exists()
    assert type(pipeline).__module__.startswith("diffusers.")


def test_pipelines_that_cannot_be_recorded_are_refused(pipeline, tmp_path):
    from diffusers import PNDMScheduler

    def refused(message):
        with pytest.raises(InputError, match=message), parity.recording(pipeline, tmp_path / "a"):
            pass

    pipeline.watermark = object()
    refused("add_watermarker=False")
    pipeline.watermark = None
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config)
    refused("the scheduler is PNDMScheduler; only EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, DDIM")
    pipeline = pipeline.unet
    refused("the pipeline is a UNet2DConditionModel")


def test_weights_that_are_nowhere_are_named(pipeline, tmp_path):
    pipeline.register_to_config(_name_or_path="someone/model")
    with pytest.raises(CaseError, match=r"'someone/model', which is no folder here; give recording"):
        short(pipeline, tmp_path / "trace")


def test_a_trace_is_not_overwritten(own, pipeline):
    with pytest.raises(TraceError, match="holds a trace already"), parity.recording(pipeline, own[3]):
        pytest.fail("the block ran")
