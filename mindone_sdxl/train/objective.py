"""The loss: noise is added to latents, and the network says what was added.

`noisy = kept * latents + added * noise`, where kept and added, of a timestep, have squares that sum to 1; the network
is told the timestep, and its prediction is held against the noise, or against the velocity `kept * noise - added *
latents`. With `snr_gamma` a timestep counts by how much of it is signal, at most gamma: min(ratio, gamma) / ratio, or
over ratio + 1 for the velocity.

Sources: https://arxiv.org/abs/2006.11239, section 3.4; https://arxiv.org/abs/2202.00512, appendix D;
https://arxiv.org/abs/2303.09556, section 3.4.
"""

# mypy: no-warn-return-any
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mindone_sdxl.discretization import exact_table
from mindone_sdxl.errors import ConfigError

if TYPE_CHECKING:
    from mindone_sdxl.arrays import Array
    from mindone_sdxl.config import ScheduleConfig
    from mindone_sdxl.train.recipe import Recipe

__all__ = ["Objective", "Problem"]


class Problem(NamedTuple):
    """What the network is given, and what it is held against, in float64.

    Args:
        noisy: latents with noise [batch, channels, height, width].
        target: what the network should predict, of the same shape.
        weight: how much each image counts [batch].
    """

    noisy: Array
    target: Array
    weight: Array


class Objective:
    """Makes the network's problem out of latents and noise.

    Args:
        recipe: its `snr_gamma`.
        schedule: noise levels, and what the network predicts.

    Raises:
        ConfigError: a network of continuous noise levels.
    """

    def __init__(self, recipe: Recipe, schedule: ScheduleConfig) -> None:
        if schedule.prediction == "edm":
            message = "networks of continuous noise levels (EDM) are not trained here; take one that predicts noise or velocity"
            raise ConfigError(message)
        sigmas = exact_table(schedule)
        self._kept = 1 / np.sqrt(sigmas**2 + 1)
        self._added = sigmas * self._kept
        self._velocity = schedule.prediction == "v_prediction"
        self._weights = np.ones_like(sigmas)
        if recipe.snr_gamma is not None:
            ratio = sigmas**-2.0
            self._weights = np.minimum(ratio, recipe.snr_gamma) / (ratio + 1 if self._velocity else ratio)

    @property
    def timesteps(self) -> int:
        """Number of timesteps."""
        return len(self._kept)

    def problem(self, latents: Array, noise: Array, timesteps: Array) -> Problem:
        """The problem of latents [batch, channels, height, width] with their noise at timesteps [batch]."""
        kept, added = (table[timesteps].reshape(-1, 1, 1, 1) for table in (self._kept, self._added))
        latents, noise = latents.astype(np.float64), noise.astype(np.float64)
        target = kept * noise - added * latents if self._velocity else noise
        return Problem(noisy=kept * latents + added * noise, target=target, weight=self._weights[timesteps])
