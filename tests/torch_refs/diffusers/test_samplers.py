"""Every sampler of the table: its float64 form against diffusers' own scheduler, lifted from outside."""

from __future__ import annotations

import sys
import types
from contextlib import contextmanager

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from parity.errors import CaseError  # noqa: E402
from tests.torch_refs.support import relative  # noqa: E402
from torch_refs.diffusers.draws import Draw, Draws  # noqa: E402
from torch_refs.diffusers.samplers import SAMPLERS, Lifted, memory, of_case, of_scheduler, schedule  # noqa: E402

pytestmark = pytest.mark.torch
STEPS = 5
SDXL = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_spacing": "leading",
    "steps_offset": 1, "prediction_type": "epsilon", "num_train_timesteps": 1000,
}  # fmt: skip
# What each row has beyond prediction, betas and spacing: at least one setting of every kind that its form computes.
SETTINGS = {
    "EulerAncestral": [({}, 1.0)],
    "EulerDiscrete": [({}, None), ({"use_karras_sigmas": True}, None), ({"final_sigmas_type": "sigma_min"}, None)],
    "DDIM": [
        ({"clip_sample": False}, 0.0),
        ({"clip_sample": False}, 0.7),
        ({"clip_sample": False, "set_alpha_to_one": False}, 1.0),
    ],
    "DPMSolverMultistep": [
        ({}, None),
        ({"use_karras_sigmas": True}, None),
        ({"final_sigmas_type": "sigma_min"}, None),
        ({"final_sigmas_type": "sigma_min", "lower_order_final": False}, None),
        ({"final_sigmas_type": "sigma_min", "lower_order_final": False, "euler_at_final": True}, None),
    ],
}
SPACINGS = [{"timestep_spacing": spacing} for spacing in ("leading", "linspace", "trailing")]
CASES = [
    pytest.param(name, SDXL | settings | change, eta, id=" ".join([name, *map(str, (settings | change).values()), str(eta)]))
    for name, kinds in SETTINGS.items()
    for settings, eta in kinds
    for change in (*SPACINGS, {"beta_schedule": "linear"}, {"prediction_type": "v_prediction"})
]  # fmt: skip


class _Wide(types.ModuleType):
    """A module whose float32 is float64."""

    def __init__(self, module, wide):
        super().__init__(module.__name__)
        self._module, self.float32 = module, wide

    def __getattr__(self, name):
        return getattr(self._module, name)


@contextmanager
def wide(row):
    """Let diffusers' scheduler compute in float64."""
    module = sys.modules[row.scheduler.__module__]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "torch", _Wide(torch, torch.float64))
        patch.setattr(module, "np", _Wide(np, np.float64))
        yield


def walk(scheduler, noises, eta):
    """Yield the schedule, and for every step the scaled latents, what is remembered, and the latents after it."""
    generator = torch.Generator().manual_seed(0)
    scheduler.set_timesteps(STEPS)
    yield schedule(scheduler)
    sample = torch.randn(2, 4, 4, 3, dtype=torch.float64, generator=generator)
    told = {"eta": eta} if eta is not None and "eta" in scheduler.step.__code__.co_varnames else {}
    with Draws({Draw("step", step): noise for step, noise in enumerate(noises)}) as draws:
        for timestep in scheduler.timesteps:
            output = torch.randn(2, 4, 4, 3, dtype=torch.float64, generator=generator)
            found = {"scaled": scheduler.scale_model_input(sample, timestep), **memory(scheduler)}
            sample = scheduler.step(output, timestep, sample, return_dict=False, **told)[0]
            draws.next_step()
            yield found | {"sample": sample}
    assert bool(draws.seen) is of_scheduler(scheduler).drawing(eta or 0.0)


@pytest.mark.parametrize(("name", "config", "eta"), CASES)
def test_a_form_is_the_scheduler_in_float64_step_by_step(name, config, eta):
    row = SAMPLERS[name]
    noises = torch.randn(STEPS, 2, 4, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with wide(row):
        scheduler = row.scheduler(**config)
        wanted = list(walk(scheduler, noises, eta))
    found = list(walk(Lifted(scheduler, eta or 0.0), noises, eta))
    assert len(found) == len(wanted) == STEPS + 1
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.keys() == theirs.keys()
        for what, tensor in ours.items():
            if tensor is None:
                assert theirs[what] is None
                continue
            assert tensor.dtype in (torch.float64, torch.int64)
            assert relative(tensor, theirs[what]) < 1e-12, what


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_scheduler_as_it_is_lies_far_above_the_limit(name):
    row = SAMPLERS[name]
    settings, eta = SETTINGS[name][0]
    scheduler = row.scheduler(**SDXL | settings)
    noises = torch.randn(STEPS, 2, 4, 4, 3, dtype=torch.float64)
    own, lifted = (list(walk(each, noises, eta)) for each in (scheduler, Lifted(scheduler, eta or 0.0)))
    assert max(relative(one["sample"], other["sample"]) for one, other in zip(own[1:], lifted[1:], strict=True)) > 1e-9


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_prediction_without_a_formula_is_refused(name):
    row = SAMPLERS[name]
    with pytest.raises(CaseError, match="prediction_type is 'sample'; the float64 twin knows epsilon and v_prediction"):
        row.form(row.scheduler(**SDXL | {"prediction_type": "sample"}).config, 4, 0.0)


def test_ddim_draws_no_more_noise_than_there_is():
    row = SAMPLERS["DDIM"]
    with pytest.raises(CaseError, match=r"eta is 1\.1; a step cannot draw more"):
        row.form(row.scheduler(**SDXL, clip_sample=False).config, 4, 1.1)


def test_every_row_is_tested_with_all_it_can_be_set_to():
    assert set(SETTINGS) == set(SAMPLERS)
    for name, row in SAMPLERS.items():
        varied = {key for settings, _ in SETTINGS[name] for key in settings}
        assert set(row.settings) - set(row.form.known) <= varied, name


def test_a_sampler_that_is_none_is_named_with_the_nearest():
    with pytest.raises(CaseError, match=r"'EulerAncestrel', did you mean 'EulerAncestral'"):
        of_case("EulerAncestrel")
