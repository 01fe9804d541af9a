"""One loaded model as the harness drives it: free, stage by stage, or one module at a time.

The free run is the pipeline's own loop. Guidance, input scaling and the sampler's step are no cells, so the objects
that do them are wrapped to report what they return; nothing about how they compute changes.
"""

from __future__ import annotations

import runpy
from contextlib import ExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops
from parity.errors import RepairError, WeightsError
from parity.frameworks import mindspore_
from parity.frameworks.mindspore_wide_ import widen_operators
from parity.repair import AttributeEdit, PrecisionEdit, WeightEdit

from mindone_sdxl import files
from mindone_sdxl.candidate import read_config
from mindone_sdxl.candidate.parameters import change_weight, checkpoint_state, pulled_back
from mindone_sdxl.candidate.rows import SIZES
from mindone_sdxl.candidate.watching import Watched, watched_sampler
from mindone_sdxl.conditioning import Conditioning, TextEmbeddings, time_ids
from mindone_sdxl.config_yaml import from_yaml
from mindone_sdxl.discretization import DISCRETIZATIONS
from mindone_sdxl.errors import SDXLError
from mindone_sdxl.guidance import Identity, VanillaCFG
from mindone_sdxl.layers import Conv2d
from mindone_sdxl.models import tokenizers
from mindone_sdxl.names import module_pairs
from mindone_sdxl.pipeline import StableDiffusionXL
from mindone_sdxl.registry import SAMPLERS
from mindone_sdxl.text_encoders import causal_mask, pool
from mindone_sdxl.tokenizer import CLIPTokenizer, pad_token_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from parity.repair import Edit
    from parity.replay import Given, Parameter, Request, Tap
    from parity.trace.schema import Row

__all__ = ["MindoneSystem", "build"]

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
        config = read_config(request)
        if request.weights is None and not checkpoint.exists():
            state = checkpoint_state(request, config)
            if "checkpoint" in plant:
                plant["checkpoint"](state)
            files.write(checkpoint, state)
        pipeline = StableDiffusionXL(config, getattr(ms, request.dtype), tokenizers=_tokenizers(request))
        pipeline.load(files.read(checkpoint))
    except SDXLError as error:
        message = f"{checkpoint}: {error}"
        raise WeightsError(message) from error
    if "model" in plant:
        plant["model"](pipeline.model)
    return MindoneSystem(pipeline, request)


def _tokenizers(request: Request) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """Return the tokenizers of a diffusers folder, or those of a single file, whose second one is OpenCLIP's."""
    if request.config is None:
        folders = [request.model / name for name in ("tokenizer", "tokenizer_2")]
        first, second = (CLIPTokenizer(folder, pad_token=pad_token_of(folder)) for folder in folders)
        return first, second
    path = str(request.config)
    options = SimpleNamespace(tokenizer_path="", config=path, pad_token_is_special=False)
    return tokenizers(options, path, from_yaml(path))


class MindoneSystem:
    """The harness's view of a `StableDiffusionXL`.

    `stability` tells that the reference is Stability-AI's package: it guides clean latents and not the prediction,
    embeds the sizes once before the loop, and encodes "" for a negative prompt that is not given.
    """

    def __init__(self, pipeline: StableDiffusionXL, request: Request) -> None:
        """Wrap a loaded pipeline."""
        case = request.manifest.case
        self.pipeline, self.case, self.manifest, self.dtype = pipeline, case, request.manifest, request.dtype
        self.cells = dict(pipeline.model.cells_and_names())
        self.stability = "quantity" in request.manifest.attributes.get("guidance", {})
        sampling, image = case["sampling"], case.get("image")
        place = DISCRETIZATIONS[sampling["discretization"]](pipeline.config.schedule)
        whole = pipeline.schedule(sampling["steps"], place)
        self.schedule = whole if image is None else whole.tail(float(image["strength"]))
        self.sampler = SAMPLERS[sampling["sampler"]](self.schedule)
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
        ids = [self._tokenize(texts, call, tap) for call, texts in enumerate(self._texts())]
        conditioning = self._condition([self.pipeline.encode_ids(*both) for both in ids], tap)
        self._schedule(tap)
        encoded = self._encode(given, tap)
        start = self._prepare(given, encoded, tap)
        watched = Watched(self, tap)
        latents = watched.denoise(
            watched_sampler(self, watched, tap), start, conditioning, guider=self.guider, noises=self.noises(given)
        )
        tap.step(None)
        self._decode(latents, tap)

    def steps(self, given: Given, tap: Tap) -> None:
        """Run every stage and step of which something is wanted from the reference's tensors at its start."""
        if tap.wants(None):
            self._stages(given, tap)
        self._loop(given, tap)
        if tap.wants(None):
            last = given.tensor(f"scheduler.step@step={self.schedule.steps - 1}:output")
            self._decode(self.native(last, self.pipeline.latents_dtype), tap)

    def _stages(self, given: Given, tap: Tap) -> None:
        """Run every stage before the loop from what the reference gave to it."""
        texts, ids = self._texts(), []
        for call, prompts in enumerate(texts):
            at = f"@call={call}" if len(texts) > 1 else ""
            self._tokenize(prompts, call, tap)
            ids.append([given.tensor(f"{name}{at}:output.input_ids") for name in ("tokenizer", "tokenizer_2")])
        self._condition([self.pipeline.encode_ids(*both) for both in ids], tap)
        self._schedule(tap)
        self._encode(given, tap)
        self._prepare(given, None, tap)

    def _loop(self, given: Given, tap: Tap) -> None:
        """Run the steps, each from the reference's latents."""
        watched = Watched(self, tap)
        sampler, denoiser = watched_sampler(self, watched, tap), watched.denoiser(self.schedule)
        conditioning = self._recorded_conditioning(given)

        def predict(latents: Tensor, sigma: Any) -> Tensor:
            return watched.predict_noise(latents, sigma, conditioning, self.guider, denoiser)

        for index in filter(tap.wants, range(self.schedule.steps)):
            inputs = given.inputs("scheduler.step", index, None)
            latents = self.native(inputs["sample"], self.pipeline.latents_dtype)
            sampler.recall(index, self.memory(inputs))
            latents, sigma = sampler.prepare(index, latents)
            sampler.step(index, latents, predict(latents, sigma), self.noises(given), predict)
        tap.step(None)

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

    def noises(self, given: Given) -> np.ndarray | None:
        """Return the reference's noise of every step; None for a sampler that adds none."""
        return given.noise if self.sampler.uses_noise else None

    def memory(self, inputs: Mapping[str, Any]) -> list[Tensor]:
        """Return what the reference's sampler remembered at the start of a step, the last step first."""
        keys = [key for key in inputs if key == "old_denoised" or key.startswith("history.")]
        return [self.native(inputs[key], self.pipeline.latents_dtype) for key in keys if inputs[key] is not None]

    def _texts(self) -> list[list[str]]:
        """Return the texts of each call of the text encoders."""
        prompt = self.case["prompt"]
        negative = prompt["negative"] or ([""] * len(prompt["positive"]) if self.stability else [])
        return [prompt["positive"], negative] if self.guider.halves > 1 and negative else [prompt["positive"]]

    def _prepare(self, given: Given, encoded: Tensor | None, tap: Tap) -> Tensor:
        """Return and report the latents of the first step, from the noise and, image to image, from an encoded image.

        Without `encoded` the image's latents are the reference's.
        """
        noise = given.tensor("prepare_latents:input.noise")
        if self.case.get("image") is None:
            latents = self.pipeline.initial_latents(noise, self.schedule)
        else:
            clean = given.tensor("prepare_latents:input.init_latents") if encoded is None else None
            start = (
                self.native(clean, self.pipeline.latents_dtype)
                if encoded is None
                else self.pipeline.scale_latents(encoded)
            )
            latents = self.pipeline.noised_latents(start, noise, self.schedule)
        tap.function("prepare_latents", {"output": latents.asnumpy()})
        return latents

    def _tokenize(self, texts: Sequence[str], call: int, tap: Tap) -> tuple[np.ndarray, np.ndarray]:
        """Tokenize and report."""
        ids, ids_2 = self.pipeline.tokenize(texts)
        tap.function("tokenizer", {"output.input_ids": ids}, call)
        tap.function("tokenizer_2", {"output.input_ids": ids_2}, call)
        return ids, ids_2

    def _condition(self, embeddings: Sequence[TextEmbeddings], tap: Tap) -> Conditioning:
        """Put positive and negative embeddings and the time ids together, and report them."""
        positive = embeddings[0]
        negative = embeddings[1] if len(embeddings) > 1 and self.case["prompt"]["negative"] else positive.zeros()
        report = {"output.prompt_embeds": positive.context, "output.pooled_prompt_embeds": positive.pooled}
        if self.guider.halves > 1:
            report |= {
                "output.negative_prompt_embeds": negative.context, "output.negative_pooled_prompt_embeds": negative.pooled,
            }  # fmt: skip
        tap.function("encode_prompt", {port: tensor.asnumpy() for port, tensor in report.items()})
        ids = self.time_ids()
        tap.function("add_time_ids", {"output": np.concatenate([ids] * self.guider.halves).astype(_floats(self.dtype))})
        if self.guider.halves > 1:
            conditioning = self.pipeline.join(negative, positive, ids)
        else:
            conditioning = Conditioning(context=positive.context, vector=self.pipeline.vector(positive.pooled, ids))
        if self.stability:
            for call, part in enumerate(self._size_parts(conditioning)):
                tap.function(SIZES, {"output": part}, call)
        return conditioning

    def _size_parts(self, conditioning: Conditioning) -> Iterator[np.ndarray]:
        """Yield the embeddings of original size, crop and target, of the prompts and then of the negative ones."""
        size = self.pipeline.config.unet.size_embedding_size
        parts = self.size_embeddings(conditioning).reshape(self.guider.halves, -1, 3, 2, size)
        for half in reversed(parts):
            for part in range(3):
                yield half[:, part].reshape(-1, size)

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

    def _decode(self, latents: Tensor, tap: Tap) -> None:
        """Decode and report."""
        image = self.pipeline.decode(latents)
        tap.function("vae.decode", {"output": image.asnumpy()})
        tap.function("postprocess", {"output": self.pipeline.unit_range(image)})

    def _encode(self, given: Given, tap: Tap) -> Tensor | None:
        """Encode the case's image, report, and return its latents, unscaled; None where the reference encoded none."""
        if "vae.encode:input.x" not in given.run:
            return None
        image, noise = (given.tensor(f"vae.encode:input.{key}") for key in ("x", "noise"))
        dtype = self.pipeline.model.vae.dtype
        found = self.encoded(self.native(image, dtype), self.native(noise, dtype))
        tap.function("vae.encode", found)
        return self.native(found["output.sample"], self.pipeline.latents_dtype)

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

    def masked(self, native: str, hidden: np.ndarray) -> Tensor:
        """Run a text attention or layer with the causal mask that the port makes by itself."""
        return self.cells[native](self.native(hidden), causal_mask(hidden.shape[1], self.pipeline.dtype))

    def pooled(self, last: Tensor, ids: Tensor, component: str) -> np.ndarray:
        """Return the hidden state at the end of each text, before any projection."""
        second = component.startswith("text_encoder_2")
        config = self.pipeline.config.text_encoder_2 if second else self.pipeline.config.text_encoder
        array: np.ndarray = pool(last, ids, config.eos_token_id).asnumpy()
        return array


def _floats(dtype: str) -> type[np.floating[Any]]:
    """Return the type that numbers which are no network outputs have: float64 beside float64, else float32."""
    return np.float64 if dtype == "float64" else np.float32
