"""Samplers of diffusers that keep latents at unit variance: alpha clean latents and (1 - alpha^2)^(1/2) noise.

A noise level sigma is the ratio of the two weights, alpha = 1 / (1 + sigma^2)^(1/2), so that the schedule is the one of
all other samplers. Coefficients are computed in float64.

Source: https://github.com/huggingface/diffusers/tree/v0.42.1/src/diffusers/schedulers
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

from mindone_sdxl.arrays import scalar_like
from mindone_sdxl.denoiser import weights
from mindone_sdxl.discretization import DiffusersDDPM, DiffusersDPM
from mindone_sdxl.samplers.base import Noises, Predict, Row, Sampler, add_noise, check_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindspore import Tensor

    from mindone_sdxl.schedule import Schedule

__all__ = ["DDIM", "ROWS", "DPMSolverMultistep"]


def _clean(latents: Tensor, noise_pred: Tensor, sigma: float) -> Tensor:
    """The clean latents that a noise prediction implies."""
    kept, added = weights(sigma)
    return (latents - noise_pred * scalar_like(added, latents)) / scalar_like(kept, latents)


class DDIM(Sampler):
    """Towards the clean latents that the prediction implies, with a share of the noise drawn anew (Song et al. 2021).

    Args:
        schedule: noise levels of the run.
        eta: the share of the noise that is drawn anew: 0 none, 1 as much as the forward process adds.

    Source: https://arxiv.org/abs/2010.02502, equations 12 and 16
    """

    unit_variance = True

    def __init__(self, schedule: Schedule, eta: float = 0.0) -> None:
        super().__init__(schedule)
        self.eta, self.uses_noise = check_share(eta, 1), eta > 0

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        sigma, end = (float(level) for level in self._levels(index))
        kept, added = weights(sigma)
        following, left = weights(end)
        drawn = self.eta * left / added * math.sqrt(1 - (kept / following) ** 2)
        remaining = scalar_like(math.sqrt(left**2 - drawn**2), latents)
        moved = _clean(latents, noise_pred, sigma) * scalar_like(following, latents) + noise_pred * remaining
        return add_noise(moved, noises, index, drawn)


class DPMSolverMultistep(Sampler):
    """DPM-Solver++ of second order by extrapolation from the clean latents of the step before (Lu et al. 2022).

    Args:
        schedule: noise levels of the run.
        lower_order_final: the last step of a run of fewer than 15 is of first order.
        euler_at_final: that of every run is; it always is where the run ends without noise.

    Source: https://arxiv.org/abs/2211.01095, algorithm 2
    """

    remembers = True
    unit_variance = True
    _few: ClassVar[int] = 15

    def __init__(self, schedule: Schedule, *, lower_order_final: bool = True, euler_at_final: bool = False) -> None:
        super().__init__(schedule)
        self.lower_order_final, self.euler_at_final = lower_order_final, euler_at_final
        self._previous: Tensor | None = None

    def recall(self, index: int, memory: Sequence[Tensor]) -> None:
        """Go on at step `index`; `memory` holds the clean latents of the step before."""
        super().recall(index, memory)
        self._previous = memory[0] if memory else None

    def _move(
        self, index: int, latents: Tensor, noise_pred: Tensor, noises: Noises | None, predict: Predict | None
    ) -> Tensor:
        sigma, end = (float(level) for level in self._levels(index))
        clean = _clean(latents, noise_pred, sigma)
        estimate, previous = clean, self._previous
        if index > 0 and previous is not None and not self._first_order(index, end):
            ratio = math.log(float(self.schedule.sigmas[index - 1]) / sigma) / math.log(sigma / end)
            estimate = clean + (clean - previous) * scalar_like(1 / (2 * ratio), latents)
        self._previous = clean
        following, left = weights(end)
        kept = scalar_like(left / weights(sigma)[1], latents)
        return latents * kept - estimate * scalar_like(following * (end / sigma - 1), latents)

    def _first_order(self, index: int, end: float) -> bool:
        """Whether a step looks at no other because it is the last."""
        steps = self.schedule.steps
        few = self.lower_order_final and steps < self._few
        return index == steps - 1 and (self.euler_at_final or few or end == 0)


ROWS: Final = (
    Row(name="DDIM", kind=DDIM, options=("eta",), noise="eta", placed=DiffusersDDPM),
    Row(
        name="DPMSolverMultistep",
        kind=DPMSolverMultistep,
        options=("lower_order_final", "euler_at_final"),
        placed=DiffusersDPM,
    ),
)
