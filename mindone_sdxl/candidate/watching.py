"""Wrappers that report what is no cell: guidance, input scaling and the sampler's step; they change no computation."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from mindone_sdxl.candidate.rows import SIZES
from mindone_sdxl.pipeline import StableDiffusionXL

if TYPE_CHECKING:
    from mindspore import Tensor
    from parity.replay import Reporter

    from mindone_sdxl.candidate.system import PortSystem
    from mindone_sdxl.conditioning import Conditioning
    from mindone_sdxl.samplers import Sampler

__all__ = ["Watched", "watched_sampler"]


class Watched(StableDiffusionXL):
    """The same pipeline on the same model, which reports every evaluation of the network within a step."""

    def __init__(self, system: PortSystem, reporter: Reporter) -> None:
        """Share everything with the system's pipeline."""
        self.__dict__.update(system.pipeline.__dict__)
        self._system, self._reporter, self._evaluation = system, reporter, 0

    def begin(self, index: int) -> None:
        """Enter a step."""
        self._reporter.step(index)
        self._evaluation = 0

    def denoiser(self, schedule: Any) -> Any:
        """Return the denoiser, reporting the scaled input."""
        return _WatchedDenoiser(super().denoiser(schedule), self._reporter, self)

    @property
    def evaluation(self) -> int:
        """How often the network was asked in this step before."""
        return self._evaluation

    def predict_noise(
        self, latents: Tensor, sigma: Any, conditioning: Conditioning, guider: Any, denoiser: Any
    ) -> Tensor:
        """Predict, and report sizes and guidance.

        Stability's package guides clean latents: there the noise prediction is what they mean. diffusers guides what
        the network gives.
        """
        if not self._system.stability:
            self._reporter.function(SIZES, {"output": self._system.size_embeddings(conditioning)}, self._evaluation)
        watched: Any = _WatchedGuider(guider)
        predicted = super().predict_noise(latents, sigma, conditioning, watched, denoiser)
        if guider.halves > 1:
            output = predicted if self._system.stability else watched.guided
            self._reporter.function("guidance", {"output": output.asnumpy()}, self._evaluation)
        self._evaluation += 1
        return predicted


def watched_sampler(system: PortSystem, watched: Watched, reporter: Reporter) -> Sampler:
    """Return a sampler of the system's class that tells where it is and reports each step."""
    kind = type(system.sampler)

    class Reporting(kind):  # type: ignore[misc, valid-type]
        def prepare(self, index: int, *arguments: Any) -> tuple[Tensor, Any]:
            watched.begin(index)
            prepared: tuple[Tensor, Any] = super().prepare(index, *arguments)
            return prepared

        def step(self, *arguments: Any) -> Tensor:
            latents = super().step(*arguments)
            reporter.function("scheduler.step", {"output": latents.asnumpy()})
            return latents

    reporting = copy.copy(system.sampler)
    reporting.__class__ = Reporting
    return reporting


class _WatchedGuider:
    """Keeps what a guider returns."""

    def __init__(self, guider: Any) -> None:
        self.halves, self._guider = guider.halves, guider
        self.guided: Any = None

    def __call__(self, output: Tensor) -> Tensor:
        self.guided = self._guider(output)
        return self.guided


class _WatchedDenoiser:
    """Reports the scaled input; everything else is the denoiser's own."""

    def __init__(self, denoiser: Any, reporter: Reporter, watched: Watched) -> None:
        self._denoiser, self._reporter, self._watched = denoiser, reporter, watched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def network_input(self, latents: Tensor, sigma: float) -> Tensor:
        scaled = self._denoiser.network_input(latents, sigma)
        outputs = {"output": scaled.asnumpy()}
        self._reporter.function("scheduler.scale_model_input", outputs, self._watched.evaluation)
        return scaled
