"""Samplers: how latents move from one noise level to the next.

A sampler is built for one `Schedule`. `step` is one step by itself: it takes the latents and the noise prediction at
the start of step `index` and gives the latents at its end; ancestral samplers take their noise from `noises[index]`,
so that all randomness comes from outside. `sample` is the loop. `predict(latents, sigma)` asks the network for the
guided noise prediction; samplers that look ahead call it within a step.

    noise_pred = predict(latents, schedule.sigmas[i])
    latents = sampler.step(i, latents, noise_pred, noises)

A step may start by raising the noise level (`churn`); `prepare` does that, and gives the latents and the level at which
the network is to be asked.

Coefficients are computed in the schedule's type, tensors stay in their own. Here are the samplers of Euler's kind,
which go along the noise prediction to another level and perhaps add fresh noise; `samplers_dpmpp` and
`samplers_multistep` have the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from mindspore import Tensor

from mindone_sdxl.arrays import Array, Number
from mindone_sdxl.denoiser import denoised_from_noise
from mindone_sdxl.errors import InputError
from mindone_sdxl.layers import numpy_type, scalar

if TYPE_CHECKING:
    from mindone_sdxl.schedule import Schedule

__all__ = [
    "LCM",
    "LCM_TIMESTEP_SCALING",
    "EulerAncestral",
    "EulerEDM",
    "HeunEDM",
    "Noises",
    "Observer",
    "Predict",
    "Sampler",
    "add_noise",
    "ancestral_levels",
    "require_predict",
    "step_noise",
]

LCM_TIMESTEP_SCALING = 10.0  # diffusers' default, which no published model changes
Predict = Callable[[Tensor, Number], Tensor]
Noises = Sequence[Array] | Sequence[Tensor] | Array
Observer = Callable[[int, Tensor], None]


def step_noise(noises: Noises | None, index: int, latents: Tensor) -> Tensor:
    """The noise of one step, in the latents' shape and type.

    Raises:
        InputError: there is no noise, none for this step, or it has another shape.
    """
    if noises is None:
        message = "this sampler adds noise at every step; give noises [steps, batch, channels, height, width]"
        raise InputError(message)
    if index >= len(noises):
        message = f"noises has {len(noises)} entries, step {index} needs entry {index}"
        raise InputError(message)
    noise = noises[index]
    shape = tuple(noise.shape)
    if latents.shape not in (shape, (1, *shape)):
        message = f"noises[{index}] has shape {shape}, the latents have {latents.shape}"
        raise InputError(message)
    if isinstance(noise, Tensor):
        return noise.astype(latents.dtype).reshape(latents.shape)
    return Tensor(np.ascontiguousarray(noise, numpy_type(latents.dtype)), latents.dtype).reshape(latents.shape)


def ancestral_levels(sigma: Number, following: Number) -> tuple[Number, Number]:
    """How far down to go, and how much noise to add, to arrive at the following level: (sigma_down, sigma_up)."""
    # Products, not powers: a numpy scalar of float32 raised to a whole number becomes float64.
    before, after = sigma * sigma, following * following
    up = np.sqrt(after * (before - after) / before)
    return np.sqrt(after - up * up), up


def add_noise(latents: Tensor, noises: Noises | None, index: int, level: Number) -> Tensor:
    """The latents with the noise of one step at this level; unchanged, and no noise looked at, where it is 0."""
    return latents if level == 0 else latents + step_noise(noises, index, latents) * scalar(level, latents.dtype)


def require_predict(predict: Predict | None) -> Predict:
    """The network, for samplers that ask it within a step.

    Raises:
        InputError: it was not given.
    """
    if predict is None:
        message = "this sampler evaluates the network within a step; give predict"
        raise InputError(message)
    return predict


class Sampler:
    """The loop that all samplers share.

    Args:
        schedule: noise levels of the run.
    """

    uses_noise = False
    remembers = False

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._next_index = 0

    def step(
        self,
        index: int,
        latents: Tensor,
        noise_pred: Tensor,
        noises: Noises | None = None,
        predict: Predict | None = None,
    ) -> Tensor:
        """The latents at the end of step `index`.

        Args:
            index: from 0; samplers that remember must be given their steps in order.
            latents: at the start of the step, as `prepare` gives them.
            noise_pred: the guided noise prediction of these latents.
            noises: one entry for each step, for samplers that add noise.
            predict: the network, for samplers that look ahead.

        Raises:
            InputError: there is no such step, an earlier one is missing, or noise or network is needed and missing.
        """
        if not 0 <= index < self.schedule.steps:
            message = f"step {index} of a schedule of {self.schedule.steps} steps"
            raise InputError(message)
        if self.remembers and index not in (0, self._next_index):
            message = f"step {index} follows step {self._next_index - 1}; this sampler needs its steps in order"
            raise InputError(message)
        self._next_index = index + 1
        return self._move(index, latents, noise_pred, noises, predict)

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        raise NotImplementedError

    def recall(self, index: int, memory: Sequence[Tensor]) -> None:
        """Go on at step `index` as if the steps before it had been made.

        Args:
            index: the step that comes next.
            memory: what this sampler remembers of the steps before, the last one first: noise predictions, or for
                DPM-Solver++ the clean latents of the last step.
        """
        self._next_index = index

    def prepare(self, index: int, latents: Tensor, noises: Noises | None = None) -> tuple[Tensor, Number]:
        """The latents and the noise level of which step `index` wants the prediction."""
        return latents, self.schedule.sigmas[index]

    def _levels(self, index: int) -> tuple[Number, Number]:
        """Sigma at the start and at the end of a step."""
        return self.schedule.sigmas[index], self.schedule.sigmas[index + 1]

    def sample(
        self, predict: Predict, latents: Tensor, noises: Noises | None = None, observe: Observer | None = None
    ) -> Tensor:
        """All steps.

        Args:
            latents: noise already at the level of the first step.
            noises: one entry for each step, for samplers that add noise.
            observe: called with the index and the latents after each step.
        """
        if self.uses_noise and noises is not None and len(noises) < self.schedule.steps:
            message = f"noises has {len(noises)} entries for {self.schedule.steps} steps"
            raise InputError(message)
        for index in range(self.schedule.steps):
            latents, sigma = self.prepare(index, latents, noises)
            noise_pred = predict(latents, sigma)
            latents = self.step(index, latents, noise_pred, noises, predict)
            if observe is not None:
                observe(index, latents)
        return latents


class _Churning(Sampler):
    """A sampler that may raise the noise level at the start of a step (Karras et al. 2022, algorithm 2).

    Args:
        schedule: noise levels of the run.
        s_churn: how much; spread over the steps, and never by more than a factor of the square root of 2.
        s_tmin: lowest noise level that is raised; s_tmax the highest.
        s_noise: factor of the noise that is added.
    """

    def __init__(
        self,
        schedule: Schedule,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = math.inf,
        s_noise: float = 1.0,
    ) -> None:
        super().__init__(schedule)
        self.s_churn, self.s_tmin, self.s_tmax, self.s_noise = s_churn, s_tmin, s_tmax, s_noise
        self.uses_noise = s_churn > 0

    def _levels(self, index: int) -> tuple[Number, Number]:
        sigma, following = super()._levels(index)
        if self.s_churn > 0 and self.s_tmin <= sigma <= self.s_tmax:
            raised = 1 + min(self.s_churn / self.schedule.steps, math.sqrt(2) - 1)
            sigma = sigma * self.schedule.sigmas.dtype.type(raised)
        return sigma, following

    def prepare(self, index: int, latents: Tensor, noises: Noises | None = None) -> tuple[Tensor, Number]:
        """The latents with noise added up to the raised level, and that level."""
        before, raised = self.schedule.sigmas[index], self._levels(index)[0]
        added = np.sqrt(raised * raised - before * before) * before.dtype.type(self.s_noise)
        return (latents if raised == before else add_noise(latents, noises, index, added)), raised


class EulerEDM(_Churning):
    """Euler's method on the probability flow (Karras et al. 2022, algorithm 2 without correction)."""

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        sigma, following = self._levels(index)
        return latents + noise_pred * scalar(following - sigma, latents.dtype)


class HeunEDM(_Churning):
    """Euler's step corrected by the mean of the predictions at its two ends (Karras et al. 2022, algorithm 2)."""

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        sigma, following = self._levels(index)
        moved = latents + noise_pred * scalar(following - sigma, latents.dtype)
        if following == 0:
            return moved
        mean = (noise_pred + require_predict(predict)(moved, following)) * scalar(0.5, latents.dtype)
        return latents + mean * scalar(following - sigma, latents.dtype)


class EulerAncestral(Sampler):
    """Euler's method down to a lower level than the next one, then fresh noise up to it; the last step adds none."""

    uses_noise = True

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        sigma, following = self._levels(index)
        down, up = ancestral_levels(sigma, following)
        return add_noise(latents + noise_pred * scalar(down - sigma, latents.dtype), noises, index, up)


class LCM(Sampler):
    """The clean latents that the prediction implies, noised afresh (latent consistency models).

    Args:
        schedule: noise levels of the run, whose timesteps are whole numbers if there is a `timestep_scaling`.
        timestep_scaling: at timestep t the latents at unit variance are mixed in with a weight that falls from 1 at t = 0
            as t times this grows, and is below 1e-5 at every timestep of a run; 10 in diffusers, None for no mixing.
        sigma_data: where that weight has fallen to a half, as a scaled timestep.

    Source: https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_lcm.py
    """

    uses_noise = True

    def __init__(self, schedule: Schedule, timestep_scaling: float | None = None, sigma_data: float = 0.5) -> None:
        super().__init__(schedule)
        self.timestep_scaling, self.sigma_data = timestep_scaling, sigma_data

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        sigma, following = self._levels(index)
        denoised = denoised_from_noise(latents, noise_pred, sigma)
        if self.timestep_scaling is not None:
            denoised = self._at_boundary(latents, denoised, index)
        return add_noise(denoised, noises, index, following)

    def _at_boundary(self, latents: Tensor, denoised: Tensor, index: int) -> Tensor:
        """What a consistency model gives, which leaves the latents of timestep 0 as they are."""
        scaled, sigma = float(self.schedule.timesteps[index]) * (self.timestep_scaling or 0), self._levels(index)[0]
        total = math.hypot(scaled, self.sigma_data)
        kept, share = (self.sigma_data / total) ** 2, scaled / total
        kept /= math.hypot(float(sigma), 1)
        return denoised * scalar(share, latents.dtype) + latents * scalar(kept, latents.dtype)
