"""Samplers of Euler's kind: along the noise prediction to another level, and perhaps fresh noise on top."""

from __future__ import annotations

from mindspore import Tensor

from mindone_sdxl.denoiser import denoised_from_noise
from mindone_sdxl.layers import scalar
from mindone_sdxl.samplers.base import Noises, Predict, Sampler, add_noise, ancestral_levels, require_predict

__all__ = ["LCM", "EulerAncestral", "EulerEDM", "HeunEDM"]


class EulerEDM(Sampler):
    """Euler's method on the probability flow (Karras et al. 2022, algorithm 1 without churn and correction)."""

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        sigma, following = self._levels(index)
        return latents + noise_pred * scalar(following - sigma, latents.dtype)


class HeunEDM(Sampler):
    """Euler's step corrected by the mean of the predictions at its two ends (Karras et al. 2022, algorithm 1)."""

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
    """The clean latents that the prediction implies, noised afresh (latent consistency models)."""

    uses_noise = True

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        sigma, following = self._levels(index)
        return add_noise(denoised_from_noise(latents, noise_pred, sigma), noises, index, following)
