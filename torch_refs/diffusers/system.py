"""A loaded diffusers pipeline and the four runs of one case: working, twin, steps and forced.

    system = reference.load(resolved, device="cpu", dtype="float32")
    system.run(taps, progress)            # draws; the later runs are given what it drew
    system.twin(taps, progress)           # float64, nothing left in a narrower type
    system.steps(taps, progress)          # float64 from the working run's tensors at each stage and step
    system.forced(recorded, …)            # float64, each part alone on the working run's recorded inputs

Random numbers come from CPU generators, so a case draws the same on every device.

A model of less than 100 million parameters computes each operator on one thread, and its forced calls
several at a time: torch's threads wait by spinning, which costs a tiny operator more than it gains.

Limits: the twin runs on the CPU and is held in memory beside the pipeline.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from parity.frameworks.torch_ import buffers_of, to_numpy, weights_of
from parity.frameworks.torch_floors_ import floors
from parity.frameworks.torch_islands_ import IslandFinder
from parity.frameworks.torch_policy_ import exact_float32, policy, provenance, threads
from parity.record import Outcome
from parity.trace import digest
from torch_refs.attributes import pipeline_attributes
from torch_refs.components import COMPONENTS
from torch_refs.diffusers.draws import Draw, Drawn, Draws
from torch_refs.diffusers.functions import encode, module_paths, reported
from torch_refs.diffusers.samplers import attributes as scheduler_attributes
from torch_refs.diffusers.samplers import of_scheduler
from torch_refs.diffusers.twin import ForcedPipeline, lift
from torch_refs.images import synthetic
from torch_refs.quiet import quiet
from torch_refs.recorded import force

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from parity.case import Case
    from parity.record import Progress
    from parity.taps import Call, Taps
    from parity.trace import Island, RunReader

__all__ = ["DiffusersSystem", "encoder_image"]

_SMALL: Final = 100_000_000


@dataclass
class _Drawn:
    """What a working run drew and passed on, on the CPU in float64: what its twin is given."""

    draws: Drawn = field(default_factory=dict)
    embeddings: tuple[torch.Tensor | None, ...] = ()
    prepared: torch.Tensor | None = None
    latents: list[torch.Tensor] = field(default_factory=list)
    memory: list[dict[str, torch.Tensor | None]] = field(default_factory=list)
    image: torch.Tensor | None = None


class DiffusersSystem:
    """A loaded pipeline and the runs of one case."""

    components = COMPONENTS

    def __init__(self, pipeline: Any, case: Case, dtype: str) -> None:
        """Wrap a pipeline whose modules are in the type `dtype`."""
        self.pipeline = pipeline
        self.dtype = dtype
        self._case = case
        small = sum(parameter.numel() for parameter in pipeline.unet.parameters()) < _SMALL
        self._threads = 1 if small else torch.get_num_threads()
        self._workers = (os.cpu_count() or 1) if small else 1
        self._sampler = of_scheduler(pipeline.scheduler)
        self._eta = self._sampler.eta_of(case.sampling)
        self._drawn = _Drawn()
        self._lifted: Any = None

    def modules(self) -> dict[str, str]:
        """Return path -> class name."""
        return {path: type(module).__name__ for path, module in module_paths(self.pipeline).items()}

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return path -> canonical attributes."""
        scheduler = scheduler_attributes(self.pipeline.scheduler, self._eta)
        return pipeline_attributes(self.pipeline, module_paths(self.pipeline), scheduler, self._case.sampling.guidance)

    def weights(self) -> Iterator[tuple[str, np.ndarray, str]]:
        """Yield (address, array, type) of every parameter, and of floating buffers that are saved with them."""
        return weights_of(module_paths(self.pipeline))

    def buffers(self) -> Iterator[tuple[str, np.ndarray, str]]:
        """Yield the same of every other buffer."""
        return buffers_of(module_paths(self.pipeline))

    def provenance(self) -> dict[str, Any]:
        """Return what the numbers depend on."""
        with exact_float32(), threads(self._threads):
            return provenance(self.pipeline.device)

    def floors(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return torch's own error of each operator in the working type."""
        with exact_float32(), threads(self._threads):
            return floors(self.dtype, self.pipeline.device)

    def policy(self) -> str:
        """Return the precision in force while recording."""
        with exact_float32():
            return policy(self.dtype, self.pipeline.device)

    def run(self, taps: Taps | None, progress: Progress) -> Outcome:
        """Run the case in the working type; report to `taps`, or with None to nobody, no hook in place."""
        drawn, finals = _Drawn(), {}

        def ended(step: int, latents: torch.Tensor) -> None:
            finals[f"latents@step={step}"] = digest(*to_numpy(latents))
            drawn.latents.append(_wide(latents))
            progress(step + 1, self._case.sampling.steps)

        with self._surroundings(), exact_float32(), self._draws() as draws:
            if taps is None:
                images = self._generate(self.pipeline, draws, ended)
            else:
                with reported(self.pipeline, taps, draws) as computed:
                    images = self._generate(self.pipeline, draws, ended)
                    drawn.image = self._encode(self.pipeline, draws, taps)
                drawn.embeddings = tuple(None if each is None else _wide(each) for each in computed["encode_prompt"])
                drawn.prepared = _wide(computed["prepare_latents"])
                drawn.memory = [_wide_memory(each) for each in computed["memory"]]
        finals["image"] = digest(*to_numpy(images))
        drawn.draws = {draw: _wide(tensor) for draw, tensor in draws.seen.items()}
        self._drawn = drawn
        noise = [_narrow(tensor) for draw, tensor in drawn.draws.items() if draw.role == "step"]
        return Outcome(
            finals=finals, latents=_narrow(drawn.draws[Draw("initial")]), noise=np.stack(noise) if noise else None
        )

    def twin(self, taps: Taps, progress: Progress) -> list[Island]:
        """Run the case in float64 on the working run's draws; return the islands that are left."""
        _ = self._twin  # lifting it widens weights, which is no island
        finder = IslandFinder(taps)
        with finder:
            self._run_twin(taps, {}, lambda step, _: progress(step + 1, self._case.sampling.steps))
        return finder.islands

    def steps(self, taps: Taps, progress: Progress) -> None:
        """Run the twin with the working run's conditioning, and its latents at the start of each step and stage."""
        drawn = self._drawn

        def ended(step: int, _: torch.Tensor) -> torch.Tensor:
            progress(step + 1, self._case.sampling.steps)
            return drawn.latents[step]

        instead = {"encode_prompt": drawn.embeddings, "prepare_latents": drawn.prepared, "memory": drawn.memory}
        self._run_twin(taps, instead, ended)

    def forced(self, recorded: RunReader, skipped: Collection[Call], taps: Taps, progress: Progress) -> None:
        """Apply each part of the twin to the inputs that the run `recorded` has of it, and report its outputs."""
        forced = ForcedPipeline(self._twin, self._case, recorded)
        with threads(self._threads), quiet():
            force(forced.outputs, recorded, skipped, taps, progress, workers=self._workers)

    @property
    def _twin(self) -> Any:
        """The float64 pipeline, made when it is first needed."""
        if self._lifted is None:
            with quiet():
                self._lifted = lift(self.pipeline, self._eta)
        return self._lifted

    def _run_twin(self, taps: Taps, instead: Mapping[str, Any], ended: Callable[[int, torch.Tensor], Any]) -> None:
        """Run the twin on the working run's draws."""
        with self._surroundings(), Draws(self._drawn.draws) as draws, reported(self._twin, taps, draws, instead):
            self._generate(self._twin, draws, ended)
            self._encode(self._twin, draws, taps)

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        """Compute without gradients, on the system's number of threads, without advice in the log."""
        with quiet(), torch.no_grad(), threads(self._threads):
            yield

    def _generate(self, pipeline: Any, draws: Draws, ended: Callable[[int, torch.Tensor], Any]) -> torch.Tensor:
        """Call the pipeline; what `ended(step, latents)` returns, if anything, replaces the latents."""
        case = self._case

        def after(_pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            draws.next_step()
            replacement = ended(step, tensors["latents"])
            return {} if replacement is None else {"latents": replacement}

        told = {"eta": self._eta} if "eta" in self._sampler.options else {}
        return pipeline(
            prompt=list(case.prompt.positive),
            negative_prompt=list(case.prompt.negative) or None,
            num_inference_steps=case.sampling.steps,
            guidance_scale=case.sampling.guidance,
            height=case.size.height,
            width=case.size.width,
            original_size=tuple(case.size.original),
            crops_coords_top_left=tuple(case.size.crop),
            target_size=tuple(case.size.target),
            generator=self._generator(),
            output_type="pt",
            callback_on_step_end=after,
            **told,
        ).images

    def _generator(self) -> Any:
        """Return the source of the working run's random numbers."""
        return torch.Generator("cpu").manual_seed(self._case.sampling.seed)

    def _draws(self) -> Draws:
        """Return what catches the working run's random numbers."""
        return Draws()

    def _encode(self, pipeline: Any, draws: Draws, taps: Taps) -> torch.Tensor:
        """Encode the case's image, in the type in which the pipeline's autoencoder decodes; return it widened."""
        generator = torch.Generator("cpu").manual_seed(self._case.encode.seed)
        with _upcast(pipeline.vae) as dtype:
            given = self._drawn.image if pipeline is self._lifted else None
            image = torch.from_numpy(encoder_image(self._case)) if given is None else given
            image = image.to(device=pipeline.device, dtype=dtype)
            encode(pipeline.vae, image, generator, draws, taps)
        return _wide(image)


@contextmanager
def _upcast(vae: Any) -> Iterator[torch.dtype]:
    """Hold the autoencoder in float32 if it is float16 and must not be; yield its type."""
    before = vae.dtype
    upcast = before == torch.float16 and vae.config.force_upcast
    try:
        yield (vae.to(dtype=torch.float32) if upcast else vae).dtype
    finally:
        if upcast:
            vae.to(dtype=before)


def encoder_image(case: Case) -> np.ndarray:
    """Return the image `[1, 3, height, width]` in [-1, 1] that goes through the encoder."""
    return synthetic(case.encode.height, case.encode.width, case.encode.seed)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """Return a float64 copy on the CPU."""
    return tensor.detach().to(device="cpu", dtype=torch.float64, copy=True)


def _wide_memory(memory: Mapping[str, torch.Tensor | None]) -> dict[str, torch.Tensor | None]:
    """Return what a scheduler remembered, in float64."""
    return {port: None if tensor is None else _wide(tensor) for port, tensor in memory.items()}


def _narrow(tensor: torch.Tensor) -> np.ndarray:
    """Return an array in float32."""
    return tensor.to(torch.float32).numpy()
