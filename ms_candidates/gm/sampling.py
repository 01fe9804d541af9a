"""The original's sampler, watched while its own loop runs.

Nothing of the sampler is replaced. Its `denoise`, its guider and the generator of its steps are wrapped on the instance
to say where the loop is and what comes out; the engine that it is given passes every call on. Two things are put in:

* the reference's noise, where the sampler draws its own;
* in mode steps, the reference's latents at the start of each step. A sampler with a `sampler_step` is given them there.
  The multistep sampler has none and keeps its latents to itself, so its network sees the reference's latents and its
  history the derivatives that follow from them; what it then adds to its own latents is added to the reference's.

The original guides denoised latents. What is reported as guidance is the noise that follows from them by the sampler's
own `to_d`, (x - denoised) / sigma.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mindone_sdxl.candidate.rows import SIZES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mindspore import Tensor

    from ms_candidates.gm.system import GmSystem
    from parity.replay import Given, Reporter

__all__ = ["Loop", "scale_steps", "single_step"]


class Loop:
    """One run of the sampler's loop."""

    def __init__(self, system: GmSystem, reporter: Reporter, given: Given, *, restart: bool) -> None:
        """Watch the sampler of `system`; with `restart` every step begins from the reference's latents."""
        self._system, self._reporter, self._given, self._restart = system, reporter, given, restart
        self._sampler, self._engine = system.sampler, system.engine
        self._step = 0
        self._begun = False
        self._own = self._start = self._x = None
        # What the loop asks of an engine.
        self.denoiser, self.model = self._engine.denoiser, self._engine.model

    def openai_input_warpper(self, cond: dict[str, Any]) -> dict[str, Any]:  # the name is the original's
        """Return the network's conditioning, and report the embedded sizes in it."""
        found: dict[str, Any] = self._engine.openai_input_warpper(cond)
        self._reporter.function(SIZES, {"output": self._system.size_embeddings(found["y"])})
        return found

    def run(self, noise: Tensor, noises: Tensor | None, cond: dict[str, Any], uc: dict[str, Any] | None) -> Tensor:
        """Run the whole loop from unit-variance noise and return the final latents."""
        with self._watched():
            latents = self._sampler(self, noise, cond=cond, uc=uc, init_noise_scheduler=noises)
        if not hasattr(self._sampler, "sampler_step"):
            self._ended(latents)
        self._reporter.step(None)
        return latents

    @contextmanager
    def _watched(self) -> Iterator[None]:
        sampler = self._sampler
        watched: dict[str, Any] = {
            "denoise": self._denoise(sampler.denoise),
            "guider": _WatchedGuider(sampler.guider, self._guided),
            "get_sigma_gen": self._steps(sampler.get_sigma_gen),
        }
        if hasattr(sampler, "sampler_step"):
            watched["sampler_step"] = self._sampler_step(sampler.sampler_step)
        if hasattr(sampler, "noise_sampler"):
            watched["noise_sampler"] = lambda _: self._system.native(self._given.noise[self._step])
        before = {name: sampler.__dict__[name] for name in watched if name in sampler.__dict__}
        sampler.__dict__.update(watched)
        try:
            yield
        finally:
            for name in watched:
                del sampler.__dict__[name]
            sampler.__dict__.update(before)

    def _steps(self, original: Callable[..., Any]) -> Callable[[int], Iterator[int]]:
        def steps(num_sigmas: int) -> Iterator[int]:
            for index in original(num_sigmas):
                self._step, self._begun = index, False
                self._reporter.step(index)
                yield index

        return steps

    def _sampler_step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        def step(*arguments: Any, **keywords: Any) -> Any:
            bound = signature.bind(*arguments, **keywords)
            if self._restart:
                bound.arguments["x"] = self._recorded(self._step)
            output = original(*bound.args, **bound.kwargs)
            self._report(output[0] if isinstance(output, tuple) else output)
            return output

        return step

    def _denoise(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def denoise(x: Tensor, model: Any, sigma: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
            if hasattr(self._sampler, "sampler_step"):
                self._x = x
                return original(x, model, sigma, *arguments, **keywords)
            if not self._begun and self._step:
                self._reporter.step(self._step - 1)
                self._ended(x)
                self._reporter.step(self._step)
            self._begun = True
            self._own, self._start = x, self._recorded(self._step) if self._restart else x
            self._x = self._start
            denoised = original(self._start, model, sigma, *arguments, **keywords)
            return x - (self._start - denoised) if self._restart else denoised

        return denoise

    def _ended(self, x: Tensor) -> None:
        """Report the end of a step of a sampler that keeps its latents: what it added, at the step's start."""
        self._report(self._start + (x - self._own) if self._restart else x)

    def _report(self, latents: Tensor) -> None:
        self._reporter.function("scheduler.step", {"output": latents.asnumpy()})

    def _guided(self, denoised: Tensor, sigma: Tensor) -> None:
        if self._system.guided:
            noise = self._system.module("modules.diffusionmodules.sampling_utils").to_d(self._x, sigma, denoised)
            self._reporter.function("guidance", {"output": noise.asnumpy()})

    def _recorded(self, step: int) -> Tensor:
        return self._system.native(self._given.tensor(f"scheduler.step@step={step}:input.sample"))


class _WatchedGuider:
    """Reports what a guider returns; everything else is the guider's own."""

    def __init__(self, guider: Any, seen: Callable[[Tensor, Tensor], None]) -> None:
        self._guider, self._seen = guider, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guider, name)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        guided = self._guider(x, sigma)
        self._seen(guided, sigma)
        return guided


def single_step(system: GmSystem, given: Given, step: int, sample: Tensor, noise_pred: Tensor) -> Tensor:
    """Return what the sampler's step makes of latents and guided noise, with no network in between.

    A sampler that keeps its latents runs its whole loop on the recorded noise of every step; what it adds in this one
    is added to `sample`.
    """
    predicted = {
        index: system.native(given.tensor(f"scheduler.step@step={index}:input.model_output"))
        for index in range(given.step_count)
    } | {step: noise_pred}
    alone = hasattr(system.sampler, "sampler_step")
    starts: list[Tensor] = []

    def denoise(x: Tensor, _model: Any, sigma: Tensor, *_: Any, **__: Any) -> Tensor:
        starts.append(x)
        return system.denoised(x, predicted[step if alone else len(starts) - 1], sigma)

    system.sampler.__dict__["denoise"] = denoise
    try:
        if alone:
            return _alone(system, given, step, sample, predicted)
        starts.append(system.sampler(system.engine, sample.copy(), cond=None))
        return sample + (starts[step + 1] - starts[step])
    finally:
        del system.sampler.__dict__["denoise"]


def _alone(system: GmSystem, given: Given, step: int, sample: Tensor, predicted: dict[int, Tensor]) -> Tensor:
    """Call the sampler's own step with what its loop would hand to it."""
    sampler = system.sampler
    sigma, next_sigma, previous = (system.levels(sample, index) for index in (step, step + 1, max(step - 1, 0)))
    values: dict[str, Any] = {
        "sigma": sigma, "next_sigma": next_sigma, "model": system.engine, "x": sample, "cond": None, "uc": None,
        "previous_sigma": previous if step else None, "old_denoised": None,
    }  # fmt: skip
    if step:
        before = system.native(given.tensor(f"scheduler.step@step={step - 1}:input.sample"))
        values["old_denoised"] = system.denoised(before, predicted[step - 1], previous)
    parameters = inspect.signature(sampler.sampler_step).parameters
    values = {name: value for name, value in values.items() if name in parameters}
    if system.takes_noise:
        values["init_noise"] = system.native(given.noise[step])
    elif hasattr(sampler, "noise_sampler"):
        sampler.noise_sampler = lambda _: system.native(given.noise[step])
    output = sampler.sampler_step(**values)
    return output[0] if isinstance(output, tuple) else output


def scale_steps(system: GmSystem, factor: float) -> None:
    """Let every step of the samplers that move along a derivative move by `factor` of it: their `to_d` is scaled."""
    own = system.module("modules.diffusionmodules.sampling_utils").to_d

    def to_d(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
        return own(x, sigma, denoised) * factor

    vars(system.module("modules.diffusionmodules.sampler"))["to_d"] = to_d
