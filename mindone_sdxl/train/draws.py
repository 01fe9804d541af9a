"""What is random in a training run: the order of the images, timesteps, and noise; no framework is imported here.

Every number follows from the seed and from the place at which it is needed, never from how many were drawn before: a
run that goes on from its last checkpoint draws what an unbroken one draws. `parity` gives recorded draws instead.

    >>> from mindone_sdxl.train.recipe import Recipe
    >>> draws = SeededDraws(Recipe(total_steps=3), (4, 8, 8), 1000)
    >>> again = SeededDraws(Recipe(total_steps=3), (4, 8, 8), 1000)
    >>> bool((draws.at(2, 0).noise == again.at(2, 0).noise).all())
    True
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from mindone_sdxl.errors import ConfigError

if TYPE_CHECKING:
    from mindone_sdxl.arrays import Array
    from mindone_sdxl.train.recipe import Recipe, TimestepBias

__all__ = ["Draw", "Draws", "SeededDraws", "epoch_order", "timestep_chances"]


class _Use(IntEnum):
    """What a stream of numbers is for; streams of different uses have nothing in common."""

    STEP = 0
    ORDER = 1
    CROP = 2
    PROMPT = 3


class Draw(NamedTuple):
    """The random numbers of one gradient.

    Args:
        timesteps: int64 [batch].
        noise: of unit variance but for the offset, [batch, channels, height, width].
        posterior: what samples the latents of the images, of unit variance, like `noise`.
    """

    timesteps: Array
    noise: Array
    posterior: Array


class Draws(Protocol):
    """Gives the random numbers of each gradient."""

    def at(self, update: int, part: int) -> Draw:
        """The numbers of the gradient `part` of an update, both from 0."""


class SeededDraws:
    """Numbers from the recipe's seed.

    Args:
        recipe: batch size, offset noise, timestep bias and seed.
        shape: channels, height and width of the latents.
        train_timesteps: number of timesteps to choose from.
    """

    def __init__(self, recipe: Recipe, shape: tuple[int, int, int], train_timesteps: int) -> None:
        self._recipe = recipe
        self._shape = (recipe.batch_size, *shape)
        self._chances = timestep_chances(recipe.timestep_bias, train_timesteps)

    def at(self, update: int, part: int) -> Draw:
        """The numbers of the gradient `part` of an update, both from 0."""
        generator = stream(self._recipe.seed, _Use.STEP, update, part)
        batch, channels = self._shape[:2]
        timesteps = generator.choice(len(self._chances), size=batch, p=self._chances)
        noise = generator.standard_normal(self._shape)
        offset = generator.standard_normal((batch, channels, 1, 1))
        posterior = generator.standard_normal(self._shape)
        return Draw(timesteps=timesteps, noise=noise + self._recipe.offset_noise * offset, posterior=posterior)


def stream(seed: int, use: int, *place: int) -> np.random.Generator:
    """The generator for one use at one place."""
    return np.random.default_rng([seed, use, *place])


def epoch_order(seed: int, epoch: int, count: int, *, shuffle: bool) -> Array:
    """The order in which the images come in an epoch."""
    return stream(seed, _Use.ORDER, epoch).permutation(count) if shuffle else np.arange(count)


def crop_stream(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator that places the crop of an image in an epoch."""
    return stream(seed, _Use.CROP, epoch, index)


def prompt_is_dropped(seed: int, epoch: int, index: int, probability: float) -> bool:
    """Whether an image goes without its text in an epoch."""
    return probability > 0 and stream(seed, _Use.PROMPT, epoch, index).random() < probability


def timestep_chances(bias: TimestepBias | None, count: int) -> Array:
    """The chance of each timestep, float64 [count].

    Raises:
        ConfigError: the bias names timesteps that there are not.
    """
    chances = np.ones(count)
    if bias is not None:
        chosen = int(bias.portion * count)
        if bias.strategy == "earlier":
            chances[:chosen] *= bias.multiplier
        elif bias.strategy == "later":
            chances[count - chosen :] *= bias.multiplier
        elif bias.end > count:
            message = f"timestep_bias_end is {bias.end}, there are {count} timesteps"
            raise ConfigError(message)
        else:
            chances[bias.begin : bias.end] *= bias.multiplier
    return np.asarray(chances / chances.sum())
