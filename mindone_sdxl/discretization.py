"""Noise levels: the table of the training schedule, and where a sampler's steps lie on it or beside it.

Float64 tables are the formulas as they stand. Float32 tables are what the reference of each discretization holds when
it works in float32: `DiffusersDDPM` repeats diffusers' float32 arithmetic operation by operation (its table differs
from the exact one by 1e-5), `LegacyDDPM` rounds the exact table, as Stability's code does.

    >>> from mindone_sdxl.config import ScheduleConfig
    >>> DiffusersDDPM(ScheduleConfig()).timesteps(3).tolist()
    [667, 334, 1]
    >>> LegacyDDPM(ScheduleConfig()).timesteps(3).tolist()
    [999, 666, 333]
"""

# mypy: no-warn-return-any
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mindone_sdxl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mindone_sdxl.arrays import Array, DTypeLike, Number
    from mindone_sdxl.config import ScheduleConfig

__all__ = [
    "DISCRETIZATIONS",
    "EDM",
    "LCM",
    "DiffusersDDPM",
    "DiffusersDPM",
    "Discretization",
    "LegacyDDPM",
    "default_discretization",
    "exact_table",
]


@dataclass(frozen=True)
class Discretization:
    """Places the steps of a sampler."""

    schedule: ScheduleConfig

    def table(self, dtype: DTypeLike) -> Array:
        """Sigma of every training timestep, ascending [train_timesteps]."""
        return exact_table(self.schedule).astype(dtype)

    def sigmas(self, steps: int, dtype: DTypeLike) -> Array:
        """Sigma at the start of each step, descending [steps], without the one at the end of the last."""
        raise NotImplementedError

    def last(self, dtype: DTypeLike) -> Number:
        """Sigma at the end of the last step."""
        return np.dtype(dtype).type(0)

    def told(self, steps: int, dtype: DTypeLike) -> Array | None:
        """What the network is told at each step where sigmas lie between those of the table; None: they are its own."""
        return None


def exact_table(schedule: ScheduleConfig) -> Array:
    """Sigma of every training timestep in float64, ascending."""
    count = schedule.train_timesteps
    if schedule.beta_schedule == "scaled_linear":
        betas = np.linspace(schedule.beta_start**0.5, schedule.beta_end**0.5, count, dtype=np.float64) ** 2
    else:
        betas = np.linspace(schedule.beta_start, schedule.beta_end, count, dtype=np.float64)
    kept = np.cumprod(1.0 - betas)
    return np.sqrt((1.0 - kept) / kept)


def float32_table(schedule: ScheduleConfig) -> Array:
    """Sigma of every training timestep as float32 arithmetic gives it, ascending.

    Source: https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_ancestral_discrete.py
    """
    one = np.float32(1)
    if schedule.beta_schedule == "scaled_linear":
        betas = _float32_range(schedule.beta_start**0.5, schedule.beta_end**0.5, schedule.train_timesteps) ** 2
    else:
        betas = _float32_range(schedule.beta_start, schedule.beta_end, schedule.train_timesteps)
    # The running product is carried in float64 and every entry rounded.
    kept = np.cumprod((one - betas).astype(np.float64)).astype(np.float32)
    return np.sqrt((one - kept) / kept)


def _float32_range(start: float, end: float, count: int) -> Array:
    """Evenly spaced numbers, each counted from the nearer end with one rounding of a product and sum."""
    first, last = np.float32(start), np.float32(end)
    step = np.float64((last - first) / np.float32(count - 1))
    index = np.arange(count)
    rising = np.float64(first) + step * index
    falling = np.float64(last) - step * (count - 1 - index)
    return np.where(index < count // 2, rising, falling).astype(np.float32)


def _check_steps(steps: int, most: int, name: str) -> None:
    if not 1 <= steps <= most:
        message = f"{steps} steps; {name} places 1 to {most}"
        raise InputError(message)


@dataclass(frozen=True)
class LegacyDDPM(Discretization):
    """Steps evenly spaced over the training timesteps, the first one on the noisiest: Stability's choice."""

    def timesteps(self, steps: int) -> Array:
        """Training timestep of each step, descending int64 [steps].

        Raises:
            InputError: more steps than training timesteps, or none.
        """
        count = self.schedule.train_timesteps
        _check_steps(steps, count, "LegacyDDPM")
        if steps == count:
            return np.arange(count - 1, -1, -1)
        return np.linspace(count - 1, 0, steps, endpoint=False).astype(np.int64)

    def sigmas(self, steps: int, dtype: DTypeLike) -> Array:
        """Sigma at the start of each step, descending."""
        return self.table(dtype)[self.timesteps(steps)]


@dataclass(frozen=True)
class DiffusersDDPM(Discretization):
    """Steps at multiples of a whole stride plus an offset: diffusers' "leading" spacing.

    Args:
        karras: sigmas evenly spaced in their seventh root instead, between the first and the last of these.
        to_zero: the last step ends without noise, or else at the lowest sigma of the table.

    Source: https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_discrete.py
    """

    karras: bool = False
    to_zero: bool = True

    def table(self, dtype: DTypeLike) -> Array:
        """Sigma of every training timestep, ascending."""
        return exact_table(self.schedule) if np.dtype(dtype) == np.float64 else float32_table(self.schedule)

    def timesteps(self, steps: int) -> Array:
        """Training timestep of each step, descending int64 [steps].

        Raises:
            InputError: a step would lie beyond the last training timestep, or there is none.
        """
        count, offset = self.schedule.train_timesteps, self.schedule.steps_offset
        _check_steps(steps, count - offset, type(self).__name__)
        return np.arange(steps)[::-1] * (count // steps) + offset

    def sigmas(self, steps: int, dtype: DTypeLike) -> Array:
        """Sigma at the start of each step, descending."""
        if self.karras:
            return self._karras(steps, dtype).astype(dtype)
        return self.table(dtype)[self.timesteps(steps)]

    def last(self, dtype: DTypeLike) -> Number:
        """Sigma at the end of the last step."""
        return np.dtype(dtype).type(0) if self.to_zero else self.table(dtype)[0]

    def told(self, steps: int, dtype: DTypeLike) -> Array | None:
        """Where the sigmas lie among the training timesteps, linear in their logarithm; None where they are of the table."""
        if not self.karras:
            return None
        known = np.log(self.table(dtype))
        return np.interp(np.log(self._karras(steps, dtype)), known, np.arange(len(known)))

    def _karras(self, steps: int, dtype: DTypeLike) -> Array:
        high, low = self._ends(steps, dtype)
        return EDM(self.schedule, low, high).sigmas(steps, np.float64)

    def _ends(self, steps: int, dtype: DTypeLike) -> tuple[float, float]:
        """The highest and the lowest sigma of Karras's spacing."""
        table, timesteps = self.table(dtype), self.timesteps(steps)
        return float(table[timesteps[0]]), float(table[timesteps[-1]])


@dataclass(frozen=True)
class DiffusersDPM(DiffusersDDPM):
    """As diffusers places the steps of DPM-Solver: one more is spaced, and the last of them left out.

    Karras's spacing goes over the whole table, and the network is told whole timesteps.

    Source: https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_dpmsolver_multistep.py
    """

    def timesteps(self, steps: int) -> Array:
        """Training timestep of each step, descending int64 [steps].

        Raises:
            InputError: a step would lie beyond the last training timestep, or there is none.
        """
        _check_steps(steps, self.schedule.train_timesteps - self.schedule.steps_offset - 1, "DiffusersDPM")
        return super().timesteps(steps + 1)[:-1]

    def told(self, steps: int, dtype: DTypeLike) -> Array | None:
        """The training timesteps nearest to the sigmas; None where they are of the table."""
        between = super().told(steps, dtype)
        return None if between is None else np.round(between)

    def _ends(self, steps: int, dtype: DTypeLike) -> tuple[float, float]:
        table = self.table(dtype)
        return float(table[-1]), float(table[0])


@dataclass(frozen=True)
class LCM(Discretization):
    """Steps evenly spaced, noisiest first, over the few timesteps that a consistency model was distilled on.

    Source: https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_lcm.py
    """

    original_inference_steps: int = 50

    def table(self, dtype: DTypeLike) -> Array:
        """Sigma of every training timestep, ascending."""
        return exact_table(self.schedule) if np.dtype(dtype) == np.float64 else float32_table(self.schedule)

    def timesteps(self, steps: int) -> Array:
        """Training timestep of each step, descending int64 [steps].

        Raises:
            InputError: more steps than the model was distilled on, or none.
        """
        known = self.original_inference_steps
        _check_steps(steps, known, "LCM")
        distilled = np.arange(known, 0, -1) * (self.schedule.train_timesteps // known) - 1
        return distilled[np.arange(steps) * known // steps]

    def sigmas(self, steps: int, dtype: DTypeLike) -> Array:
        """Sigma at the start of each step, descending."""
        return self.table(dtype)[self.timesteps(steps)]


@dataclass(frozen=True)
class EDM(Discretization):
    """Sigmas evenly spaced in their rho-th root (Karras et al. 2022, equation 5); the network keeps its own table."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def sigmas(self, steps: int, dtype: DTypeLike) -> Array:
        """Sigma at the start of each step, descending.

        Raises:
            InputError: no step.
        """
        _check_steps(steps, self.schedule.train_timesteps, "EDM")
        ramp = np.linspace(0.0, 1.0, steps, dtype=np.float64)
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return ((high + ramp * (low - high)) ** self.rho).astype(dtype)


DISCRETIZATIONS: Mapping[str, Callable[..., Discretization]] = {
    "LegacyDDPM": LegacyDDPM,
    "DiffusersDDPM": DiffusersDDPM,
    "EDM": EDM,
    "LCM": LCM,
}


def default_discretization(schedule: ScheduleConfig) -> Discretization:
    """Where the steps lie unless somebody says otherwise: as in diffusers."""
    if schedule.prediction == "edm":
        return EDM(schedule, schedule.sigma_min, schedule.sigma_max, schedule.rho)
    if schedule.original_inference_steps:
        return LCM(schedule, schedule.original_inference_steps)
    return DiffusersDDPM(schedule)
