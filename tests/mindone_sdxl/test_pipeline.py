"""Whole runs: conditioning, schedule, guidance, steps."""

from __future__ import annotations

import numpy as np
import pytest

from support import NEGATIVE, PROMPTS, SIZES, distance, widened

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
STEPS, SCALE = 4, 5.0


def conditioning_of(reference, negative):
    """Embeddings by diffusers, unconditional half first."""
    import torch

    with torch.no_grad():
        parts = reference.encode_prompt(PROMPTS, negative_prompt=negative, device="cpu")
    return [torch.cat(pair) for pair in ((parts[1], parts[0]), (parts[3], parts[2]))]


def ids():
    row = [*SIZES["original"], *SIZES["crop"], *SIZES["target"]]
    return np.tile(np.array(row, dtype=np.float64), (4, 1))


def exact_run(reference, noise, noises):
    """EulerAncestral with guidance in plain float64, diffusers' UNet inside."""
    import torch

    context, pooled = conditioning_of(reference, NEGATIVE)
    added = {"text_embeds": pooled, "time_ids": torch.from_numpy(ids())}
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = np.cumprod(1 - betas)
    table = ((1 - kept) / kept) ** 0.5
    timesteps = np.arange(STEPS)[::-1] * (1000 // STEPS) + 1
    sigmas = np.append(table[timesteps], 0)
    x = noise * (sigmas[0] ** 2 + 1) ** 0.5
    for index, timestep in enumerate(timesteps):
        sigma, following = sigmas[index], sigmas[index + 1]
        scaled = torch.from_numpy(np.concatenate((x, x)) / (sigma**2 + 1) ** 0.5)
        with torch.no_grad():
            time = torch.tensor(float(timestep), dtype=torch.float64)
            output = reference.unet(scaled, time, encoder_hidden_states=context, added_cond_kwargs=added).sample
        without, with_prompt = np.split(output.numpy(), 2)
        predicted = without + SCALE * (with_prompt - without)
        up = (following**2 * (sigma**2 - following**2) / sigma**2) ** 0.5
        down = (following**2 - up**2) ** 0.5
        x = x + predicted * (down - sigma) + noises[index] * up
    return x


@pytest.fixture(scope="module")
def run_case(reference):
    rng = np.random.default_rng(5)
    noise, noises = widened(rng, 2, 4, 12, 8), widened(rng, STEPS, 2, 4, 12, 8)
    return noise, noises, exact_run(reference, noise, noises)


def run(pipeline, noise, noises):
    from mindone_sdxl.guidance import VanillaCFG
    from mindone_sdxl.samplers import EulerAncestral

    conditioning = pipeline.condition(PROMPTS, NEGATIVE, height=128, width=96, **SIZES)
    sampler = EulerAncestral(pipeline.schedule(STEPS))
    return pipeline.sample(sampler, noise, conditioning, guider=VanillaCFG(SCALE), noises=noises)


@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-12), ("float32", 2e-5)])
def test_a_guided_run_follows_the_float64_formulas(dtype, limit, run_case, pipelines):
    noise, noises, expected = run_case
    assert distance(run(pipelines[dtype], noise, noises), expected) <= limit


def test_a_float16_run_keeps_its_latents_in_float32_and_stays_near(pipelines, mindspore):
    from mindone_sdxl.guidance import Identity
    from mindone_sdxl.samplers import EulerEDM

    noise = widened(np.random.default_rng(12), 1, 4, 4, 4)
    images = {}
    for dtype in ("float32", "float16"):
        pipeline = pipelines[dtype]
        conditioning = pipeline.condition(["cat"], height=32, width=32).conditional()
        latents = pipeline.sample(EulerEDM(pipeline.schedule(2)), noise, conditioning, guider=Identity())
        assert latents.dtype == mindspore.float32
        images[dtype] = pipeline.decode(latents).asnumpy()
    assert distance(images["float16"], images["float32"]) <= 2e-2


@pytest.mark.parametrize("negative", [NEGATIVE, None, ["", ""]])
def test_prompts_are_conditioned_as_in_diffusers(negative, reference, pipelines):
    context, pooled = conditioning_of(reference, negative)
    conditioning = pipelines["float64"].condition(PROMPTS, negative, height=128, width=96, **SIZES)
    assert distance(conditioning.context, context.numpy()) <= 1e-14
    assert distance(conditioning.vector[:, :96], pooled.numpy()) <= 1e-14
    if negative is None:
        assert not conditioning.context[:2].asnumpy().any()


def test_the_float32_schedule_and_step_follow_the_scheduler_of_diffusers(reference, pipelines, mindspore):
    import torch

    from mindone_sdxl.samplers import EulerAncestral

    scheduler = type(reference.scheduler).from_config(reference.scheduler.config)
    rng = np.random.default_rng(6)
    for steps in (1, 3, 4, 7, 40):
        scheduler.set_timesteps(steps)
        schedule = pipelines["float32"].schedule(steps)
        assert schedule.sigmas.dtype == np.float32
        assert schedule.timesteps.tolist() == scheduler.timesteps.tolist()
        np.testing.assert_array_max_ulp(schedule.sigmas, scheduler.sigmas.numpy(), 1)
        np.testing.assert_array_max_ulp(schedule.init_noise_sigma, scheduler.init_noise_sigma.numpy(), 2)
        sampler = EulerAncestral(schedule)
        for index, timestep in enumerate(scheduler.timesteps):
            x, predicted, noise = (widened(rng, 1, 4, 6, 5).astype(np.float32) for _ in range(3))
            scheduler._step_index, scheduler.is_scale_input_called = index, True
            torch_noise = torch.from_numpy(noise)
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(
                    scheduler.step.__func__.__globals__, "randn_tensor", lambda *_, value=torch_noise, **__: value
                )
                seen = scheduler.step(torch.from_numpy(predicted), timestep, torch.from_numpy(x)).prev_sample
            tensors = mindspore.Tensor(x), mindspore.Tensor(predicted)
            moved = sampler.step(index, *tensors, np.stack([noise] * steps))
            assert distance(moved, seen.numpy()) <= 1e-6


def test_a_step_takes_its_own_noise_and_the_last_takes_none(pipelines, mindspore):
    from mindone_sdxl.errors import InputError
    from mindone_sdxl.samplers import EulerAncestral

    sampler = EulerAncestral(pipelines["float64"].schedule(3))
    rng = np.random.default_rng(7)
    x, predicted = (mindspore.Tensor(widened(rng, 2, 4, 4, 4)) for _ in range(2))
    noises = widened(rng, 3, 2, 4, 4, 4)
    changed = noises.copy()
    changed[1] += 1
    for index, same in ((0, True), (1, False), (2, True)):
        before, after = (sampler.step(index, x, predicted, values).asnumpy() for values in (noises, changed))
        assert np.array_equal(before, after) == same
    with pytest.raises(InputError, match="1 entries, step 1"):
        sampler.step(1, x, predicted, noises[:1])
    with pytest.raises(InputError, match=r"\(1, 4, 4, 4\)"):
        sampler.step(0, x, predicted, noises[:, :1])
    with pytest.raises(InputError, match="1 entries for 3 steps"):
        sampler.sample(lambda *_: predicted, x, noises[:1])


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 4, 6, 8), (4, 8, 8)])
def test_latents_of_a_shape_that_the_unet_cannot_take_are_refused(shape, pipelines):
    from mindone_sdxl.errors import InputError

    pipeline = pipelines["float64"]
    with pytest.raises(InputError, match="latents"):
        pipeline.initial_latents(np.zeros(shape), pipeline.schedule(2))


def test_noise_and_denoised_forms_are_convertible(mindspore):
    from mindone_sdxl.denoiser import denoised_from_noise, noise_from_denoised

    rng = np.random.default_rng(8)
    x, noise = (mindspore.Tensor(widened(rng, 2, 4, 4, 4)) for _ in range(2))
    denoised = denoised_from_noise(x, noise, 3.7)
    assert distance(denoised, x.asnumpy() - 3.7 * noise.asnumpy()) <= 1e-15
    assert distance(noise_from_denoised(x, denoised, 3.7), noise.asnumpy()) <= 1e-15
