"""A complete recording of the tiny pipeline: what is in it, and what its float64 runs are."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from parity.address import STAGES, Address  # noqa: E402
from parity.trace import digest, read_injection  # noqa: E402
from tests.torch_refs.support import relative  # noqa: E402
from torch_refs.diffusers.functions import module_paths  # noqa: E402
from torch_refs.diffusers.system import encoder_image  # noqa: E402

pytestmark = pytest.mark.torch

NAMED = [
    "tokenizer@call=0:input.text", "tokenizer@call=1:output.input_ids", "tokenizer_2@call=0:output.input_ids",
    "encode_prompt:output.prompt_embeds", "encode_prompt:output.negative_prompt_embeds",
    "encode_prompt:output.pooled_prompt_embeds", "encode_prompt:output.negative_pooled_prompt_embeds",
    "add_time_ids:output", "scheduler.set_timesteps:input.num_inference_steps",
    "scheduler.set_timesteps:output.timesteps", "scheduler.set_timesteps:output.sigmas",
    "scheduler.set_timesteps:output.init_noise_sigma", "prepare_latents:input.noise", "prepare_latents:output",
    "scheduler.scale_model_input@step=0:input.sample", "scheduler.scale_model_input@step=1:input.timestep",
    "scheduler.scale_model_input@step=2:output", "guidance@step=0:input.noise_pred_uncond",
    "guidance@step=1:input.noise_pred_text", "guidance@step=2:input.guidance_scale", "guidance@step=2:output",
    "scheduler.step@step=0:input.model_output", "scheduler.step@step=1:input.timestep",
    "scheduler.step@step=1:input.sample", "scheduler.step@step=2:input.noise", "scheduler.step@step=2:output",
    "vae.decode:input.z", "vae.decode:output", "postprocess:input.image", "postprocess:output", "vae.encode:input.x",
    "vae.encode:input.noise", "vae.encode:output.mean", "vae.encode:output.logvar", "vae.encode:output.sample",
    "text_encoder@call=1:output.hidden_states.2", "text_encoder_2.text_projection@call=0:output",
    "unet@step=0:input.added_cond_kwargs.time_ids", "unet@step=0:input.timestep_cond", "unet@step=2:output.0",
    "unet.conv_in@step=0:input.input", "unet.down_blocks.1@step=0:output.1.0",
    "unet.mid_block.resnets.0.nonlinearity@step=1,call=2:output", "vae.decoder.up_blocks.3:output",
    "vae.encoder.conv_in:output",
]  # fmt: skip


@pytest.mark.parametrize("address", NAMED)
def test_the_address_is_in_the_working_run_the_twin_and_the_steps(trace, address):
    assert all(address in trace.run(name) for name in ("float32", "float64", "steps"))


def test_the_recorder_proved_itself(trace):
    assert trace.manifest.checks.neutral is True
    assert trace.manifest.checks.repeatable is True
    assert trace.manifest.checks.repeat_max_abs == {}
    assert trace.manifest.status == "complete"
    assert trace.manifest.islands == []


def test_all_runs_have_the_same_addresses_and_forced_all_outputs(trace):
    working = trace.run("float32")
    assert set(working) == set(trace.run("float64")) == set(trace.run("steps"))
    outputs = {each.address for each in working.records if ":output" in each.address and each.kind == "tensor"}
    assert outputs == set(trace.run("forced"))


def test_every_called_module_is_recorded_and_children_come_before_parents(trace):
    order = {}
    for number, address in enumerate(trace.run("float32")):
        parsed = Address.parse(address)
        order.setdefault((parsed.path, parsed.step, parsed.call), number)
    paths = {path for path, _, _ in order}
    for path, kind in trace.manifest.modules.items():
        assert path in paths or kind in {"ModuleList", "AutoencoderKL"}, path
    assert order["unet.conv_in", 1, None] < order["unet", 1, None] < order["guidance", 1, None]
    assert order["guidance", 1, None] < order["scheduler.step", 1, None] < order["scheduler.scale_model_input", 2, None]
    stages = [each.stage for each in trace.run("float32").records]
    assert set(stages) <= set(STAGES)


def test_floats_have_the_runs_type_and_integers_stay(trace):
    for name, dtype in (("float32", "float32"), ("float64", "float64"), ("steps", "float64"), ("forced", "float64")):
        kinds = {each.dtype for each in trace.run(name).records if each.kind == "tensor"}
        assert kinds == {dtype, "int64"}, name


def test_the_twin_is_given_what_the_working_run_drew(trace):
    working, twin = trace.run("float32"), trace.run("float64")
    for address in (
        "prepare_latents:input.noise",
        "scheduler.step@step=1:input.noise",
        "vae.encode:input.noise",
        "vae.encode:input.x",
    ):
        np.testing.assert_array_equal(working.wide(address), twin.wide(address))


def test_the_injection_files_are_the_draws(trace):
    injection = read_injection(trace.folder)
    run = trace.run("float32")
    np.testing.assert_array_equal(injection.latents, run.tensor("prepare_latents:input.noise"))
    for step in range(3):
        np.testing.assert_array_equal(injection.noise[step], run.tensor(f"scheduler.step@step={step}:input.noise"))
    assert abs(injection.latents.std() - 1) < 0.1


def test_the_working_run_is_near_the_twin_and_nearer_to_the_forced_twin(trace):
    working, twin, forced = (trace.run(name) for name in ("float32", "float64", "forced"))
    outputs = [address for address in forced if working.record(address).dtype == "float32"]
    free = np.array([relative(working.wide(address), twin.wide(address)) for address in outputs])
    local = np.array([relative(working.wide(address), forced.wide(address)) for address in outputs])
    assert free.max() < 1e-4
    assert local.max() < 2e-5
    assert np.median(local) < 0.6 * np.median(free)
    assert np.count_nonzero(local) > 0.8 * len(local)


def test_steps_start_from_the_working_run_and_differ_from_the_twin(trace):
    working, twin, steps = (trace.run(name) for name in ("float32", "float64", "steps"))
    for step in range(3):
        address = f"scheduler.step@step={step}:input.sample"
        np.testing.assert_array_equal(steps.wide(address), working.wide(address))
    for address in ("unet@step=1:input.encoder_hidden_states", "unet@step=2:input.added_cond_kwargs.text_embeds"):
        np.testing.assert_array_equal(steps.wide(address), working.wide(address))
    np.testing.assert_array_equal(
        steps.wide("vae.decode:input.z"), working.wide("scheduler.step@step=2:output") / 0.13025
    )
    for address in ("unet@step=2:output.0", "vae.decode:output", "scheduler.step@step=0:output"):
        assert 0 < relative(working.wide(address), steps.wide(address)) < 1e-5
        assert 0 < relative(twin.wide(address), steps.wide(address)) < 1e-4
    for address in (
        "text_encoder@call=1:output.last_hidden_state",
        "encode_prompt:output.prompt_embeds",
        "vae.encode:output.sample",
    ):
        np.testing.assert_array_equal(twin.wide(address), steps.wide(address))


def test_a_steps_call_equals_the_forced_call_on_the_same_inputs(trace):
    steps, forced, working = (trace.run(name) for name in ("steps", "forced", "float32"))
    given: dict[str, list[str]] = {}
    for each in working.records:
        if ":input" in each.address and each.kind == "tensor":
            given.setdefault(each.address.partition(":")[0], []).append(each.address)
    compared = 0
    for address in forced:
        inputs = given.get(address.partition(":")[0])
        if inputs and all(np.array_equal(working.wide(each), steps.wide(each)) for each in inputs):
            assert np.allclose(steps.wide(address), forced.wide(address), rtol=1e-11, atol=1e-13), address
            compared += 1
    assert compared > 20


def test_named_functions_are_forced_by_their_formulas(trace):
    working, forced = trace.run("float32"), trace.run("forced")
    sigmas = forced.wide("scheduler.set_timesteps:output.sigmas")

    def wide(address):
        return working.wide(address)

    latents = wide("prepare_latents:input.noise") * np.sqrt(sigmas[0] ** 2 + 1)
    assert relative(forced.wide("prepare_latents:output"), latents) < 1e-15
    uncond, text = wide("guidance@step=1:input.noise_pred_uncond"), wide("guidance@step=1:input.noise_pred_text")
    assert relative(forced.wide("guidance@step=1:output"), uncond + 5.0 * (text - uncond)) < 1e-15
    scaled = wide("scheduler.scale_model_input@step=1:input.sample") / np.sqrt(sigmas[1] ** 2 + 1)
    assert relative(forced.wide("scheduler.scale_model_input@step=1:output"), scaled) < 1e-15
    sample, output = wide("scheduler.step@step=2:input.sample"), wide("scheduler.step@step=2:input.model_output")
    assert relative(forced.wide("scheduler.step@step=2:output"), sample - sigmas[2] * output) < 1e-14
    mean, logvar = forced.wide("vae.encode:output.mean"), forced.wide("vae.encode:output.logvar")
    drawn = mean + np.exp(0.5 * logvar) * wide("vae.encode:input.noise")
    assert relative(forced.wide("vae.encode:output.sample"), drawn) < 1e-14
    image = np.clip(wide("postprocess:input.image") / 2 + 0.5, 0, 1)
    assert relative(forced.wide("postprocess:output"), image) < 1e-15
    assert forced.wide("add_time_ids:output").tolist() == [[2051, 70, 3, 5, 60, 31]] * 4
    np.testing.assert_array_equal(
        forced.tensor("tokenizer_2@call=1:output.input_ids"), working.tensor("tokenizer_2@call=1:output.input_ids")
    )
    states = [wide("text_encoder@call=1:output.hidden_states.2"), wide("text_encoder_2@call=1:output.hidden_states.3")]
    np.testing.assert_array_equal(
        forced.wide("encode_prompt:output.negative_prompt_embeds"), np.concatenate(states, -1)
    )


def test_a_forced_linear_is_numpys(trace, pipeline):
    weight, bias = (
        each.detach().numpy().astype(np.float64)
        for each in (pipeline.unet.time_embedding.linear_1.weight, pipeline.unet.time_embedding.linear_1.bias)
    )
    wanted = trace.run("float32").wide("unet.time_embedding.linear_1@step=1:input.input") @ weight.T + bias
    assert relative(trace.run("forced").wide("unet.time_embedding.linear_1@step=1:output"), wanted) < 1e-14


def test_the_manifest_describes_model_and_surroundings(trace, pipeline):
    manifest = trace.manifest
    assert manifest.policy == "float32"
    assert manifest.provenance["framework"] == "torch"
    assert manifest.provenance["allow_tf32"] == {"convolution": False, "matmul": False}
    assert manifest.provenance["threads"] == 1
    assert manifest.sources["sampling.steps"].endswith("case.toml")
    names = {
        f"{path}:{name}"
        for path, module in module_paths(pipeline).items()
        for name, _ in module.named_parameters(recurse=False)
    }
    assert set(manifest.weights) == names
    assert manifest.modules["text_encoder_2"] == "CLIPTextModelWithProjection"


def test_the_encoders_image_is_not_square_and_fills_its_range(resolved):
    image = encoder_image(resolved.case)
    assert image.shape == (1, 3, 32, 48)
    assert -1 <= image.min() < -0.8
    assert 0.8 < image.max() <= 1
    assert digest(encoder_image(resolved.case), "float64") == digest(image, "float64")
