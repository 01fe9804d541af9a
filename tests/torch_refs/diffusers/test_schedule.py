"""The float64 sampler against diffusers' own, computed in float64 from outside."""

from __future__ import annotations

import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from diffusers import EulerAncestralDiscreteScheduler  # noqa: E402
from diffusers.models.embeddings import Timesteps  # noqa: E402
from diffusers.schedulers import scheduling_euler_ancestral_discrete as original  # noqa: E402

from parity.errors import CaseError  # noqa: E402
from tests.torch_refs.support import relative  # noqa: E402
from torch_refs.diffusers.draws import Draws  # noqa: E402
from torch_refs.diffusers.schedule import LiftedEulerAncestral, initial_sigma, schedule, timestep_embedding  # noqa: E402

pytestmark = pytest.mark.torch
SDXL = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_spacing": "leading",
    "steps_offset": 1, "prediction_type": "epsilon", "num_train_timesteps": 1000,
}  # fmt: skip


class _Wide(types.ModuleType):
    """A module whose float32 is float64."""

    def __init__(self, module, wide):
        super().__init__(module.__name__)
        self._module, self.float32 = module, wide

    def __getattr__(self, name):
        return getattr(self._module, name)


@pytest.fixture
def wide(monkeypatch):
    """Let diffusers' scheduler compute in float64."""
    monkeypatch.setattr(original, "torch", _Wide(torch, torch.float64))
    monkeypatch.setattr(original, "np", _Wide(np, np.float64))


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("betas", ["scaled_linear", "linear"])
@pytest.mark.parametrize("steps", [3, 4, 40])
def test_the_schedule_is_the_original_one_in_float64(wide, spacing, betas, steps):
    config = SDXL | {"timestep_spacing": spacing, "beta_schedule": betas}
    scheduler = EulerAncestralDiscreteScheduler(**config)
    scheduler.set_timesteps(steps)
    timesteps, sigmas = schedule(config, steps)
    np.testing.assert_allclose(timesteps, scheduler.timesteps.numpy(), rtol=1e-15)
    np.testing.assert_allclose(sigmas, scheduler.sigmas.numpy(), rtol=1e-13)
    assert abs(initial_sigma(config, sigmas) - float(scheduler.init_noise_sigma)) < 1e-12


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_scaling_and_step_are_the_original_ones_in_float64(wide, prediction):
    config = SDXL | {"prediction_type": prediction}
    generator = torch.Generator().manual_seed(0)
    output, sample, noise = (torch.randn(2, 4, 4, 3, dtype=torch.float64, generator=generator) for _ in range(3))
    found = []
    for kind in (EulerAncestralDiscreteScheduler, LiftedEulerAncestral):
        scheduler = kind(**config)
        scheduler.set_timesteps(3)
        with Draws([noise] * 3):
            for timestep in scheduler.timesteps:
                scaled = scheduler.scale_model_input(sample, timestep)
                stepped = scheduler.step(output, timestep, sample, return_dict=False)[0]
                found.append((scaled, stepped))
    for (scaled, stepped), (lifted_scaled, lifted_stepped) in zip(found[:3], found[3:], strict=True):
        assert lifted_stepped.dtype == torch.float64
        assert relative(lifted_scaled, scaled) < 1e-14
        assert relative(lifted_stepped, stepped) < 1e-13


def test_the_unlifted_scheduler_is_far_above_the_limit():
    generator = torch.Generator().manual_seed(0)
    output, sample, noise = (torch.randn(2, 4, 4, 3, dtype=torch.float64, generator=generator) for _ in range(3))
    found = []
    for kind in (EulerAncestralDiscreteScheduler, LiftedEulerAncestral):
        scheduler = kind(**SDXL)
        scheduler.set_timesteps(3)
        with Draws([noise]):
            scheduler.scale_model_input(sample, scheduler.timesteps[0])
            found.append(scheduler.step(output, scheduler.timesteps[0], sample, return_dict=False)[0])
    assert relative(*found) > 1e-9


@pytest.mark.parametrize("flip", [True, False])
def test_the_sinusoids_are_the_original_ones_without_its_rounding(flip):
    module = Timesteps(32, flip_sin_to_cos=flip, downscale_freq_shift=0)
    timesteps = torch.tensor([1.0, 976.0], dtype=torch.float64)
    lifted = timestep_embedding(timesteps, module)
    assert lifted.dtype == torch.float64
    frequencies = np.exp(-np.log(10000.0) * np.arange(16) / 16)
    sines, cosines = (function(timesteps.numpy()[:, None] * frequencies) for function in (np.sin, np.cos))
    np.testing.assert_allclose(lifted, np.hstack([cosines, sines] if flip else [sines, cosines]), atol=1e-13)
    assert 1e-7 < relative(module(timesteps), lifted) < 1e-4


@pytest.mark.parametrize(
    "change",
    [{"beta_schedule": "squaredcos_cap_v2"}, {"rescale_betas_zero_snr": True}, {"timestep_spacing": "karras"}],
    ids=str,
)
def test_a_configuration_without_a_formula_is_refused(change):
    with pytest.raises(CaseError, match="the float64 twin knows"):
        schedule(SDXL | change, 4)
