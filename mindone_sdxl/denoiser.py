"""Between latents at a noise level and what the network takes and gives.

The network was trained at whole timesteps: a sigma is replaced by the nearest one of its table, in the scale of its
input and of its output. What comes out is always the noise prediction, `noise_pred`, in terms of the sampler's own
sigma, so that `denoised = latents - sigma * noise_pred` whatever the network predicts. A network of continuous noise
levels (Karras et al. 2022, table 1) is told and scaled by the very sigma.
"""

# mypy: no-warn-return-any
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mindone_sdxl.arrays import scalar_like
from mindone_sdxl.schedule import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mindspore import Tensor

    from mindone_sdxl.arrays import Array, Number
    from mindone_sdxl.config import Prediction

__all__ = ["Denoiser", "denoised_from_noise", "noise_from_denoised", "weights"]


def denoised_from_noise(latents: Tensor, noise_pred: Tensor, sigma: Number) -> Tensor:
    """The clean latents that a noise prediction implies."""
    return latents - noise_pred * scalar_like(sigma, latents)


def weights(sigma: Number) -> tuple[float, float]:
    """What latents of unit variance hold of clean latents and of noise at a noise level, in float64."""
    kept = 1 / math.sqrt(float(sigma) ** 2 + 1)
    return kept, float(sigma) * kept


def noise_from_denoised(latents: Tensor, denoised: Tensor, sigma: Number) -> Tensor:
    """The noise that a prediction of the clean latents implies."""
    return (latents - denoised) / scalar_like(sigma, latents)


@dataclass(frozen=True)
class Denoiser:
    """Scales the network's input and reads its output.

    Args:
        table: sigma of every training timestep, ascending; its type is that of the coefficients.
        prediction: what the network predicts: the noise, the velocity, or a part of the clean latents ("edm").
        sigma_data: standard deviation of the data, for "edm".
        unit_variance: latents are kept at unit variance, which is what the network takes.
        told: what the network is told at each noise level of a run whose levels lie between those of the table. Such a
            level is not replaced by the nearest one.
    """

    table: Array
    prediction: Prediction = "epsilon"
    sigma_data: float = 0.5
    unit_variance: bool = False
    told: Mapping[float, Number] | None = None

    def timestep(self, sigma: Number) -> Number:
        """What the network is told of a sigma: its training timestep, or a quarter of its logarithm for "edm"."""
        if self.prediction == "edm":
            return np.log(sigma) * self.table.dtype.type(0.25)
        if self.told is not None:
            return self.told[float(sigma)]
        return nearest(self.table, sigma)

    def _level(self, sigma: Number) -> np.floating[Any]:
        return self.table.dtype.type(sigma) if self.told is not None else self.table[nearest(self.table, sigma)]

    def network_input(self, latents: Tensor, sigma: Number) -> Tensor:
        """Latents brought to unit variance."""
        if self.prediction == "edm":
            return latents / scalar_like(np.hypot(sigma, self.table.dtype.type(self.sigma_data)), latents)
        if self.unit_variance:
            return latents
        level = self._level(sigma)
        return latents / scalar_like(np.sqrt(level * level + level.dtype.type(1)), latents)

    def noise_pred(self, output: Tensor, latents: Tensor, sigma: Number) -> Tensor:
        """The noise prediction that the network's output at these latents means."""
        if self.prediction == "edm":
            # The clean latents are (data^2 / total^2) latents + (sigma data / total) output, total^2 = sigma^2 + data^2.
            data = self.table.dtype.type(self.sigma_data)
            total = np.hypot(sigma, data)
            kept, share = sigma / (total * total), data / total
            return latents * scalar_like(kept, latents) - output * scalar_like(share, latents)
        level = self._level(sigma)
        if self.prediction == "v_prediction":
            # The noise of latents at unit variance is kept velocity + added latents; others are 1 / kept times as large.
            kept, added = weights(level)
            share = added if self.unit_variance else added * kept
            output = output * scalar_like(kept, latents) + latents * scalar_like(share, latents)
        return output if self.unit_variance or level == sigma else output * scalar_like(level / sigma, latents)
