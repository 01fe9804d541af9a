"""The ancestral Euler sampler of diffusers in float64: schedule, scaling and step from the configuration.

diffusers builds the schedule in float32 and steps in float32, whatever the model's type. A twin needs the
same formulas without that rounding. They are functions here, and `LiftedEulerAncestral` puts them behind the
scheduler's own interface, so that the unchanged pipeline drives them.

    >>> import numpy as np
    >>> timesteps, sigmas = schedule({"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    ...     "beta_schedule": "scaled_linear", "timestep_spacing": "leading", "steps_offset": 1}, 4)
    >>> timesteps.tolist(), [float(f"{sigma:.4g}") for sigma in sigmas]
    ([751.0, 501.0, 251.0, 1.0], [4.117, 1.624, 0.6984, 0.04131, 0.0])

Limits: linear and scaled-linear betas; epsilon and v prediction. Any other configuration is refused.

Source: https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/schedulers/scheduling_euler_ancestral_discrete.py
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import EulerAncestralDiscreteScheduler
from diffusers.schedulers import scheduling_euler_ancestral_discrete as drawing

from parity.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "LiftedEulerAncestral",
    "ancestral_step",
    "initial_sigma",
    "scaled_input",
    "schedule",
    "timestep_embedding",
]


def schedule(config: Mapping[str, Any], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return timesteps `[steps]` and sigmas `[steps + 1]` in float64, the last sigma zero.

    Raises:
        CaseError: the configuration asks for what has no formula here.
    """
    trained = int(config["num_train_timesteps"])
    alphas = np.cumprod(1.0 - _betas(config, trained))
    table = np.sqrt((1.0 - alphas) / alphas)
    spacing = config["timestep_spacing"]
    if spacing == "linspace":
        timesteps = np.linspace(0, trained - 1, steps)[::-1].copy()
    elif spacing == "leading":
        timesteps = np.arange(steps, dtype=np.float64)[::-1] * (trained // steps) + config["steps_offset"]
    elif spacing == "trailing":
        timesteps = np.round(np.arange(trained, 0, -trained / steps)) - 1.0
    else:
        message = f"timestep_spacing is {spacing!r}; the float64 twin knows linspace, leading and trailing"
        raise CaseError(message)
    return timesteps, np.append(np.interp(timesteps, np.arange(trained), table), 0.0)


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


def initial_sigma(config: Mapping[str, Any], sigmas: np.ndarray) -> float:
    """Return the standard deviation of the initial latents."""
    largest = float(sigmas.max())
    return largest if config["timestep_spacing"] in {"linspace", "trailing"} else math.sqrt(largest**2 + 1.0)


def scaled_input(sample: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return the latents at noise level `sigma`, scaled to unit variance."""
    return sample / math.sqrt(sigma**2 + 1.0)


def ancestral_step(
    model_output: torch.Tensor,
    sample: torch.Tensor,
    noise: torch.Tensor,
    *,
    sigma: float,
    following: float,
    prediction: str,
) -> torch.Tensor:
    """Return the latents at noise level `following`, from those at `sigma`.

    Raises:
        CaseError: `prediction` is neither epsilon nor v_prediction.
    """
    if prediction == "epsilon":
        denoised = sample - sigma * model_output
    elif prediction == "v_prediction":
        denoised = model_output * (-sigma / math.sqrt(sigma**2 + 1.0)) + sample / (sigma**2 + 1.0)
    else:
        message = f"prediction_type is {prediction!r}; the float64 twin knows epsilon and v_prediction"
        raise CaseError(message)
    up = math.sqrt(following**2 * (sigma**2 - following**2) / sigma**2)
    down = math.sqrt(following**2 - up**2)
    return sample + (sample - denoised) / sigma * (down - sigma) + noise * up


def timestep_embedding(timesteps: torch.Tensor, module: Any) -> torch.Tensor:
    """Return the sinusoids `[batch, channels]` of a diffusers `Timesteps` module, in float64."""
    half = module.num_channels // 2
    positions = torch.arange(half, dtype=torch.float64, device=timesteps.device)
    frequencies = torch.exp(-math.log(10000.0) * positions / (half - module.downscale_freq_shift))
    angles = module.scale * timesteps.to(torch.float64)[:, None] * frequencies[None, :]
    parts = (torch.cos(angles), torch.sin(angles)) if module.flip_sin_to_cos else (torch.sin(angles), torch.cos(angles))
    embedding = torch.cat(parts, dim=-1)
    return torch.nn.functional.pad(embedding, (0, module.num_channels % 2))


class LiftedEulerAncestral(EulerAncestralDiscreteScheduler):
    """diffusers' scheduler with every number in float64."""

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Compute the schedule."""
        timesteps, sigmas = schedule(self.config, num_inference_steps)
        self.num_inference_steps = num_inference_steps
        self.timesteps = torch.from_numpy(timesteps).to(device)
        self.sigmas = torch.from_numpy(sigmas)
        self._levels = [float(sigma) for sigma in sigmas]
        self._step_index: int | None = None
        self._begin_index = None

    @property
    def init_noise_sigma(self) -> torch.Tensor:
        """The standard deviation of the initial latents."""
        return torch.tensor(initial_sigma(self.config, self.sigmas.numpy()), dtype=torch.float64)

    def scale_model_input(self, sample: torch.Tensor, timestep: Any) -> torch.Tensor:
        """Scale the latents to unit variance."""
        self.is_scale_input_called = True
        return scaled_input(sample, self._levels[self._place(timestep)])

    def step(
        self,
        model_output: torch.Tensor,
        timestep: Any,
        sample: torch.Tensor,
        generator: Any = None,
        return_dict: bool = True,  # noqa: FBT001, FBT002, ARG002 - the scheduler's interface
    ) -> tuple[torch.Tensor]:
        """Step to the next noise level."""
        noise = drawing.randn_tensor(
            model_output.shape, dtype=model_output.dtype, device=model_output.device, generator=generator
        )
        index = self._place(timestep)
        self._step_index = index + 1
        sigma, following = self._levels[index], self._levels[index + 1]
        prediction = self.config.prediction_type
        return (ancestral_step(model_output, sample, noise, sigma=sigma, following=following, prediction=prediction),)

    def _place(self, timestep: Any) -> int:
        """Return which step of the schedule comes next; the first call looks `timestep` up."""
        if self._step_index is None:
            self._init_step_index(timestep)
        return int(self._step_index or 0)
