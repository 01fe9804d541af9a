"""One loaded model as the harness drives it: free, stage by stage, or one module at a time.

The free run is the pipeline's own loop. Guidance, input scaling and the sampler's step are no cells, so the objects
that do them are wrapped to report what they return; nothing about how they compute changes.
"""

from __future__ import annotations

import runpy
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops
from parity.errors import InputError, RepairError, WeightsError
from parity.frameworks import mindspore_
from parity.frameworks.mindspore_wide_ import widen_operators
from parity.repair import AttributeEdit, PrecisionEdit, WeightEdit

from mindone_sdxl import files, weights
from mindone_sdxl.candidate.parameters import as_loaded, change_weight, pulled_back
from mindone_sdxl.candidate.rows import SIZES
from mindone_sdxl.conditioning import Conditioning, TextEmbeddings, time_ids
from mindone_sdxl.config import from_diffusers
from mindone_sdxl.errors import SDXLError
from mindone_sdxl.guidance import Identity, VanillaCFG
from mindone_sdxl.layers import Conv2d
from mindone_sdxl.names import module_pairs
from mindone_sdxl.pipeline import StableDiffusionXL
from mindone_sdxl.samplers import EulerAncestral
from mindone_sdxl.text_encoders import causal_mask, pool
from mindone_sdxl.tokenizer import CLIPTokenizer, pad_token_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from parity.repair import Edit
    from parity.replay import Given, Parameter, Request, Tap
    from parity.trace.schema import Row

__all__ = ["MindoneSystem", "build"]

_SAMPLERS = {"EulerAncestral": EulerAncestral}
_WIDE_INPUTS = ("timestep", "timesteps", "time_ids")
_ATTRIBUTES = ("eps", "num_groups", "approximate", "heads", "scale")


def build(request: Request) -> MindoneSystem:
    """Convert the weights when no checkpoint is given, load them, and build in a planted fault if there is one.

    Raises:
        WeightsError: the checkpoint does not fit the model.
    """
    mindspore_.start(request.device)
    plant = runpy.run_path(str(request.plant)) if request.plant else {}
    checkpoint = request.weights or request.folder / "weights.ckpt"
    try:
        config = from_diffusers(request.model)
        if request.weights is None and not checkpoint.exists():
            state = weights.diffusers_to_mindspore(as_loaded(request), config)
            if "checkpoint" in plant:
                plant["checkpoint"](state)
            files.write(checkpoint, state)
        folders = [request.model / name for name in ("tokenizer", "tokenizer_2")]
        first, second = (CLIPTokenizer(folder, pad_token=pad_token_of(folder)) for folder in folders)
        pipeline = StableDiffusionXL(config, getattr(ms, request.dtype), tokenizers=(first, second))
        pipeline.load(files.read(checkpoint))
    except SDXLError as error:
        message = f"{checkpoint}: {error}"
        raise WeightsError(message) from error
    if "model" in plant:
        plant["model"](pipeline.model)
    return MindoneSystem(pipeline, request)


class MindoneSystem:
    """The harness's view of a `StableDiffusionXL`."""

    def __init__(self, pipeline: StableDiffusionXL, request: Request) -> None:
        """Wrap a loaded pipeline."""
        case = request.manifest.case
        self.pipeline, self.case, self.manifest, self.dtype = pipeline, case, request.manifest, request.dtype
        self.cells = dict(pipeline.model.cells_and_names())
        name = case["sampling"]["sampler"]
        if name not in _SAMPLERS or case["sampling"]["discretization"] != "DiffusersDDPM":
            message = f"sampler {name} with {case['sampling']['discretization']} cannot be replayed yet; there is EulerAncestral with DiffusersDDPM"
            raise InputError(message)
        self.schedule = pipeline.schedule(case["sampling"]["steps"])
        self.sampler = _SAMPLERS[name](self.schedule)
        self.denoiser = pipeline.denoiser(self.schedule)
        guidance = float(case["sampling"]["guidance"])
        self.guider = VanillaCFG(guidance) if guidance > 1 else Identity()
        self.edits = ExitStack()

    def weights(self) -> Iterable[Parameter]:
        """Return every parameter in the reference's name, layout and shape."""
        parameters = dict(self.pipeline.model.parameters_and_names())
        return pulled_back(self.pipeline.config, parameters, lambda pair: pair.cell, self.manifest)

    def attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the attributes that decide numerics, by the reference's path."""
        found: dict[str, dict[str, Any]] = {}
        for pair in module_pairs(self.pipeline.config):
            cell = self.cells[pair.native]
            values = {name: getattr(cell, name) for name in _ATTRIBUTES if hasattr(cell, name)}
            if isinstance(cell, Conv2d):
                values |= {"stride": [cell.stride] * 2, "padding": [cell.padding] * 2}
            if values:
                found.setdefault(pair.diffusers, {}).update(values)
        schedule = self.pipeline.config.schedule
        found["scheduler"] = {
            "num_train_timesteps": schedule.train_timesteps, "beta_start": schedule.beta_start,
            "beta_end": schedule.beta_end, "beta_schedule": schedule.beta_schedule,
            "prediction_type": schedule.prediction, "steps_offset": schedule.steps_offset,
        }  # fmt: skip
        found["vae"] = {"scaling_factor": self.pipeline.config.vae.scaling_factor}
        found["guidance"] = {"guidance_scale": getattr(self.guider, "scale", 1.0)}
        return found

    def provenance(self) -> dict[str, Any]:
        """Return what MindSpore contributes to the provenance."""
        return mindspore_.describe()

    def floors(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return this platform's own error of each operator in this type; none for float64."""
        return {} if self.dtype == "float64" else mindspore_.floors(self.dtype)

    def observe(self, natives: Sequence[str], seen: Any) -> AbstractContextManager[None]:
        """Hook cells."""
        return mindspore_.observe(self.cells, natives, seen)

    def numpy(self, value: Any) -> dict[str, np.ndarray]:
        """Return the arrays of a native value."""
        return mindspore_.arrays(value)

    def native(self, value: Any, dtype: Any = None) -> Any:
        """Return an array as a tensor: integers as int32, which every operator takes, floats in the networks' type."""
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype.kind in "iu":
            return mindspore_.tensor(value.astype(np.int32))
        return mindspore_.tensor(value).astype(self.pipeline.dtype if dtype is None else dtype)

    def type_of(self, row: Row, key: str = "") -> Any:
        """Return the type in which a row's part of the model computes, and takes the input `key`.

        Latents, timesteps and sizes stay in float32 beside float16 networks, and so does the autoencoder.
        """
        name = row.native if row.function else row.path
        if name.startswith(("vae", "postprocess")):
            return self.pipeline.model.vae.dtype
        wide = name.startswith(("scheduler", "prepare_latents", "guidance", SIZES)) or key.endswith(_WIDE_INPUTS)
        return self.pipeline.latents_dtype if wide else self.pipeline.dtype

    def free(self, given: Given, tap: Tap) -> None:
        """Run everything from prompts, latents and noise."""
        prompt = self.case["prompt"]
        ids = [self._tokenize(prompt["positive"], 0, tap)]
        if self.guider.halves > 1 and prompt["negative"]:
            ids.append(self._tokenize(prompt["negative"], 1, tap))
        conditioning = self._condition([self.pipeline.encode_ids(*both) for both in ids], tap)
        self._schedule(tap)
        noise = given.tensor("prepare_latents:input.noise")
        tap.function("prepare_latents", {"output": self.pipeline.initial_latents(noise, self.schedule).asnumpy()})
        latents = _Watched(self, tap).sample(
            self._watched_sampler(tap), noise, conditioning, guider=self._watched_guider(tap), noises=given.noise
        )
        tap.step(None)
        self._decode(latents, tap)
        self._encode(given, tap)

    def steps(self, given: Given, tap: Tap) -> None:
        """Run every stage and step from the reference's tensors at its start."""
        calls = range(2 if "tokenizer@call=1:output.input_ids" in given.run else 1)
        indexed = len(calls) > 1
        ids = []
        for call in calls:
            at = f"@call={call}" if indexed else ""
            self._tokenize(self.case["prompt"]["negative" if call else "positive"], call, tap)
            ids.append([given.tensor(f"{name}{at}:output.input_ids") for name in ("tokenizer", "tokenizer_2")])
        self._condition([self.pipeline.encode_ids(*both) for both in ids], tap)
        self._schedule(tap)
        noise = given.tensor("prepare_latents:input.noise")
        tap.function("prepare_latents", {"output": self.pipeline.initial_latents(noise, self.schedule).asnumpy()})
        watched, sampler, guider = _Watched(self, tap), self._watched_sampler(tap), self._watched_guider(tap)
        conditioning, denoiser = self._recorded_conditioning(given), watched.denoiser(self.schedule)
        for index in range(self.schedule.steps):
            latents = self.native(
                given.tensor(f"scheduler.step@step={index}:input.sample"), self.pipeline.latents_dtype
            )
            noise_pred = watched.predict_noise(latents, self.schedule.sigmas[index], conditioning, guider, denoiser)
            sampler.step(index, latents, noise_pred, given.noise)
        tap.step(None)
        last = given.tensor(f"scheduler.step@step={self.schedule.steps - 1}:output")
        self._decode(self.native(last, self.pipeline.latents_dtype), tap)
        self._encode(given, tap)

    def layer(
        self, rows: Sequence[Row], inputs: Mapping[str, Any], given: Given, step: int | None
    ) -> Mapping[str, Any]:
        """Run one module or function on recorded inputs."""
        from mindone_sdxl.candidate.layers import replay_function

        row = rows[0]
        if row.function or row.replay:
            return replay_function(self, rows, inputs, given, step)
        arguments = [
            self.native(inputs[key], self.type_of(row, key)) for key in row.ports if inputs.get(key) is not None
        ]
        arrays = mindspore_.arrays(self.cells[row.native](*arguments))
        return {each.port: arrays[each.take] for each in rows if each.take in arrays}

    def apply(self, edit: Edit) -> None:
        """Apply one repair.

        Raises:
            RepairError: it names something that this model does not have.
        """
        if isinstance(edit, WeightEdit):
            parameters = dict(self.pipeline.model.parameters_and_names())
            change_weight(self.pipeline.config, parameters, lambda pair: pair.cell, edit)
        elif isinstance(edit, PrecisionEdit):
            self.edits.enter_context(widen_operators(edit.operators))
        elif isinstance(edit, AttributeEdit):
            natives = [pair.native for pair in module_pairs(self.pipeline.config) if pair.diffusers == edit.path]
            cells = [self.cells[native] for native in natives if hasattr(self.cells[native], edit.name)]
            if not cells:
                message = (
                    f"{edit.path} has no attribute {edit.name!r} here; its cells are {', '.join(natives) or 'none'}"
                )
                raise RepairError(message)
            for cell in cells:
                setattr(cell, edit.name, edit.value)

    def _tokenize(self, texts: Sequence[str], call: int, tap: Tap) -> tuple[np.ndarray, np.ndarray]:
        """Tokenize and report."""
        ids, ids_2 = self.pipeline.tokenize(texts)
        tap.function("tokenizer", {"output.input_ids": ids}, call)
        tap.function("tokenizer_2", {"output.input_ids": ids_2}, call)
        return ids, ids_2

    def _condition(self, embeddings: Sequence[TextEmbeddings], tap: Tap) -> Conditioning:
        """Put positive and negative embeddings and the time ids together, and report them."""
        positive = embeddings[0]
        negative = embeddings[1] if len(embeddings) > 1 else positive.zeros()
        report = {"output.prompt_embeds": positive.context, "output.pooled_prompt_embeds": positive.pooled}
        if self.guider.halves > 1:
            report |= {
                "output.negative_prompt_embeds": negative.context, "output.negative_pooled_prompt_embeds": negative.pooled,
            }  # fmt: skip
        tap.function("encode_prompt", {port: tensor.asnumpy() for port, tensor in report.items()})
        ids = self.time_ids()
        tap.function("add_time_ids", {"output": np.concatenate([ids] * self.guider.halves).astype(_floats(self.dtype))})
        if self.guider.halves > 1:
            return self.pipeline.join(negative, positive, ids)
        return Conditioning(context=positive.context, vector=self.pipeline.vector(positive.pooled, ids))

    def time_ids(self) -> np.ndarray:
        """Return the time ids of the prompts, `[batch, 6]`."""
        size = self.case["size"]
        return time_ids(size["original"], size["crop"], size["target"], len(self.case["prompt"]["positive"]))

    def _recorded_conditioning(self, given: Given) -> Conditioning:
        """Return the reference's conditioning of the UNet."""
        halves = ("negative_", "") if self.guider.halves > 1 else ("",)
        context = [self.native(given.tensor(f"encode_prompt:output.{half}prompt_embeds")) for half in halves]
        pooled = [self.native(given.tensor(f"encode_prompt:output.{half}pooled_prompt_embeds")) for half in halves]
        vector = self.pipeline.vector(ops.cat(pooled), np.concatenate([self.time_ids()] * len(halves)))
        return Conditioning(context=ops.cat(context), vector=vector)

    def _schedule(self, tap: Tap) -> None:
        """Report the noise levels."""
        tap.function("scheduler.set_timesteps", self.schedule_outputs())

    def schedule_outputs(self) -> dict[str, np.ndarray]:
        """Return timesteps, sigmas and the initial scale by port."""
        return {
            "output.timesteps": self.schedule.timesteps, "output.sigmas": self.schedule.sigmas,
            "output.init_noise_sigma": np.asarray(self.schedule.init_noise_sigma),
        }  # fmt: skip

    def _watched_sampler(self, tap: Tap) -> EulerAncestral:
        """Return a sampler of the same class that reports each step."""
        kind = type(self.sampler)

        class Watched(kind):  # type: ignore[misc, valid-type]
            def step(self, *arguments: Any) -> Tensor:
                latents = super().step(*arguments)
                tap.function("scheduler.step", {"output": latents.asnumpy()})
                return latents

        watched: EulerAncestral = Watched(self.schedule)
        return watched

    def _decode(self, latents: Tensor, tap: Tap) -> None:
        """Decode and report."""
        image = self.pipeline.decode(latents)
        tap.function("vae.decode", {"output": image.asnumpy()})
        tap.function("postprocess", {"output": self.pipeline.unit_range(image)})

    def _encode(self, given: Given, tap: Tap) -> None:
        """Encode the case's image and report."""
        if "vae.encode:input.x" in given.run:
            image, noise = (given.tensor(f"vae.encode:input.{key}") for key in ("x", "noise"))
            dtype = self.pipeline.model.vae.dtype
            tap.function("vae.encode", self.encoded(self.native(image, dtype), self.native(noise, dtype)))

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

    def _watched_guider(self, tap: Tap) -> Any:
        """Return the guider, reporting what it returns."""
        return _WatchedGuider(self.guider, tap)

    def masked(self, native: str, hidden: np.ndarray) -> Tensor:
        """Run a text attention or layer with the causal mask that the port makes by itself."""
        return self.cells[native](self.native(hidden), causal_mask(hidden.shape[1], self.pipeline.dtype))

    def pooled(self, last: Tensor, ids: Tensor, component: str) -> np.ndarray:
        """Return the hidden state at the end of each text, before any projection."""
        second = component.startswith("text_encoder_2")
        config = self.pipeline.config.text_encoder_2 if second else self.pipeline.config.text_encoder
        array: np.ndarray = pool(last, ids, config.eos_token_id).asnumpy()
        return array


class _WatchedGuider:
    """Reports what a guider returns."""

    def __init__(self, guider: VanillaCFG | Identity, tap: Tap) -> None:
        self.halves, self._guider, self._tap = guider.halves, guider, tap

    def __call__(self, output: Tensor) -> Tensor:
        guided = self._guider(output)
        if self.halves > 1:
            self._tap.function("guidance", {"output": guided.asnumpy()})
        return guided


class _WatchedDenoiser:
    """Reports the scaled input; everything else is the denoiser's own."""

    def __init__(self, denoiser: Any, tap: Tap) -> None:
        self._denoiser, self._tap = denoiser, tap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def network_input(self, latents: Tensor, sigma: float) -> Tensor:
        scaled = self._denoiser.network_input(latents, sigma)
        self._tap.function("scheduler.scale_model_input", {"output": scaled.asnumpy()})
        return scaled


class _Watched(StableDiffusionXL):
    """The same pipeline on the same model, whose loop tells the tap where it is."""

    def __init__(self, system: MindoneSystem, tap: Tap) -> None:
        self.__dict__.update(system.pipeline.__dict__)
        self._system, self._tap, self._next = system, tap, 0

    def denoiser(self, schedule: Any) -> Any:
        return _WatchedDenoiser(super().denoiser(schedule), self._tap)

    def predict_noise(
        self, latents: Tensor, sigma: Any, conditioning: Conditioning, guider: Any, denoiser: Any
    ) -> Tensor:
        self._tap.step(self._next)
        self._next += 1
        self._tap.function(SIZES, {"output": self._system.size_embeddings(conditioning)})
        return super().predict_noise(latents, sigma, conditioning, guider, denoiser)


def _floats(dtype: str) -> type[np.floating[Any]]:
    """Return the type that numbers which are no network outputs have: float64 beside float64, else float32."""
    return np.float64 if dtype == "float64" else np.float32
