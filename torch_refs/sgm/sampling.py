"""Follows a sampler of Stability-AI's package through its steps, without touching its source.

`Watch` puts itself between a sampler and its guider, its step and its noise, which are attributes of the sampler, and
tells what happens: when a step begins, with which latents and what the sampler remembers; every guided prediction
within it; what it ends with. The linear multistep method has no step of its own; there a step begins when the
guider is asked to prepare its inputs.

The package guides the denoised latents. What is reported is the noise prediction that they mean at the sampler's own
noise level, `(x - denoised) / sigma`, computed in float64 and rounded to the latents' type.

Given `Steps` of another run, the sampler is brought to that run's latents and memory at the start of every step.
"""

from __future__ import annotations

import inspect
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from parity.errors import CaseError, nearest
from parity.frameworks.torch_ import observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    from parity.case import Case
    from parity.frameworks.torch_ import Observation, Snapshots
    from parity.taps import Taps
    from torch_refs.sgm.engine import Engine

__all__ = ["DISCRETIZATIONS", "SAMPLERS", "Steps", "Watch", "make_sampler", "noise_prediction", "settings"]

# The samplers by their name in a case, and the settings of a case that they take; the package's class is NAMESampler.
SAMPLERS: Final[dict[str, tuple[str, ...]]] = {
    "EulerEDM": (),
    "HeunEDM": (),
    "EulerAncestral": ("eta", "s_noise"),
    "DPMPP2SAncestral": ("eta", "s_noise"),
    "DPMPP2M": (),
    "LinearMultistep": (),
}
DISCRETIZATIONS: Final = ("LegacyDDPM", "EDM")


@dataclass
class Steps:
    """What a run had at each step: latents at its start and end, guided predictions, the last denoised latents."""

    samples: list[torch.Tensor] = field(default_factory=list)
    ends: list[torch.Tensor] = field(default_factory=list)
    predictions: list[list[torch.Tensor]] = field(default_factory=list)
    denoised: list[torch.Tensor | None] = field(default_factory=list)


def make_sampler(engine: Engine, case: Case, device: str) -> Any:
    """Return the case's sampler, of the package's class.

    Raises:
        CaseError: the package has no such sampler or discretization, or the case sets what has no effect on it.
    """
    for key, value, known in (
        ("sampler", case.sampling.sampler, SAMPLERS),
        ("discretization", case.sampling.discretization, DISCRETIZATIONS),
    ):
        if value not in known:
            message = f"sampling.{key} is {value!r}{nearest(value, known)}; the reference sgm has {', '.join(known)}"
            raise CaseError(message)
    sampling = case.sampling
    taken = SAMPLERS[sampling.sampler]
    sampling.refuse(taken, f"{sampling.sampler} of sgm")
    if sampling.eta == 0:
        message = "sampling.eta is 0, with which the package's own step fails; EulerEDM adds no noise"
        raise CaseError(message)
    options = {name: getattr(sampling, name) for name in taken if getattr(sampling, name) is not UNSET}
    schedule, module = engine.config.schedule, "sgm.modules.diffusionmodules"
    discretization: dict[str, Any] = {"target": f"{module}.discretizer.{case.sampling.discretization}Discretization"}
    if case.sampling.discretization == "LegacyDDPM":
        discretization["params"] = {
            "linear_start": schedule.beta_start, "linear_end": schedule.beta_end,
            "num_timesteps": schedule.train_timesteps,
        }  # fmt: skip
    guider: dict[str, Any] = {"target": f"{module}.guiders.IdentityGuider"}
    if case.sampling.guidance > 1:
        guider = {"target": f"{module}.guiders.VanillaCFG", "params": {"scale": case.sampling.guidance}}
    kind = getattr(engine.package.sampling, f"{case.sampling.sampler}Sampler")
    sampler = kind(
        discretization_config=discretization, num_steps=case.sampling.steps, guider_config=guider, device=device,
        **options,
    )  # fmt: skip
    if case.image is not None:
        wrapper = engine.package.helpers.Img2ImgDiscretizationWrapper
        sampler.discretization = wrapper(sampler.discretization, strength=case.image.strength)
    return sampler


def settings(sampler: Any) -> dict[str, float]:
    """Return what a sampler is set to, of all that a case may set of it."""
    taken = SAMPLERS[type(sampler).__name__.removesuffix("Sampler")]
    return {name: float(getattr(sampler, name)) for name in taken}


def noise_prediction(latents: torch.Tensor, denoised: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Return the noise that denoised latents mean, in the latents' type; `sigma` is `[batch]`."""
    level = sigma.double().reshape(-1, *[1] * (latents.ndim - 1))
    return ((latents.double() - denoised.double()) / level).to(latents.dtype)


class Watch:
    """Reports one call of a sampler to `taps`."""

    def __init__(
        self, sampler: Any, engine: Engine, taps: Taps, snapshots: Snapshots, ended: Callable[[int], None]
    ) -> None:
        """Watch `sampler`; `ended(step)` is told when a step is over."""
        self.seen = Steps()
        self.instead: Steps | None = None
        self.noise: torch.Tensor | None = None
        self._sampler, self._engine, self._taps, self._snapshots, self._ended = sampler, engine, taps, snapshots, ended
        self._guider = sampler.guider
        self._open: ExitStack | None = None
        self._observation: Observation | None = None
        self._latents: torch.Tensor | None = None
        self._directions: list[torch.Tensor] = []
        self._by_step = hasattr(sampler, "sampler_step")

    @contextmanager
    def active(self) -> Iterator[None]:
        """Stand between the sampler and its parts while the block runs."""
        sampler, sampling = self._sampler, self._engine.package.sampling
        to_d = sampling.to_d
        sampler.guider = self
        sampling.to_d = self._direction(to_d)
        if self._by_step:
            sampler.sampler_step = self._step(sampler.sampler_step)
        try:
            yield
        finally:
            sampling.to_d = to_d
            sampler.guider = self._guider
            if self._by_step:
                del sampler.sampler_step
            if self._open is not None:
                self._open.close()

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        """Take what the sampler returned; return it, or the latents that stand in for it."""
        if not self._by_step:
            self._end(latents)
        return latents if self.instead is None else self.instead.ends[-1].to(latents)

    def prepare_inputs(self, x: torch.Tensor, sigma: torch.Tensor, cond: Any, uc: Any) -> Any:
        """Prepare the network's inputs as the guider does; here a step of the linear multistep method begins."""
        if not self._by_step:
            if self._open is not None:
                self._end(x)
            if self.instead is not None:
                self._restore(x)
            self._begin(x, None)
        self._latents = x
        return self._guider.prepare_inputs(x, sigma, cond, uc)

    def __call__(self, denoised: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Guide as the guider does, and report the predictions that go in and come out."""
        guided: torch.Tensor = self._guider(denoised, sigma)
        latents = self._latents
        if latents is None:
            return guided
        prediction = noise_prediction(latents, guided, sigma)
        if denoised.shape[0] != guided.shape[0]:
            halves = [noise_prediction(latents, half, sigma) for half in denoised.chunk(2)]
            inputs = {
                "noise_pred_uncond": halves[0], "noise_pred_text": halves[1], "guidance_scale": self._guider.scale,
            }  # fmt: skip
            with observed("guidance", inputs, self._taps, self._snapshots, "sampler.guider") as seen:
                seen.outputs[""] = prediction
        self.seen.predictions[-1].append(prediction)
        return guided

    def _step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the sampler's step, reporting."""
        signature = inspect.signature(original)

        def step(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            remembers = "old_denoised" in bound.arguments
            index = len(self.seen.samples)
            if self.instead is not None:
                before = bound.arguments["x"]
                bound.arguments["x"] = self.instead.samples[index].to(before)
                recorded = self.instead.denoised[index]
                if remembers and recorded is not None:
                    bound.arguments["old_denoised"] = recorded.to(before)
            self._begin(bound.arguments["x"], bound.arguments.get("old_denoised"))
            result = original(*bound.args, **bound.kwargs)
            self._end(result[0] if remembers else result)
            return result

        return step

    def _direction(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the package's derivative, remembering what it returns: the multistep method's memory."""

        def to_d(x: torch.Tensor, sigma: torch.Tensor, denoised: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = original(x, sigma, denoised)
            self._directions.append(found)
            return found

        return to_d

    def _restore(self, x: torch.Tensor) -> None:
        """Bring the multistep method to the other run's latents and memory, in place."""
        steps = self.instead
        if steps is None:
            return
        x.copy_(steps.samples[len(self.seen.samples)])
        for direction, recorded in zip(self._directions, steps.predictions, strict=False):
            direction.copy_(recorded[0])

    def _begin(self, x: torch.Tensor, old_denoised: torch.Tensor | None) -> None:
        """Begin a step."""
        index = len(self.seen.samples)
        self._taps.step = index
        inputs: dict[str, Any] = {"sample": x}
        if not self._by_step:
            recent = self.seen.predictions if self.instead is None else self.instead.predictions[:index]
            order = self._sampler.order
            inputs["history"] = tuple(each[0].to(x) for each in recent[::-1][: order - 1])
        if type(self._sampler).__name__ == "DPMPP2MSampler":
            inputs["old_denoised"] = old_denoised
        self.seen.samples.append(x.detach().clone())
        self.seen.denoised.append(None if old_denoised is None else old_denoised.detach().clone())
        self.seen.predictions.append([])
        self.noise = None
        self._open = ExitStack()
        native = "sampler.sampler_step" if self._by_step else "sampler"
        self._observation = self._open.enter_context(
            observed("scheduler.step", inputs, self._taps, self._snapshots, native)
        )

    def _end(self, latents: torch.Tensor) -> None:
        """End a step: report its predictions, its noise and what it gave."""
        seen, opened, index = self._observation, self._open, len(self.seen.samples) - 1
        if seen is None or opened is None:
            return
        for number, prediction in enumerate(self.seen.predictions[-1]):
            seen.inputs[f"model_output{f'_{number + 1}' if number else ''}"] = prediction
        if self.noise is not None:
            seen.inputs["noise"] = self.noise
        seen.outputs[""] = latents
        self._open = self._observation = None
        opened.close()
        self.seen.ends.append(latents.detach().clone())
        self._taps.step = None
        self._ended(index)
