"""A loaded engine of Stability-AI's package and the four runs of one case: working, twin, steps and forced.

The runs are those of `torch_refs.diffusers.system`; what they are is told there. Latents, memory of the samplers and
conditioning of the working run are kept on the CPU in float64 for the runs that start from them.

The working run is on the engine's device and draws on the CPU, so a case draws the same on every device.

Limits: the twin is on the CPU and is held in memory beside the engine.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from parity.frameworks.torch_ import to_numpy
from parity.frameworks.torch_floors_ import floors
from parity.frameworks.torch_islands_ import IslandFinder
from parity.frameworks.torch_policy_ import exact_float32, policy, provenance, threads
from parity.record import Outcome
from parity.trace import digest
from torch_refs.components import COMPONENTS
from torch_refs.images import start_image, synthetic
from torch_refs.recorded import force
from torch_refs.sgm.engine import parameters
from torch_refs.sgm.package import quiet_package
from torch_refs.sgm.run import Drawn, Images, Instead, Run
from torch_refs.sgm.sampling import Steps, make_sampler, settings
from torch_refs.sgm.twin import ForcedEngine, lift, wide
from torch_refs.sgm.views import attributes, views

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from parity.case import Resolved
    from parity.record import Progress
    from parity.taps import Call, Taps
    from parity.trace import Island, RunReader
    from torch_refs.sgm.engine import Engine

__all__ = ["SgmSystem"]

_SMALL: Final = 100_000_000
_FUNCTIONS: Final = {
    "text_encoder_2": "FrozenOpenCLIPEmbedder2",
    "text_encoder_2.text_projection": "Parameter",
    "unet.time_proj": "timestep_embedding",
}


class SgmSystem:
    """A loaded engine and the runs of one case."""

    components = COMPONENTS

    def __init__(self, engine: Engine, resolved: Resolved, dtype: str) -> None:
        """Wrap an engine whose networks are in the type `dtype`.

        Raises:
            CaseError: the package has no such sampler or discretization, or the image cannot be read.
        """
        case = self._case = resolved.case
        self.engine, self.dtype = engine, dtype
        make_sampler(engine, case, "cpu")
        start = start_image(resolved)
        count, place = len(case.prompt.positive), engine.device
        self._images = Images(
            start=None if start is None else torch.from_numpy(start).float().repeat(count, 1, 1, 1).to(place),
            encode=torch.from_numpy(synthetic(case.encode.height, case.encode.width, case.encode.seed))
            .float()
            .to(place),
        )
        small = sum(parameter.numel() for parameter in engine.module.parameters()) < _SMALL
        self._threads = 1 if small else torch.get_num_threads()
        self._workers = (os.cpu_count() or 1) if small else 1
        self._drawn, self._steps = Drawn(), Steps()
        self._conditioning: Any = None
        self._lifted: Engine | None = None

    def modules(self) -> dict[str, str]:
        """Return path -> class name of what is reported."""
        return {view.path: type(view.module).__name__ for view in views(self.engine)} | _FUNCTIONS

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return path -> canonical attributes."""
        found = attributes(self.engine, self._case.sampling.guidance)
        found["scheduler"] |= settings(make_sampler(self.engine, self._case, "cpu"))
        return found

    def weights(self) -> Iterator[tuple[str, np.ndarray, str]]:
        """Yield (address, array, type) of every parameter, under diffusers' names and in its layout."""
        for address, tensor in parameters(self.engine):
            yield (address, *to_numpy(tensor))

    def provenance(self) -> dict[str, Any]:
        """Return what the numbers depend on."""
        package = self.engine.package
        with exact_float32(), threads(self._threads):
            found = provenance(self.engine.device)
        found["sgm"] = {"folder": str(package.folder.name), "stand_ins": list(package.stand_ins)}
        found["open_clip"] = package.encoders.open_clip.__version__
        return found

    def floors(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return torch's own error of each operator in the working type."""
        with exact_float32(), threads(self._threads):
            return floors(self.dtype, self.engine.device)

    def policy(self) -> str:
        """Return the precision in force while recording."""
        with exact_float32():
            return policy(self.dtype, self.engine.device)

    def run(self, taps: Taps | None, progress: Progress) -> Outcome:
        """Run the case in the working type; report to `taps`, or with None to nobody, no hook in place."""
        run = Run(self.engine, self._case, self._images, dtype=self.dtype, given=None, progress=progress)
        with self._surroundings(), exact_float32():
            latents, images = run.generate() if taps is None else run.reported(taps)
        if taps is not None:
            self._drawn, self._steps, self._conditioning = _wide(run.drawn), _wide_steps(run.steps), run.conditioning
        finals = {"latents": digest(*to_numpy(latents)), "image": digest(*to_numpy(images))}
        numbers = run.drawn.numbers
        first = numbers["latents"][0].float().cpu().numpy()
        later = [tensor.float().cpu().numpy() for tensor in numbers.get("noise", [])]
        return Outcome(finals=finals, latents=first, noise=np.stack(later) if later else None)

    def twin(self, taps: Taps, progress: Progress) -> list[Island]:
        """Run the case in float64 on the working run's draws; return the islands that are left."""
        run = self._twin_run(progress)
        finder = IslandFinder(taps)
        with self._surroundings(), wide(self._twin), finder:
            run.reported(taps)
        return finder.islands

    def steps(self, taps: Taps, progress: Progress) -> None:
        """Run the twin with the working run's conditioning, and its latents and memory at each step."""
        cond, uc = (
            {name: _double(tensor) for name, tensor in part.items()} if part else None for part in self._conditioning
        )
        with self._surroundings(), wide(self._twin):
            self._twin_run(progress).reported(taps, Instead(conditioning=(cond or {}, uc), steps=self._steps))

    def forced(self, recorded: RunReader, skipped: Collection[Call], taps: Taps, progress: Progress) -> None:
        """Apply each part of the twin to the inputs that the run `recorded` has of it, and report its outputs."""
        with self._surroundings(), quiet_package(), wide(self._twin):
            forced = ForcedEngine(self._twin, self._case, recorded)
            force(forced.outputs, recorded, skipped, taps, progress, workers=self._workers)

    @property
    def _twin(self) -> Engine:
        """The float64 engine, made when it is first needed."""
        if self._lifted is None:
            with quiet_package():
                self._lifted = lift(self.engine)
        return self._lifted

    def _twin_run(self, progress: Progress) -> Run:
        """Return a run of the twin on the working run's numbers and images."""
        start = self._images.start
        images = Images(start=None if start is None else _double(start), encode=_double(self._images.encode))
        return Run(self._twin, self._case, images, dtype="float64", given=self._drawn, progress=progress)

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        """Compute without gradients, on the system's number of threads."""
        with torch.no_grad(), threads(self._threads):
            yield


def _double(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor on the CPU in float64, as the twin takes it."""
    return tensor.to(device="cpu", dtype=torch.float64)


def _wide(drawn: Drawn) -> Drawn:
    """Return the numbers in float64."""
    return Drawn({what: [_double(each) for each in numbers] for what, numbers in drawn.numbers.items()})


def _wide_steps(steps: Steps) -> Steps:
    """Return what a run had at each step in float64."""
    return Steps(
        samples=[_double(each) for each in steps.samples],
        ends=[_double(each) for each in steps.ends],
        predictions=[[_double(each) for each in step] for step in steps.predictions],
        denoised=[None if each is None else _double(each) for each in steps.denoised],
    )
