"""DPM-Solver++ of second order: exponential integrators in the logarithm of the noise level.

With h = log(sigma / next), one step of first order is `latents * next / sigma - denoised * expm1(-h)`; both samplers
here replace `denoised` by a better estimate over the step. Coefficients are computed in float64.

Source: Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithms 1 and 2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from mindone_sdxl.arrays import scalar_like
from mindone_sdxl.denoiser import denoised_from_noise
from mindone_sdxl.samplers.base import (
    Noises,
    Predict,
    Row,
    Sampler,
    add_noise,
    ancestral_levels,
    check_share,
    require_predict,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindspore import Tensor

    from mindone_sdxl.schedule import Schedule

__all__ = ["DPMPP2M", "ROWS", "DPMPP2SAncestral"]


def _towards(latents: Tensor, denoised: Tensor, sigma: float, following: float) -> Tensor:
    """A step of first order from one noise level to another; `denoised` itself where that is 0."""
    if following == 0:
        return denoised
    ratio = following / sigma
    return latents * scalar_like(ratio, latents) - denoised * scalar_like(math.expm1(math.log(ratio)), latents)


class DPMPP2SAncestral(Sampler):
    """Second order by a look at half the step, down to a lower level than the next, then fresh noise up to it.

    Args:
        schedule: noise levels of the run.
        eta: the share of the noise that is added anew.
        s_noise: factor of the noise that is added.
    """

    uses_noise = True

    def __init__(self, schedule: Schedule, eta: float = 1.0, s_noise: float = 1.0) -> None:
        super().__init__(schedule)
        self.eta, self.s_noise = check_share(eta), s_noise

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        sigma, following = self._levels(index)
        levels = (sigma, *ancestral_levels(sigma, following, self.eta))
        sigma, down, up = (float(level) for level in levels)
        denoised = denoised_from_noise(latents, noise_pred, sigma)
        if down > 0:
            middle = math.sqrt(sigma * down)
            between = _towards(latents, denoised, sigma, middle)
            denoised = denoised_from_noise(between, require_predict(predict)(between, middle), middle)
        return add_noise(_towards(latents, denoised, sigma, down), noises, index, up * self.s_noise)


class DPMPP2M(Sampler):
    """Second order by extrapolation from the step before; one evaluation per step."""

    remembers = True

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule)
        self._previous: Tensor | None = None

    def recall(self, index: int, memory: Sequence[Tensor]) -> None:
        """Go on at step `index`; `memory` holds the clean latents of the step before."""
        super().recall(index, memory)
        self._previous = memory[0] if memory else None

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        sigma, following = (float(level) for level in self._levels(index))
        denoised = denoised_from_noise(latents, noise_pred, sigma)
        estimate, previous = denoised, self._previous
        if index > 0 and following > 0 and previous is not None:
            last = math.log(float(self.schedule.sigmas[index - 1]) / sigma)
            weight = math.log(sigma / following) / (2 * last)
            estimate = denoised + (denoised - previous) * scalar_like(weight, latents)
        self._previous = denoised
        return _towards(latents, estimate, sigma, following)


ROWS: Final = (
    Row(
        name="DPMPP2SAncestral",
        kind=DPMPP2SAncestral,
        options=("eta", "s_noise"),
        noise="always",
        evaluations=2,
    ),
    Row(name="DPMPP2M", kind=DPMPP2M),
)
