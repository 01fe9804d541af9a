"""One loaded model as the harness drives it: free, stage by stage, or one module at a time.

`stages` has what is computed outside of the sampler's loop, `loop` the loop itself, `layers` what replays a path that is
no single cell, `attributes` and `parameters` what is audited and repaired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from parity.frameworks.mindspore_system_ import MindSporeSystem

from mindone_sdxl.candidate import layers, loop
from mindone_sdxl.candidate.attributes import attributes_of, set_attribute
from mindone_sdxl.candidate.parameters import change_weight, pulled_back
from mindone_sdxl.candidate.rows import SIZES
from mindone_sdxl.candidate.sampling import make_sampler, placed
from mindone_sdxl.candidate.stages import Stages
from mindone_sdxl.conditioning import time_ids
from mindone_sdxl.guidance import Identity, VanillaCFG
from mindone_sdxl.layers import numpy_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mindspore import Tensor
    from parity.repair import AttributeEdit, WeightEdit
    from parity.replay import Given, Parameter, Reporter, Request
    from parity.trace.schema import Row

    from mindone_sdxl.conditioning import Conditioning
    from mindone_sdxl.pipeline import StableDiffusionXL

__all__ = ["PortSystem"]

_WIDE_INPUTS = ("timestep", "timesteps", "time_ids")


class PortSystem(MindSporeSystem):
    """The harness's view of a `StableDiffusionXL`.

    `stability` tells that the reference is Stability-AI's package: it guides clean latents and not the prediction,
    embeds the sizes once before the loop, and encodes "" for a negative prompt that is not given.
    """

    def __init__(self, pipeline: StableDiffusionXL, request: Request) -> None:
        """Wrap a loaded pipeline, with the schedule, sampler and guidance of the case."""
        super().__init__(dict(pipeline.model.cells_and_names()), request.dtype, request.manifest)
        self.pipeline = pipeline
        self.stability = "quantity" in request.manifest.attributes.get("guidance", {})
        sampling, image = self.case["sampling"], self.case.get("image")
        settings = request.manifest.attributes.get("scheduler", {})
        whole = pipeline.schedule(sampling["steps"], placed(sampling, pipeline.config.schedule, settings))
        part = whole if image is None else whole.tail(float(image["strength"]))
        self.sampler = make_sampler(sampling, part, settings)
        self.schedule = self.sampler.schedule
        self.denoiser = pipeline.denoiser(self.schedule)
        guidance = float(sampling["guidance"])
        self.guider = VanillaCFG(guidance) if guidance > 1 else Identity()

    def weights(self) -> Iterable[Parameter]:
        """Return every parameter in the reference's name, layout and shape."""
        return pulled_back(self.pipeline.config, self._parameters(), lambda entry: entry.cell, self.manifest)

    def attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the attributes that decide numerics, by the reference's path."""
        guidance = {"guidance_scale": getattr(self.guider, "scale", 1.0)}
        return attributes_of(self.pipeline.config, self.cells) | {"guidance": guidance}

    def edit_weight(self, edit: WeightEdit) -> None:
        """Change the layout of one parameter."""
        change_weight(self.pipeline.config, self._parameters(), lambda entry: entry.cell, edit)

    def edit_attribute(self, edit: AttributeEdit) -> None:
        """Set an attribute of the cells that do the work of a path."""
        set_attribute(self.pipeline.config, self.cells, edit)

    def _parameters(self) -> dict[str, Any]:
        """Return every parameter by its name in the model."""
        return dict(self.pipeline.model.parameters_and_names())

    def free(self, given: Given, reporter: Reporter) -> None:
        """Run everything from prompts, latents and noise."""
        stages = Stages(self, given, reporter)
        ids = [stages.tokenize(texts, call) for call, texts in enumerate(stages.texts())]
        conditioning = stages.condition(ids)
        stages.schedule()
        start = stages.prepare(stages.encode())
        latents = loop.run(self, given, reporter, start, conditioning)
        stages.decode(latents)

    def steps(self, given: Given, reporter: Reporter) -> None:
        """Run every stage and step of which something is wanted from the reference's tensors at its start."""
        stages = Stages(self, given, reporter)
        if reporter.wants(None):
            for call, texts in enumerate(stages.texts()):
                stages.tokenize(texts, call)
            stages.condition(stages.recorded_ids())
            stages.schedule()
            stages.encode()
            stages.prepare(None)
        loop.restart(self, given, reporter, stages.recorded_conditioning())
        if reporter.wants(None):
            stages.decode(stages.recorded_latents())

    def layer(
        self, rows: Sequence[Row], inputs: Mapping[str, Any], given: Given, step: int | None
    ) -> Mapping[str, Any]:
        """Run one module or function on recorded inputs."""
        row = rows[0]
        if row.function or row.replay:
            return layers.replay_function(self, rows, inputs, given, step)
        present = [key for key in row.ports if inputs.get(key) is not None]
        arguments = [self.native(inputs[key], self.type_of(row, key)) for key in present]
        arrays = self.numpy(self.cells[row.native](*arguments))
        return {each.port: arrays[each.take] for each in rows if each.take in arrays}

    def type_of(self, row: Row, key: str = "") -> Any:
        """Return the type in which a row's part of the model computes, and takes the input `key`.

        Latents, timesteps and sizes stay in float32 beside float16 networks, and so does the autoencoder.
        """
        name = row.native if row.function else row.path
        if name.startswith(("vae", "postprocess")):
            return self.pipeline.model.vae.dtype
        wide = name.startswith(("scheduler", "prepare_latents", "guidance", SIZES)) or key.endswith(_WIDE_INPUTS)
        return self.pipeline.latents_dtype if wide else self.pipeline.dtype

    @property
    def numbers(self) -> Any:
        """The numpy type of numbers that are no network outputs: float64 beside float64, else float32."""
        return numpy_type(self.pipeline.latents_dtype)

    def time_ids(self) -> np.ndarray:
        """Return the time ids of the prompts, `[batch, 6]`."""
        size = self.case["size"]
        return time_ids(size["original"], size["crop"], size["target"], len(self.case["prompt"]["positive"]))

    def guided_time_ids(self) -> np.ndarray:
        """Return the time ids of a guided batch, as the reference reports them."""
        return np.concatenate([self.time_ids()] * self.guider.halves).astype(self.numbers)

    def schedule_outputs(self) -> dict[str, np.ndarray]:
        """Return timesteps, sigmas and the initial scale by port."""
        return {
            "output.timesteps": self.schedule.timesteps, "output.sigmas": self.schedule.sigmas,
            "output.init_noise_sigma": np.asarray(self.schedule.init_noise_sigma),
        }  # fmt: skip

    def encoded(self, image: Tensor, noise: Tensor) -> dict[str, np.ndarray]:
        """Return the posterior of an image and its sample by port."""
        posterior = self.pipeline.encode(image)
        return {
            "output.mean": posterior.mean.asnumpy(), "output.logvar": posterior.logvar.asnumpy(),
            "output.sample": posterior.sample(noise).asnumpy(),
        }  # fmt: skip

    def size_embeddings(self, conditioning: Conditioning) -> np.ndarray:
        """Return the part of the UNet's vector that embeds the time ids, one row for each number."""
        config = self.pipeline.config.unet
        start = config.vector_size - 6 * config.size_embedding_size
        vector: np.ndarray = conditioning.vector.asnumpy()
        return vector[:, start:].reshape(-1, config.size_embedding_size)
