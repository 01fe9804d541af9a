"""The samplers of diffusers that can be recorded: one row each, and its form in float64.

A row says how a case calls the sampler, which class of diffusers runs it, how the same is computed in float64, whether
a step draws, and what it remembers of the steps before. Everything else that is written about samplers on this side
reads the table, so that another sampler is a `Form` and a row.

diffusers' schedulers hold float32 noise levels and step in float32, whatever the model's type. A `Form` is the same
computation from the scheduler's configuration in float64: schedule, scale of the initial latents, scaling of the
network's input, and step. `Lifted` puts a form behind the interface of a scheduler, so that the unchanged pipeline
drives it.

    >>> sorted(SAMPLERS)
    ['DDIM', 'DPMSolverMultistep', 'EulerAncestral', 'EulerDiscrete']

Limits: a configuration that asks for what a form does not compute is refused before anything runs.

Source: https://github.com/huggingface/diffusers/tree/v0.42.1/src/diffusers/schedulers
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)
from diffusers.utils.torch_utils import randn_tensor
from msgspec import UNSET

from parity.errors import CaseError, InputError, nearest
from torch_refs.diffusers.schedule import karras, levels, require, spaced, spaced_after_one, table, timesteps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from parity.case import Sampling

__all__ = [
    "SAMPLERS",
    "Form",
    "Lifted",
    "Sampler",
    "attributes",
    "check",
    "drawing_modules",
    "make",
    "memory",
    "of_case",
    "of_scheduler",
    "schedule",
]

Memory = dict[str, torch.Tensor | None]


class Form:
    """One sampler in float64, for one configuration and number of steps.

    Attributes:
        timesteps: What the network is told at each step, `[steps]`, in the type in which the scheduler holds it.
        sigmas: The noise level at the start of each step and at the end of the last, `[steps + 1]`.
        initial: The standard deviation of the initial latents.
        eta: How much noise a step adds, for those that can be told.
    """

    known: ClassVar[dict[str, tuple[Any, ...]]] = {"prediction_type": ("epsilon", "v_prediction")}

    def __init__(self, config: Mapping[str, Any], steps: int, eta: float) -> None:
        """Compute the schedule.

        Raises:
            CaseError: the configuration asks for what has no formula here.
        """
        require(config, **self.known)
        self.config, self.eta = config, eta
        self.timesteps, self.sigmas = self._schedule(steps)
        self.initial = self._initial()

    def _schedule(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Return timesteps and noise levels."""
        raise NotImplementedError

    def _initial(self) -> float:
        """Return the standard deviation of the initial latents."""
        raise NotImplementedError

    def scaled(self, sample: torch.Tensor, index: int) -> torch.Tensor:
        """Return what the network is given of the latents at the start of step `index`."""
        raise NotImplementedError

    def step(
        self, index: int, output: torch.Tensor, sample: torch.Tensor, noise: torch.Tensor | None, memory: Memory
    ) -> torch.Tensor:
        """Return the latents at the end of step `index`, from those at its start and the network's output."""
        raise NotImplementedError

    def remembered(self, index: int, output: torch.Tensor, sample: torch.Tensor) -> Memory:
        """Return what step `index` leaves to the next one."""
        del index, output, sample
        return {}


class _NoiseAdded(Form):
    """Latents are clean latents with noise added to them, of standard deviation sigma (Karras et al. 2022)."""

    def _schedule(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        timesteps = spaced(self.config, steps)
        return timesteps, np.append(levels(timesteps, table(self.config)), 0.0)

    def _initial(self) -> float:
        largest = float(self.sigmas.max())
        return largest if self.config["timestep_spacing"] in {"linspace", "trailing"} else math.sqrt(largest**2 + 1.0)

    def scaled(self, sample: torch.Tensor, index: int) -> torch.Tensor:
        """Return the latents brought to unit variance."""
        return sample / math.sqrt(float(self.sigmas[index]) ** 2 + 1.0)

    def _denoised(self, index: int, output: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        """Return the clean latents that the network's output means."""
        sigma = float(self.sigmas[index])
        if self.config["prediction_type"] == "epsilon":
            return sample - sigma * output
        return output * (-sigma / math.sqrt(sigma**2 + 1.0)) + sample / (sigma**2 + 1.0)


class EulerAncestral(_NoiseAdded):
    """Euler's method down to a lower level than the next one, then fresh noise up to it."""

    def step(
        self, index: int, output: torch.Tensor, sample: torch.Tensor, noise: torch.Tensor | None, memory: Memory
    ) -> torch.Tensor:
        """Return the latents at the end of the step."""
        del memory
        sigma, following = float(self.sigmas[index]), float(self.sigmas[index + 1])
        up = math.sqrt(following**2 * (sigma**2 - following**2) / sigma**2)
        down = math.sqrt(following**2 - up**2)
        moved = sample + (sample - self._denoised(index, output, sample)) / sigma * (down - sigma)
        return moved if noise is None else moved + noise * up


class EulerDiscrete(_NoiseAdded):
    """Euler's method on the probability flow."""

    known: ClassVar[dict[str, tuple[Any, ...]]] = Form.known | {
        "interpolation_type": ("linear",), "use_exponential_sigmas": (False,), "use_beta_sigmas": (False,),
        "sigma_min": (None,), "sigma_max": (None,), "timestep_type": ("discrete",),
        "final_sigmas_type": ("zero", "sigma_min"),
    }  # fmt: skip

    def _schedule(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        known, timesteps = table(self.config), spaced(self.config, steps)
        sigmas = levels(timesteps, known)
        if self.config["use_karras_sigmas"]:
            sigmas = karras(float(sigmas[0]), float(sigmas[-1]), steps)
            timesteps = timesteps_of(sigmas, known)
        return timesteps, np.append(sigmas, _last(self.config, known))

    def step(
        self, index: int, output: torch.Tensor, sample: torch.Tensor, noise: torch.Tensor | None, memory: Memory
    ) -> torch.Tensor:
        """Return the latents at the end of the step."""
        del noise, memory
        sigma, following = float(self.sigmas[index]), float(self.sigmas[index + 1])
        return sample + (sample - self._denoised(index, output, sample)) / sigma * (following - sigma)


class _UnitVariance(Form):
    """Latents are a mean of clean latents and noise with unit variance: weights alpha and (1 - alpha^2)^(1/2)."""

    def _initial(self) -> float:
        return 1.0

    def scaled(self, sample: torch.Tensor, index: int) -> torch.Tensor:
        """Return the latents, which the network takes as they are."""
        del index
        return sample

    def _parts(self, index: int, output: torch.Tensor, sample: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the clean latents and the noise that the network's output means."""
        kept, added = _weights(float(self.sigmas[index]))
        if self.config["prediction_type"] == "epsilon":
            return (sample - added * output) / kept, output
        return kept * sample - added * output, kept * output + added * sample


def _weights(sigma: float) -> tuple[float, float]:
    """Return the weights of clean latents and noise at a noise level."""
    kept = 1.0 / math.sqrt(sigma**2 + 1.0)
    return kept, sigma * kept


def _last(config: Mapping[str, Any], known: np.ndarray) -> float:
    """Return the noise level at which a run ends."""
    return float(known[0]) if config["final_sigmas_type"] == "sigma_min" else 0.0


class DDIM(_UnitVariance):
    """Towards the clean latents that the prediction means, with a share `eta` of the noise drawn anew (Song et al. 2021)."""

    known: ClassVar[dict[str, tuple[Any, ...]]] = Form.known | {"clip_sample": (False,), "thresholding": (False,)}

    def _schedule(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        if self.eta > 1:
            message = f"eta is {self.eta}; a step cannot draw more noise than there is, 1 is the most"
            raise CaseError(message)
        known = table(self.config)
        timesteps = np.round(spaced(self.config, steps)).astype(np.int64)
        last = 0.0 if self.config.get("set_alpha_to_one", True) else float(known[0])
        # A step ends a whole stride below its start, which is not where the next one starts if they are spaced otherwise.
        ends = timesteps - len(known) // steps
        self._ends = np.where(ends >= 0, known[np.maximum(ends, 0)], last)
        return timesteps, np.append(known[timesteps], last)

    def step(
        self, index: int, output: torch.Tensor, sample: torch.Tensor, noise: torch.Tensor | None, memory: Memory
    ) -> torch.Tensor:
        """Return the latents at the end of the step."""
        del memory
        clean, predicted = self._parts(index, output, sample)
        kept, added = _weights(float(self.sigmas[index]))
        following, left = _weights(float(self._ends[index]))
        drawn = self.eta * left / added * math.sqrt(1.0 - (kept / following) ** 2)
        moved = following * clean + math.sqrt(left**2 - drawn**2) * predicted
        return moved if noise is None else moved + drawn * noise


class DPMSolverMultistep(_UnitVariance):
    """DPM-Solver++ of second order, which extrapolates from the clean latents of the step before (Lu et al. 2022)."""

    known: ClassVar[dict[str, tuple[Any, ...]]] = Form.known | {
        "algorithm_type": ("dpmsolver++",), "solver_order": (2,), "solver_type": ("midpoint",),
        "thresholding": (False,), "use_exponential_sigmas": (False,), "use_beta_sigmas": (False,),
        "use_lu_lambdas": (False,), "use_flow_sigmas": (False,), "lambda_min_clipped": (-math.inf,),
        "variance_type": (None,), "use_dynamic_shifting": (False,), "final_sigmas_type": ("zero", "sigma_min"),
    }  # fmt: skip
    _few: ClassVar[int] = 15  # a run of fewer steps ends in a step of first order, if so configured

    def _schedule(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        known, timesteps = table(self.config), np.round(spaced_after_one(self.config, steps))
        sigmas = levels(timesteps, known)
        if self.config["use_karras_sigmas"]:
            sigmas = karras(float(known[-1]), float(known[0]), steps)
            timesteps = np.round(timesteps_of(sigmas, known))
        return timesteps.astype(np.int64), np.append(sigmas, _last(self.config, known))

    def step(
        self, index: int, output: torch.Tensor, sample: torch.Tensor, noise: torch.Tensor | None, memory: Memory
    ) -> torch.Tensor:
        """Return the latents at the end of the step."""
        del noise
        sigma, following = float(self.sigmas[index]), float(self.sigmas[index + 1])
        kept, left = _weights(following)
        clean, before = self._parts(index, output, sample)[0], memory["old_denoised"]
        if before is not None and index > 0 and not self._first_order(index):
            ratio = math.log(float(self.sigmas[index - 1]) / sigma) / math.log(sigma / following)
            clean = clean + (clean - before) / (2 * ratio)
        return left / _weights(sigma)[1] * sample - kept * (following / sigma - 1.0) * clean

    def _first_order(self, index: int) -> bool:
        """Tell whether a step looks at no other for it is the last."""
        steps, config = len(self.timesteps), self.config
        few = config["lower_order_final"] and steps < self._few
        return index == steps - 1 and (config["euler_at_final"] or few or config["final_sigmas_type"] == "zero")

    def remembered(self, index: int, output: torch.Tensor, sample: torch.Tensor) -> Memory:
        """Return the clean latents."""
        return {"old_denoised": self._parts(index, output, sample)[0]}


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """One row.

    Attributes:
        name: What a case calls it.
        scheduler: The class of diffusers.
        form: The same in float64.
        draws: Whether a step draws noise: never, at every step, or when its eta is above zero.
        remembers: By port of `scheduler.step`, how what a step has of the steps before is read from diffusers' object.
        eta: The eta that is in force unless a case says another; None: the formula has none.
        options: Keys of a case's `sampling` that have an effect: `eta`, `karras`.
        settings: Further keys of its configuration that decide numbers.
        defaults: What it is told where the folder's scheduler has no such key.
        sigmas: How the noise levels of a run are read from diffusers' object.
    """

    name: str
    scheduler: Any
    form: type[Form]
    draws: Literal["never", "always", "with eta"] = "never"
    remembers: Mapping[str, Callable[[Any], torch.Tensor | None]] = field(default_factory=dict)
    eta: float | None = None
    options: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    sigmas: Callable[[Any], torch.Tensor] = lambda scheduler: scheduler.sigmas

    def eta_of(self, sampling: Sampling) -> float | None:
        """Return the eta that is in force in a case."""
        return self.eta if sampling.eta is UNSET else sampling.eta

    def drawing(self, eta: float) -> bool:
        """Tell whether its steps draw."""
        return self.draws == "always" or (self.draws == "with eta" and eta > 0)


def _ddim_sigmas(scheduler: Any) -> torch.Tensor:
    """Return the noise levels of DDIM's alphas, which is all that it holds."""
    alphas = torch.cat([scheduler.alphas_cumprod[scheduler.timesteps.cpu()], scheduler.final_alpha_cumprod.reshape(1)])
    return torch.sqrt((1.0 - alphas) / alphas)


SAMPLERS: Final = {
    row.name: row
    for row in (
        Sampler(
            name="EulerAncestral",
            scheduler=EulerAncestralDiscreteScheduler,
            form=EulerAncestral,
            draws="always",
            eta=1.0,  # diffusers has no setting for it; its formula is that of eta = 1
        ),
        Sampler(
            name="EulerDiscrete",
            scheduler=EulerDiscreteScheduler,
            form=EulerDiscrete,
            options=("karras",),
            settings=("use_karras_sigmas", "final_sigmas_type"),
        ),
        Sampler(
            name="DDIM",
            scheduler=DDIMScheduler,
            form=DDIM,
            draws="with eta",
            eta=0.0,
            options=("eta",),
            settings=("set_alpha_to_one", "clip_sample", "thresholding"),
            defaults={"clip_sample": False},  # latents have no range; diffusers' default is meant for pixels
            sigmas=_ddim_sigmas,
        ),
        Sampler(
            name="DPMSolverMultistep",
            scheduler=DPMSolverMultistepScheduler,
            form=DPMSolverMultistep,
            remembers={"old_denoised": lambda scheduler: scheduler.model_outputs[-1]},
            options=("karras",),
            settings=(
                "use_karras_sigmas",
                "final_sigmas_type",
                "lower_order_final",
                "euler_at_final",
                "algorithm_type",
                "solver_order",
                "solver_type",
            ),
        ),
    )
}

# Attributes that every scheduler's configuration has.
_COMMON: Final = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type", "timestep_spacing",
    "steps_offset", "trained_betas", "rescale_betas_zero_snr",
)  # fmt: skip


class Lifted:
    """A scheduler that computes a row's form, for the pipeline to drive."""

    order = 1

    def __init__(self, scheduler: Any, eta: float) -> None:
        """Take the place of `scheduler`, one of diffusers'."""
        self.row = of_scheduler(scheduler)
        self.config = scheduler.config
        self.memory: Memory = {}
        self._eta = eta
        self._index = 0

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Compute the schedule."""
        self.form = self.row.form(self.config, num_inference_steps, self._eta)
        self.timesteps = torch.from_numpy(self.form.timesteps).to(device)
        self.sigmas = torch.from_numpy(self.form.sigmas)
        self.memory = dict.fromkeys(self.row.remembers)
        self._index = 0

    @property
    def init_noise_sigma(self) -> torch.Tensor:
        """The standard deviation of the initial latents."""
        return torch.tensor(self.form.initial, dtype=torch.float64)

    def scale_model_input(self, sample: torch.Tensor, timestep: Any) -> torch.Tensor:
        """Return what the network is given."""
        del timestep
        return self.form.scaled(sample, self._index)

    def step(
        self,
        model_output: torch.Tensor,
        timestep: Any,
        sample: torch.Tensor,
        generator: Any = None,
        return_dict: bool = True,  # noqa: FBT001, FBT002 - the scheduler's interface
    ) -> tuple[torch.Tensor]:
        """Step to the next noise level."""
        del timestep, return_dict
        noise = None
        if self.row.drawing(self._eta):
            noise = randn_tensor(
                model_output.shape, dtype=model_output.dtype, device=model_output.device, generator=generator
            )
        latents = self.form.step(self._index, model_output, sample, noise, self.memory)
        self.memory = self.form.remembered(self._index, model_output, sample)
        self._index += 1
        return (latents,)


def of_case(name: str) -> Sampler:
    """Return the row of a case's sampler.

    Raises:
        CaseError: there is none.
    """
    if name not in SAMPLERS:
        message = (
            f"sampling.sampler is {name!r}{nearest(name, SAMPLERS)}; the reference diffusers has {', '.join(SAMPLERS)}"
        )
        raise CaseError(message)
    return SAMPLERS[name]


def of_scheduler(scheduler: Any) -> Sampler:
    """Return the row of a scheduler of diffusers, or of what is lifted.

    Raises:
        InputError: there is none.
    """
    if isinstance(scheduler, Lifted):
        return scheduler.row
    kind = type(scheduler)
    for row in SAMPLERS.values():
        if row.scheduler is kind:
            return row
    known = [row.scheduler.__name__ for row in SAMPLERS.values()]
    message = (
        f"the scheduler is {kind.__name__}; only {', '.join(known)} can be recorded, "
        f"pipeline.scheduler = {known[0]}.from_config(pipeline.scheduler.config)"
    )
    raise InputError(message)


def make(config: Mapping[str, Any], sampling: Sampling) -> Any:
    """Return the scheduler of a case, from the configuration of the one in its folder.

    Raises:
        CaseError: there is no such sampler, the case sets what has no effect on it, or its form does not compute it.
    """
    row = of_case(sampling.sampler)
    sampling.refuse(row.options, f"{row.name} of diffusers")
    told = {name: value for name, value in row.defaults.items() if name not in config}
    if sampling.karras is not UNSET:
        told["use_karras_sigmas"] = sampling.karras
    scheduler = row.scheduler.from_config(config, **told)
    check(scheduler, sampling)
    return scheduler


def check(scheduler: Any, sampling: Sampling) -> None:
    """Refuse, before anything runs, a scheduler that its form does not compute.

    Raises:
        CaseError: names the setting.
    """
    row = of_scheduler(scheduler)
    try:
        row.form(scheduler.config, sampling.steps, row.eta_of(sampling) or 0.0)
    except CaseError as error:
        message = f"{type(scheduler).__name__}: {error}"
        raise CaseError(message) from error


def schedule(scheduler: Any) -> dict[str, torch.Tensor]:
    """Return what a scheduler has set up for a run: timesteps, noise levels, and the scale of the initial latents."""
    sigmas = scheduler.sigmas if isinstance(scheduler, Lifted) else of_scheduler(scheduler).sigmas(scheduler)
    return {
        "timesteps": scheduler.timesteps, "sigmas": sigmas,
        "init_noise_sigma": torch.as_tensor(scheduler.init_noise_sigma),
    }  # fmt: skip


def memory(scheduler: Any) -> Memory:
    """Return what the next step of a scheduler has of the steps before, by port."""
    if isinstance(scheduler, Lifted):
        return scheduler.memory
    return {port: read(scheduler) for port, read in of_scheduler(scheduler).remembers.items()}


def attributes(scheduler: Any, eta: float | None) -> dict[str, Any]:
    """Return what decides the numbers of a scheduler, by its configuration's names."""
    row, config = of_scheduler(scheduler), scheduler.config
    found = {"class": type(scheduler).__name__}
    found |= {name: config[name] for name in (*_COMMON, *row.settings) if name in config}
    return found if eta is None else found | {"eta": eta}


def drawing_modules() -> list[ModuleType]:
    """Return the modules whose `randn_tensor` draws the noise of steps."""
    names = {row.scheduler.__module__ for row in SAMPLERS.values()}
    return [sys.modules[name] for name in (__name__, *sorted(names))]
