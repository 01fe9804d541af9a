"""Samplers of Euler's kind: along the noise prediction to another level, and perhaps fresh noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from mindone_sdxl.arrays import scalar_like
from mindone_sdxl.discretization import DiffusersDDPM
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
    from mindspore import Tensor

    from mindone_sdxl.arrays import Number
    from mindone_sdxl.schedule import Schedule

__all__ = ["ROWS", "EulerAncestral", "EulerEDM", "HeunEDM"]


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
        return latents + noise_pred * scalar_like(following - sigma, latents)


class HeunEDM(_Churning):
    """Euler's step corrected by the mean of the predictions at its two ends (Karras et al. 2022, algorithm 2)."""

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        sigma, following = self._levels(index)
        moved = latents + noise_pred * scalar_like(following - sigma, latents)
        if following == 0:
            return moved
        mean = (noise_pred + require_predict(predict)(moved, following)) * scalar_like(0.5, latents)
        return latents + mean * scalar_like(following - sigma, latents)


class EulerAncestral(Sampler):
    """Euler's method down to a lower level than the next one, then fresh noise up to it; the last step adds none.

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
        down, up = ancestral_levels(sigma, following, self.eta)
        return add_noise(
            latents + noise_pred * scalar_like(down - sigma, latents), noises, index, up * type(up)(self.s_noise)
        )


_CHURN: Final = ("s_churn", "s_tmin", "s_tmax", "s_noise")
ROWS: Final = (
    Row(name="EulerEDM", kind=EulerEDM, options=_CHURN, noise="s_churn"),
    Row(name="HeunEDM", kind=HeunEDM, options=_CHURN, noise="s_churn", evaluations=2),
    Row(name="EulerAncestral", kind=EulerAncestral, options=("eta", "s_noise"), noise="always"),
    Row(name="EulerDiscrete", kind=EulerEDM, placed=DiffusersDDPM),
)
