"""Where the steps of diffusers' schedulers lie, in float64, from a scheduler's configuration.

diffusers builds its schedules in float32, whatever the model's type. A twin needs the same formulas without that
rounding: the noise level of every training timestep, the timesteps of a run, and the levels of its steps.

    >>> config = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    ...     "beta_schedule": "scaled_linear", "timestep_spacing": "leading", "steps_offset": 1}
    >>> timesteps = spaced(config, 4)
    >>> timesteps.tolist(), [float(f"{sigma:.4g}") for sigma in levels(timesteps, table(config))]
    ([751.0, 501.0, 251.0, 1.0], [4.117, 1.624, 0.6984, 0.04131])

Limits: linear and scaled-linear betas. Any other configuration is refused.

Source: https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_ancestral_discrete.py
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parity.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["karras", "levels", "require", "spaced", "spaced_after_one", "table", "timesteps_of"]

_RHO: Final = 7.0


def require(config: Mapping[str, Any], **known: tuple[Any, ...]) -> None:
    """Refuse a configuration with a value that has no formula here; a key that it lacks has the first known value.

    Raises:
        CaseError: names the key, its value and those that are known.
    """
    for name, values in known.items():
        value = config.get(name, values[0])
        if value not in values:
            message = f"{name} is {value!r}; the float64 twin knows {_listed(values)}"
            raise CaseError(message)


def _listed(values: tuple[Any, ...]) -> str:
    """Return `a, b and c`."""
    *others, last = map(str, values)
    return f"{', '.join(others)} and {last}" if others else last


def table(config: Mapping[str, Any]) -> np.ndarray:
    """Return the noise level of every training timestep, ascending.

    Raises:
        CaseError: the configuration's betas have no formula here.
    """
    alphas = np.cumprod(1.0 - _betas(config, int(config["num_train_timesteps"])))
    found: np.ndarray = np.sqrt((1.0 - alphas) / alphas)
    return found


def _betas(config: Mapping[str, Any], trained: int) -> np.ndarray:
    """Return the noise schedule that the model was trained with."""
    if config.get("trained_betas") is not None:
        return np.asarray(config["trained_betas"], dtype=np.float64)
    start, end, kind = float(config["beta_start"]), float(config["beta_end"]), config["beta_schedule"]
    if config.get("rescale_betas_zero_snr"):
        kind = "rescaled to zero SNR"
    if kind == "linear":
        return np.linspace(start, end, trained)
    if kind == "scaled_linear":
        return np.linspace(math.sqrt(start), math.sqrt(end), trained) ** 2
    message = f"beta_schedule is {kind!r}; the float64 twin knows linear and scaled_linear"
    raise CaseError(message)


def spaced(config: Mapping[str, Any], steps: int) -> np.ndarray:
    """Return the timestep of each step, descending, as most schedulers space them.

    Raises:
        CaseError: the spacing has no formula here.
    """
    trained, spacing = int(config["num_train_timesteps"]), config["timestep_spacing"]
    require(config, timestep_spacing=("linspace", "leading", "trailing"))
    if spacing == "linspace":
        return np.linspace(0, trained - 1, steps)[::-1].copy()
    if spacing == "leading":
        return np.arange(steps, dtype=np.float64)[::-1] * (trained // steps) + config["steps_offset"]
    return np.asarray(np.round(np.arange(trained, 0, -trained / steps)) - 1.0)


def spaced_after_one(config: Mapping[str, Any], steps: int) -> np.ndarray:
    """Return the timestep of each step where one step more is spaced and the last of them left out (DPM-Solver).

    Raises:
        CaseError: the spacing has no formula here.
    """
    if config["timestep_spacing"] == "trailing":
        return spaced(config, steps)
    return spaced(config, steps + 1)[:-1]


def levels(timesteps: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the noise level of each timestep; between two of the training's it lies on the line through both."""
    return np.interp(timesteps, np.arange(len(known)), known)


def karras(largest: float, smallest: float, steps: int) -> np.ndarray:
    """Return noise levels that are evenly spaced in their seventh root (Karras et al. 2022, equation 5)."""
    start, end = largest ** (1 / _RHO), smallest ** (1 / _RHO)
    return np.asarray((start + np.linspace(0, 1, steps) * (end - start)) ** _RHO)


def timesteps_of(sigmas: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the timestep of each noise level, a fraction between two of the training's; linear in the logarithm."""
    return np.interp(np.log(sigmas), np.log(known), np.arange(len(known), dtype=np.float64))
