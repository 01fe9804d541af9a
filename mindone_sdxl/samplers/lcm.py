"""The sampler of latent consistency models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from mindone_sdxl.arrays import scalar_like
from mindone_sdxl.denoiser import denoised_from_noise
from mindone_sdxl.samplers.base import Noises, Predict, Row, Sampler, add_noise

if TYPE_CHECKING:
    from mindspore import Tensor

    from mindone_sdxl.schedule import Schedule

__all__ = ["LCM", "LCM_TIMESTEP_SCALING", "ROWS"]

LCM_TIMESTEP_SCALING: Final = 10.0  # diffusers' default, which no published model changes


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
        return denoised * scalar_like(share, latents) + latents * scalar_like(kept, latents)


ROWS: Final = (Row(name="LCM", kind=LCM, noise="always"),)
