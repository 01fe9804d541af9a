"""The linear multistep method: the polynomial through the last predictions, integrated over the step."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

from mindone_sdxl.arrays import scalar_like
from mindone_sdxl.samplers.base import Noises, Predict, Row, Sampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindspore import Tensor

    from mindone_sdxl.arrays import Array
    from mindone_sdxl.schedule import Schedule

__all__ = ["ROWS", "LinearMultistep", "coefficients"]


def coefficients(levels: Array, start: float, end: float) -> Array:
    """Weights of predictions at these noise levels in the integral from start to end, float64 [len(levels)].

    Each is the integral of a Lagrange polynomial; Gauss's rule with as many points as levels gives it exactly.
    """
    levels = np.asarray(levels, np.float64)
    points, weights = np.polynomial.legendre.leggauss(len(levels))  # type: ignore[no-untyped-call]
    half = (end - start) / 2
    places = start + half * (points + 1)
    others = [np.delete(levels, index) for index in range(len(levels))]
    factors = [
        np.prod([(places - other) / (level - other) for other in rest], axis=0)
        for level, rest in zip(levels, others, strict=True)
    ]
    return np.array([half * np.sum(weights * factor) for factor in factors])


class LinearMultistep(Sampler):
    """Adams' method of an order that grows to `order` over the first steps."""

    remembers = True

    def __init__(self, schedule: Schedule, order: int = 4) -> None:
        super().__init__(schedule)
        self.order = order
        self._predictions: deque[Tensor] = deque(maxlen=order)

    def recall(self, index: int, memory: Sequence[Tensor]) -> None:
        """Go on at step `index`; `memory` holds the noise predictions of the steps before, the last one first."""
        super().recall(index, memory)
        self._predictions = deque(memory, maxlen=self.order)

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        if index == 0:
            self._predictions.clear()
        self._predictions.appendleft(noise_pred)
        sigma, following = (float(level) for level in self._levels(index))
        levels = self.schedule.sigmas[index + 1 - len(self._predictions) : index + 1][::-1]
        for weight, prediction in zip(coefficients(levels, sigma, following), self._predictions, strict=True):
            latents = latents + prediction * scalar_like(weight, latents)
        return latents


ROWS: Final = (Row(name="LinearMultistep", kind=LinearMultistep),)
