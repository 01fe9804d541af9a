"""Between latents at a noise level and what the network takes and gives.

The network was trained at whole timesteps: a sigma is replaced by the nearest one of its table, in the scale of its
input and of its output. What comes out is always the noise prediction, `noise_pred`, in terms of the sampler's own
sigma, so that `denoised = latents - sigma * noise_pred` whatever the network predicts. A network of continuous noise
levels (Karras et al. 2022, table 1) is told and scaled by the very sigma.
"""

# mypy: no-warn-return-any
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mindone_sdxl.layers import scalar
from mindone_sdxl.schedule import nearest

if TYPE_CHECKING:
    from mindspore import Tensor

    from mindone_sdxl.arrays import Array, Number
    from mindone_sdxl.config import Prediction

__all__ = ["Denoiser", "denoised_from_noise", "noise_from_denoised"]


def denoised_from_noise(latents: Tensor, noise_pred: Tensor, sigma: Number) -> Tensor:
    """The clean latents that a noise prediction implies."""
    return latents - noise_pred * scalar(sigma, latents.dtype)


def noise_from_denoised(latents: Tensor, denoised: Tensor, sigma: Number) -> Tensor:
    """The noise that a prediction of the clean latents implies."""
    return (latents - denoised) / scalar(sigma, latents.dtype)


@dataclass(frozen=True)
class Denoiser:
    """Scales the network's input and reads its output.

    Args:
        table: sigma of every training timestep, ascending; its type is that of the coefficients.
        prediction: what the network predicts: the noise, the velocity, or a part of the clean latents ("edm").
        sigma_data: standard deviation of the data, for "edm".
    """

    table: Array
    prediction: Prediction = "epsilon"
    sigma_data: float = 0.5

    def timestep(self, sigma: Number) -> Number:
        """What the network is told of a sigma: its training timestep, or a quarter of its logarithm for "edm"."""
        if self.prediction == "edm":
            return np.log(sigma) * self.table.dtype.type(0.25)
        return nearest(self.table, sigma)

    def _level(self, sigma: Number) -> np.floating[Any]:
        return self.table[nearest(self.table, sigma)]

    def network_input(self, latents: Tensor, sigma: Number) -> Tensor:
        """Latents brought to unit variance."""
        if self.prediction == "edm":
            return latents / scalar(np.hypot(sigma, self.table.dtype.type(self.sigma_data)), latents.dtype)
        level = self._level(sigma)
        return latents / scalar(np.sqrt(level * level + level.dtype.type(1)), latents.dtype)

    def noise_pred(self, output: Tensor, latents: Tensor, sigma: Number) -> Tensor:
        """The noise prediction that the network's output at these latents means."""
        if self.prediction == "edm":
            # The clean latents are (data^2 / total^2) latents + (sigma data / total) output, total^2 = sigma^2 + data^2.
            data = self.table.dtype.type(self.sigma_data)
            total = np.hypot(sigma, data)
            kept, share = sigma / (total * total), data / total
            return latents * scalar(kept, latents.dtype) - output * scalar(share, latents.dtype)
        level = self._level(sigma)
        if self.prediction == "v_prediction":
            one = level.dtype.type(1)
            velocity = output * scalar(level / np.sqrt(level * level + one), latents.dtype)
            output = velocity + latents * scalar(level / (level * level + one), latents.dtype)
        return output if level == sigma else output * scalar(level / sigma, latents.dtype)
