"""Latent consistency models against diffusers' scheduler, whose table is lifted to float64."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest

from mindone_sdxl import discretization
from mindone_sdxl.config import ScheduleConfig, from_diffusers
from mindone_sdxl.discretization import default_discretization, exact_table
from mindone_sdxl.errors import ConfigError, InputError
from mindone_sdxl.schedule import make_schedule
from support import distance, widened

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
SCHEDULE = ScheduleConfig()
TRAINED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}


@pytest.fixture
def scheduler():
    import torch
    from diffusers import LCMScheduler

    found = LCMScheduler(**TRAINED)
    found.alphas_cumprod = torch.from_numpy(1 / (1 + exact_table(SCHEDULE) ** 2))
    return found


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8, 33, 50])
def test_the_timesteps_are_those_of_diffusers(steps, scheduler):
    scheduler.set_timesteps(steps)
    assert discretization.LCM(SCHEDULE).timesteps(steps).tolist() == scheduler.timesteps.tolist()


def test_no_step_lies_beside_those_that_the_model_was_distilled_on():
    with pytest.raises(InputError, match="51 steps; LCM places 1 to 50"):
        discretization.LCM(SCHEDULE).timesteps(51)
    assert discretization.LCM(SCHEDULE, 25).timesteps(2).tolist() == [999, 519]


@pytest.mark.parametrize("steps", [1, 4])
def test_a_run_is_that_of_diffusers(steps, scheduler, mindspore, monkeypatch):
    """Diffusers keeps latents at unit variance, this package at the noise level that is added."""
    import torch
    from diffusers.schedulers import scheduling_lcm

    from mindone_sdxl.samplers import LCM, LCM_TIMESTEP_SCALING

    rng = np.random.default_rng(0)
    noise, noises, outputs = widened(rng, 2, 4, 6, 4), widened(rng, steps, 2, 4, 6, 4), widened(rng, steps, 2, 4, 6, 4)
    drawn = iter(noises)
    monkeypatch.setattr(scheduling_lcm, "randn_tensor", lambda *_, **__: torch.from_numpy(next(drawn)))
    scheduler.set_timesteps(steps)
    expected = torch.from_numpy(noise)
    for timestep, output in zip(scheduler.timesteps.tolist(), outputs, strict=True):
        expected = scheduler.step(torch.from_numpy(output), timestep, expected, return_dict=False)[0]
    schedule = make_schedule(discretization.LCM(SCHEDULE), steps, np.float64)
    sampler = LCM(schedule, LCM_TIMESTEP_SCALING)
    latents = mindspore.Tensor(noise * schedule.init_noise_sigma)
    for index, output in enumerate(outputs):
        latents = sampler.step(index, latents, mindspore.Tensor(output), noises)
    assert distance(latents, expected) <= 1e-12
    assert expected.dtype == torch.float64


def test_what_is_mixed_in_at_a_boundary_is_the_formula(mindspore):
    """At timestep 0 a consistency model gives back the latents; far from it, what the network makes of them."""
    from mindone_sdxl.samplers import LCM
    from mindone_sdxl.schedule import Schedule

    x, eps, sigma = 0.7, -1.3, 0.03
    for timestep, scaling in ((0, 10.0), (1, 1.0), (19, 0.05)):
        schedule = Schedule(
            sigmas=np.array([sigma, 0.0]), timesteps=np.array([float(timestep)]), table=np.array([sigma])
        )
        found = LCM(schedule, scaling).step(0, mindspore.Tensor(np.array([x])), mindspore.Tensor(np.array([eps])))
        scaled = timestep * scaling
        skip, out = 0.25 / (scaled**2 + 0.25), scaled / math.sqrt(scaled**2 + 0.25)
        assert found.asnumpy()[0] == pytest.approx(
            out * (x - sigma * eps) + skip * x / math.sqrt(1 + sigma**2), rel=1e-14
        )


def test_a_folder_with_the_scheduler_of_diffusers_places_its_steps_so(folder, scheduler, tmp_path):
    shutil.copytree(folder, tmp_path / "lcm")
    scheduler.save_pretrained(tmp_path / "lcm" / "scheduler")
    config = from_diffusers(tmp_path / "lcm")
    assert default_discretization(config.schedule) == discretization.LCM(config.schedule, 50)
    path = tmp_path / "lcm" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"timestep_scaling": 5.0}))
    with pytest.raises(ConfigError, match=r"timestep_scaling is 5.0, only 10 is implemented"):
        from_diffusers(tmp_path / "lcm")


@pytest.mark.parametrize("arguments", [["--negative_prompt", "dog"], ["--guider", "VanillaCFG"]])
def test_what_a_network_that_is_told_its_guidance_does_not_use_is_refused(arguments, folder, tmp_path, capsys):
    from mindone_sdxl import sample

    shutil.copytree(folder, tmp_path / "told")
    path = tmp_path / "told" / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"time_cond_proj_dim": 16}))
    assert sample.main(["--config", str(tmp_path / "told"), "--height", "64", "--width", "64", *arguments]) == 2
    assert f"{arguments[0]} has no effect; this network is told its guidance scale" in capsys.readouterr().err
