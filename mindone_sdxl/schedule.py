"""The noise levels of one run: what a sampler walks down and what the network is told.

>>> from mindone_sdxl.config import ScheduleConfig
>>> from mindone_sdxl.discretization import DiffusersDDPM
>>> schedule = make_schedule(DiffusersDDPM(ScheduleConfig()), 3, np.dtype(np.float64))
>>> schedule.sigmas.shape, schedule.timesteps.tolist()
((4,), [667.0, 334.0, 1.0])
"""

# mypy: no-warn-return-any
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mindone_sdxl.errors import InputError

if TYPE_CHECKING:
    from mindone_sdxl.arrays import Array, DTypeLike, Number
    from mindone_sdxl.discretization import Discretization

__all__ = ["Schedule", "make_schedule", "nearest"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Noise levels, in the type in which the steps' coefficients are computed (float64 or float32).

    Args:
        sigmas: descending [steps + 1]; the last is 0 unless another model goes on from there.
        timesteps: what the network is told at each step, in `sigmas`' type [steps]: the training timestep, a whole
            number, or a quarter of the logarithm of sigma for a network of continuous noise levels.
        table: sigma of every training timestep, ascending.
        between: whether sigmas lie between those of the table and are taken as they are.
        unit_variance: whether a sampler keeps latents at unit variance, instead of clean latents with noise added.
    """

    sigmas: Array
    timesteps: Array
    table: Array
    between: bool = False
    unit_variance: bool = False

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.timesteps)

    def tail(self, strength: float) -> Schedule:
        """The last part of the schedule, for a run that starts from an image.

        Args:
            strength: from 0 to 1, the part of the noise levels (the final zero counted) that is kept.

        Raises:
            InputError: strength is out of range or leaves no step.
        """
        if not 0 <= strength <= 1:
            message = f"strength is {strength}, expected 0 to 1"
            raise InputError(message)
        kept = max(int(strength * len(self.sigmas)), 1)
        if kept == 1:
            message = f"strength {strength} keeps none of {self.steps} steps; take more steps or more strength"
            raise InputError(message)
        return replace(self, sigmas=self.sigmas[-kept:], timesteps=self.timesteps[1 - kept :])

    def head(self, strength: float) -> Schedule:
        """What `tail` of the same strength leaves to be done before it; ends at the noise level where that starts.

        Raises:
            InputError: strength is out of range, or leaves no step to either part.
        """
        return self.before(self.tail(strength))

    def before(self, later: Schedule) -> Schedule:
        """What is to be done before a later part; both end where the whole schedule ends.

        Raises:
            InputError: there is no step before it.
        """
        kept = self.steps - later.steps
        if kept <= 0:
            message = (
                f"the last {later.steps} of {self.steps} steps are the second model's, which leaves none to the first"
            )
            raise InputError(message)
        return replace(self, sigmas=self.sigmas[: kept + 1], timesteps=self.timesteps[:kept])

    @property
    def init_noise_sigma(self) -> Number:
        """Factor that brings unit-variance noise to the level of the first step."""
        if self.unit_variance:
            return self.sigmas.dtype.type(1)
        return np.sqrt(self.sigmas[0] * self.sigmas[0] + self.sigmas.dtype.type(1))


def nearest(table: Array, sigma: Number) -> int:
    """The training timestep whose sigma is nearest."""
    return int(np.abs(table - sigma).argmin())


def make_schedule(discretization: Discretization, steps: int, dtype: DTypeLike) -> Schedule:
    """The schedule of a run.

    Args:
        dtype: float64 gives the exact formulas, float32 the reference's float32 values.
    """
    dtype = np.dtype(dtype)
    table = discretization.table(dtype)
    sigmas = np.append(discretization.sigmas(steps, dtype), discretization.last(dtype)).astype(dtype)
    told = discretization.told(steps, dtype)
    if discretization.schedule.prediction == "edm":
        timesteps = (np.log(sigmas[:-1]) * dtype.type(0.25)).astype(dtype)
    elif told is not None:
        timesteps = told.astype(dtype)
    else:
        timesteps = np.array([nearest(table, sigma) for sigma in sigmas[:-1]], dtype=dtype)
    return Schedule(sigmas=sigmas, timesteps=timesteps, table=table, between=told is not None)
