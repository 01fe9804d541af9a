"""The sampler's loop as the harness drives it: the pipeline's own, or each step from the reference's latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mindone_sdxl.candidate.watching import Watched, watched_sampler

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from mindspore import Tensor
    from parity.replay import Given, Reporter

    from mindone_sdxl.candidate.system import PortSystem
    from mindone_sdxl.conditioning import Conditioning

__all__ = ["memory", "noises", "restart", "run"]


def run(system: PortSystem, given: Given, reporter: Reporter, start: Tensor, conditioning: Conditioning) -> Tensor:
    """Run the whole loop from the latents of its first step; return clean latents."""
    watched = Watched(system, reporter)
    sampler = watched_sampler(system, watched, reporter)
    latents = watched.denoise(sampler, start, conditioning, guider=system.guider, noises=noises(system, given))
    reporter.step(None)
    return latents


def restart(system: PortSystem, given: Given, reporter: Reporter, conditioning: Conditioning) -> None:
    """Run the steps of which something is wanted, each from the reference's latents and memory."""
    watched = Watched(system, reporter)
    sampler, denoiser = watched_sampler(system, watched, reporter), watched.denoiser(system.schedule)

    def predict(latents: Tensor, sigma: Any) -> Tensor:
        return watched.predict_noise(latents, sigma, conditioning, system.guider, denoiser)

    for index in filter(reporter.wants, range(system.schedule.steps)):
        inputs = given.inputs("scheduler.step", index, None)
        latents = system.native(inputs["sample"], system.pipeline.latents_dtype)
        sampler.recall(index, memory(system, inputs))
        latents, sigma = sampler.prepare(index, latents)
        sampler.step(index, latents, predict(latents, sigma), noises(system, given), predict)
    reporter.step(None)


def noises(system: PortSystem, given: Given) -> np.ndarray | None:
    """Return the reference's noise of every step; None for a sampler that adds none."""
    return given.noise if system.sampler.uses_noise else None


def memory(system: PortSystem, inputs: Mapping[str, Any]) -> list[Tensor]:
    """Return what the reference's sampler remembered at the start of a step, the last step first."""
    keys = [key for key in inputs if key == "old_denoised" or key.startswith("history.")]
    remembered = [inputs[key] for key in keys if inputs[key] is not None]
    return [system.native(each, system.pipeline.latents_dtype) for each in remembered]
