"""What all samplers share: a row of what is known of each, the step and the loop, and how noise is added.

A sampler is built for one `Schedule`. `step` is one step by itself: it takes the latents and the noise prediction at
the start of step `index` and gives the latents at its end; samplers that add noise take it from `noises[index]`, so that
all randomness comes from outside. `sample` is the loop. `predict(latents, sigma)` asks the network for the guided noise
prediction; samplers that look ahead call it within a step.

    noise_pred = predict(latents, schedule.sigmas[i])
    latents = sampler.step(i, latents, noise_pred, noises)

A step may start by raising the noise level (`churn`); `prepare` does that, and gives the latents and the level at which
the network is to be asked.

Coefficients are computed in the schedule's type, tensors stay in their own. No framework is imported: a number becomes a
tensor of the latents' own class, so that the alignment of a candidate can read the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mindone_sdxl.arrays import Array, Number, scalar_like
from mindone_sdxl.errors import InputError

if TYPE_CHECKING:
    from mindspore import Tensor

    from mindone_sdxl.discretization import DiffusersDDPM
    from mindone_sdxl.schedule import Schedule

__all__ = [
    "Noises",
    "Observer",
    "Predict",
    "Row",
    "Sampler",
    "add_noise",
    "ancestral_levels",
    "check_share",
    "require_predict",
    "step_noise",
]

Predict = Callable[["Tensor", Number], "Tensor"]
Noises = Sequence[Array] | Sequence["Tensor"] | Array
Observer = Callable[[int, "Tensor"], None]


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
    if isinstance(noise, np.ndarray):
        return type(latents)(np.ascontiguousarray(noise), latents.dtype).reshape(latents.shape)
    return noise.astype(latents.dtype).reshape(latents.shape)


def ancestral_levels(sigma: Number, following: Number, eta: float = 1.0) -> tuple[Number, Number]:
    """How far down to go, and how much noise to add, to arrive at the following level: (sigma_down, sigma_up).

    Args:
        eta: the share of the noise that is added anew: 0 none, 1 as much as the forward process adds.
    """
    # Products, not powers: a numpy scalar of float32 raised to a whole number becomes float64.
    before, after = sigma * sigma, following * following
    up = np.sqrt(after * (before - after) / before)
    if eta != 1:
        up = np.minimum(following, up * type(up)(eta))
    return np.sqrt(after - up * up), up


def check_share(eta: float, most: float = math.inf) -> float:
    """An eta that can be used.

    Raises:
        InputError: it is out of range.
    """
    if not 0 <= eta <= most:
        message = (
            f"eta is {eta}, expected 0 to {most:g}" if most < math.inf else f"eta is {eta}, it must not be negative"
        )
        raise InputError(message)
    return eta


def add_noise(latents: Tensor, noises: Noises | None, index: int, level: Number) -> Tensor:
    """The latents with the noise of one step at this level; unchanged, and no noise looked at, where it is 0."""
    return latents if level == 0 else latents + step_noise(noises, index, latents) * scalar_like(level, latents)


def require_predict(predict: Predict | None) -> Predict:
    """The network, for samplers that ask it within a step.

    Raises:
        InputError: it was not given.
    """
    if predict is None:
        message = "this sampler evaluates the network within a step; give predict"
        raise InputError(message)
    return predict


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of one sampler.

    Args:
        name: what flags, configurations and cases call it.
        kind: its class.
        options: arguments of the class that a user may set, each a flag.
        noise: the option that makes its steps add noise; "always", or "never".
        evaluations: how often a step asks the network, at the most.
        placed: where diffusers places the steps of this sampler, if flags and cases may say more of that than a
            `DiffusersDDPM` by itself.
    """

    name: str
    kind: type[Sampler]
    options: tuple[str, ...] = ()
    noise: str = "never"
    evaluations: int = 1
    placed: type[DiffusersDDPM] | None = None


class Sampler:
    """The loop that all samplers share.

    Args:
        schedule: noise levels of the run; the sampler's own `schedule` says in which space its latents are.

    Attributes:
        uses_noise: whether its steps add noise.
        remembers: whether a step needs the steps before it.
        unit_variance: whether latents are kept at unit variance, instead of clean latents with noise added to them.
    """

    uses_noise = False
    remembers: ClassVar[bool] = False
    unit_variance: ClassVar[bool] = False

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = replace(schedule, unit_variance=self.unit_variance)
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
