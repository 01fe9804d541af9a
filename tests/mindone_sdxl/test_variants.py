"""Networks that are told their guidance (LCM) or continuous noise levels (EDM), against diffusers in float64."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("yaml", reason="needs the extra [mindspore]")

from mindone_sdxl.config import from_diffusers
from mindone_sdxl.config_yaml import from_yaml
from mindone_sdxl.errors import ConfigError, InputError
from support import distance, widened

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
EDM = {"sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002, "rho": 7.0, "prediction_type": "epsilon"}
MEAN, STD = [-1.6574, 1.886, -1.383, 2.5155], [8.4927, 5.9022, 6.5498, 5.2299]


def changed(folder, target, path, **values):
    """A copy of a diffusers folder with other values in one of its JSON files."""
    if not target.exists():
        shutil.copytree(folder, target)
    content = json.loads((target / path).read_text())
    (target / path).write_text(json.dumps(content | values))
    return target


def test_the_embedding_of_the_guidance_scale_is_that_of_diffusers(reference):
    import torch

    from mindone_sdxl.conditioning import guidance_embedding

    for scale, size in ((8.0, 256), (1.0, 32), (5.5, 33)):
        told = torch.tensor([scale - 1.0], dtype=torch.float64)
        expected = reference.get_guidance_scale_embedding(told, embedding_dim=size, dtype=torch.float64)
        assert distance(guidance_embedding(scale, size), expected[0]) <= 1e-4
        # diffusers has angles of thousands in float32; the formula by itself is exact.
        half = size // 2
        angles = [1000 * (scale - 1) / 10000 ** (index / (half - 1)) for index in range(half)]
        exact = [*map(math.sin, angles), *map(math.cos, angles), *[0.0] * (size % 2)]
        assert distance(guidance_embedding(scale, size), exact) <= 1e-12


def test_a_network_that_is_told_its_guidance_agrees(folder, reference, mindspore, tmp_path):
    import torch
    from diffusers import UNet2DConditionModel

    from conftest import UNET, randomise
    from mindone_sdxl.guidance import Identity
    from mindone_sdxl.pipeline import StableDiffusionXL
    from mindone_sdxl.samplers import LCM

    torch.manual_seed(8)
    unet = UNet2DConditionModel(**UNET, time_cond_proj_dim=24)
    randomise(unet, torch.Generator().manual_seed(9))
    shutil.copytree(folder, tmp_path / "lcm")
    unet.save_pretrained(tmp_path / "lcm" / "unet")
    pipeline = StableDiffusionXL.from_diffusers(tmp_path / "lcm", mindspore.float64)
    rng = np.random.default_rng(10)
    x, context, vector = widened(rng, 2, 4, 16, 8), widened(rng, 2, 77, 160), widened(rng, 2, 96)
    told, ids = widened(rng, 2, 24), np.array([[131.0, 104, 3, 5, 96, 80]] * 2)
    added = {"text_embeds": torch.from_numpy(vector), "time_ids": torch.from_numpy(ids)}
    with torch.no_grad():
        expected = unet.double()(
            torch.from_numpy(x), 499, torch.from_numpy(context), timestep_cond=torch.from_numpy(told),
            added_cond_kwargs=added, return_dict=False,
        )[0]  # fmt: skip
    tensors = (mindspore.Tensor(value) for value in (x, np.array([499.0, 499.0]), context))
    found = pipeline.model.unet(*tensors, pipeline.vector(mindspore.Tensor(vector), ids), mindspore.Tensor(told))
    assert distance(found, expected) <= 1e-12
    noise, noises = widened(rng, 1, 4, 8, 8), widened(rng, 2, 1, 4, 8, 8)
    latents = []
    for scale in (4.0, 8.0):
        conditioning = pipeline.condition(["cat"], height=64, width=64, guidance_scale=scale).conditional()
        sampler = LCM(pipeline.schedule(2))
        latents.append(pipeline.sample(sampler, noise, conditioning, guider=Identity(), noises=noises).asnumpy())
    assert not np.array_equal(*latents)


def test_guidance_that_the_network_is_not_told_is_refused(pipelines):
    from dataclasses import replace

    from mindone_sdxl.guidance import Identity
    from mindone_sdxl.samplers import EulerEDM

    pipeline = pipelines["float64"]
    conditioning = pipeline.condition(["cat"], height=64, width=64).conditional()
    conditioning = replace(conditioning, guidance=conditioning.vector)
    noise = np.zeros((1, 4, 8, 8))
    with pytest.raises(InputError, match=r"guidance scale in 0 numbers"):
        pipeline.sample(EulerEDM(pipeline.schedule(2)), noise, conditioning, guider=Identity())


def test_a_run_on_continuous_noise_levels_is_that_of_diffusers(folder, reference, mindspore, tmp_path):
    """The scheduler of diffusers steps in float32, so that the distance is its rounding."""
    import torch
    from diffusers import EDMEulerScheduler, StableDiffusionXLPipeline

    from mindone_sdxl.guidance import VanillaCFG
    from mindone_sdxl.pipeline import StableDiffusionXL
    from mindone_sdxl.samplers import EulerEDM

    path = changed(folder, tmp_path / "edm", "vae/config.json", latents_mean=MEAN, latents_std=STD, scaling_factor=0.5)
    scheduler = EDMEulerScheduler(**EDM)
    scheduler.save_pretrained(path / "scheduler")
    changed(folder, path, "model_index.json", scheduler=["diffusers", "EDMEulerScheduler"])
    pipeline = StableDiffusionXL.from_diffusers(path, mindspore.float64)
    schedule = pipeline.schedule(4)
    scheduler.set_timesteps(4)
    assert distance(schedule.sigmas, scheduler.sigmas) <= 1e-6
    assert distance(schedule.timesteps, scheduler.timesteps) <= 1e-6
    noise = widened(np.random.default_rng(11), 1, 4, 8, 8)
    conditioning = pipeline.condition(["cat"], ["blurry"], height=64, width=64)
    found = pipeline.sample(EulerEDM(schedule), noise, conditioning, guider=VanillaCFG(3.0))
    peer = StableDiffusionXLPipeline.from_pretrained(path, dtype=torch.float64)
    peer.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 4, "guidance_scale": 3.0, "height": 64, "width": 64}
    expected = peer(
        "cat", negative_prompt="blurry", latents=torch.from_numpy(noise), output_type="latent", **options
    ).images
    assert distance(found, expected) <= 1e-5
    unscaled = found.asnumpy() / 0.5 * np.array(STD).reshape(1, 4, 1, 1) + np.array(MEAN).reshape(1, 4, 1, 1)
    assert distance(pipeline.scale_latents(mindspore.Tensor(unscaled)), found.asnumpy()) <= 1e-13
    with torch.no_grad():
        decoded = peer.vae.decode(torch.from_numpy(unscaled), return_dict=False)[0]
    assert distance(pipeline.decode(found), decoded) <= 1e-12


def test_the_shipped_playground_configuration_is_read():
    found = from_yaml(
        Path(__file__).parents[2] / "mindone_sdxl" / "configs" / "inference" / "sd_xl_base_edm_pg2_5.yaml"
    )
    assert found.model.schedule.prediction == "edm"
    assert found.model.schedule.sigma_data == 0.5
    assert found.model.vae.scaling_factor == 0.5
    assert found.model.vae.latents_mean == tuple(MEAN)
    assert found.model.vae.latents_std == tuple(STD)
    assert found.discretization.sigmas(3, np.float64)[0] == pytest.approx(80)


def test_an_edm_scheduler_that_is_not_implemented_is_refused(folder, tmp_path):
    values = EDM | {"_class_name": "EDMEulerScheduler", "sigma_schedule": "exponential"}
    path = changed(folder, tmp_path / "edm", "scheduler/scheduler_config.json", **values)
    with pytest.raises(ConfigError, match=r"sigma_schedule is 'exponential'"):
        from_diffusers(path)


def test_the_denoiser_of_continuous_levels_is_the_formula(mindspore):
    from mindone_sdxl.config import ScheduleConfig
    from mindone_sdxl.denoiser import Denoiser, denoised_from_noise
    from mindone_sdxl.discretization import exact_table

    rng = np.random.default_rng(12)
    x, output = widened(rng, 3, 5), widened(rng, 3, 5)
    denoiser = Denoiser(exact_table(ScheduleConfig()), "edm", 0.5)
    for sigma in np.array([0.002, 0.7, 80.0]):
        total = sigma**2 + 0.25
        clean = 0.25 / total * x + sigma * 0.5 / np.sqrt(total) * output
        latents = mindspore.Tensor(x)
        noise = denoiser.noise_pred(mindspore.Tensor(output), latents, sigma)
        assert distance(denoised_from_noise(latents, noise, sigma), clean) <= 1e-13
        assert distance(denoiser.network_input(latents, sigma), x / np.sqrt(total)) <= 1e-14
        assert denoiser.timestep(sigma) == pytest.approx(np.log(sigma) / 4, abs=1e-14)
