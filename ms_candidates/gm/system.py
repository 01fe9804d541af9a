"""The original as the harness drives it: its engine in one type, free, stage by stage, or one module at a time.

Its own functions do everything: `create_model` builds and loads, the conditioner tokenizes and embeds, the sampler that
`init_sampling` makes runs the loop, the first stage decodes and encodes. The adapter hands over the reference's tensors
and reports what comes back.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from mindspore import Tensor, ops

from mindone_sdxl.candidate.attributes import natives_of, refusal
from mindone_sdxl.candidate.parameters import change_weight, pulled_back
from mindone_sdxl.conditioning import time_ids
from mindone_sdxl.names import module_table
from ms_candidates.gm import checkout
from ms_candidates.gm.attributes import attributes_of, scheduler_attributes, set_attribute
from ms_candidates.gm.rows import EMBEDDER_2, POOLED
from ms_candidates.gm.sampling import Loop, scale_steps
from parity.frameworks.mindspore_system_ import MindSporeSystem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mindone_sdxl.config import SDXLConfig
    from parity.repair import AttributeEdit, WeightEdit
    from parity.replay import Given, Parameter, Reporter, Request
    from parity.trace.schema import Row

__all__ = ["GmSystem", "Loaded"]


@dataclass
class Loaded:
    """What the original's loader did not do: parameters that nothing filled, tensors that fill nothing."""

    unfilled: set[str] = field(default_factory=set)
    unused: list[str] = field(default_factory=list)


class GmSystem(MindSporeSystem):
    """The harness's view of one engine of the original."""

    def __init__(self, engine: Any, helpers: Any, config: SDXLConfig, request: Request, loaded: Loaded) -> None:
        """Wrap a loaded engine, and make the sampler of the case by the original's `init_sampling`."""
        super().__init__(dict(engine.cells_and_names()), request.dtype, request.manifest)
        self.engine, self.config, self.folder = engine, config, checkout.find(request.source)
        self._loaded = loaded
        sampling = self.case["sampling"]
        self.guidance = float(sampling["guidance"])
        self.guided = self.guidance > 1
        with checkout.quiet():
            self.sampler, _, _ = helpers.init_sampling(
                steps=sampling["steps"], sampler=f"{sampling['sampler']}Sampler",
                guider="VanillaCFG" if self.guided else "IdentityGuider", guidance_scale=self.guidance,
                discretization=f"{sampling['discretization']}Discretization",
                img2img_strength=float((self.case.get("image") or {}).get("strength", 1.0)),
            )  # fmt: skip
        self.sampler.verbose = False  # it would print a progress bar of its own
        self.takes_noise = sampling["sampler"] == "EulerAncestral"

    @staticmethod
    def module(name: str) -> Any:
        """Return a module of the source."""
        return sys.modules[f"gm.{name}"]

    def weights(self) -> Iterable[Parameter]:
        """Return every parameter in the reference's name, layout and shape."""
        parameters = dict(self.engine.parameters_and_names())
        return pulled_back(
            self.config, parameters, lambda entry: entry.checkpoint, self.manifest, self._loaded.unfilled
        )

    def attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the attributes that decide numerics, by the reference's path."""
        found: dict[str, dict[str, Any]] = {}
        for entry in module_table(self.config):
            values = attributes_of(self.cells.get(entry.native))
            if values:
                found.setdefault(entry.diffusers, {}).update(values)
        found["scheduler"] = scheduler_attributes(self.sampler)
        found["vae"] = {"scaling_factor": self.engine.scale_factor}
        found["guidance"] = {"guidance_scale": self.guidance}
        return found

    def provenance(self) -> dict[str, Any]:
        """Return MindSpore's part of the provenance, where the source names a type, and what of the checkpoint is unused."""
        casts = checkout.explicit_casts(self.folder)
        return super().provenance() | {
            "source": str(self.folder), "types_named_in_source": casts, "unused_tensors": self._loaded.unused,
        }  # fmt: skip

    def free(self, given: Given, reporter: Reporter) -> None:
        """Run everything from prompts, latents and noise."""
        with checkout.quiet():
            cond, uc = self._condition(given, reporter)
            start = self._encode(given, reporter) if self.case.get("image") else None
            self._sample(given, reporter, (cond, uc, start), restart=False)
            if start is None:
                self._encode(given, reporter)

    def steps(self, given: Given, reporter: Reporter) -> None:
        """Run every stage and step from the reference's tensors at its start."""
        with checkout.quiet():
            cond, uc = self._condition(given, reporter)
            cond = cond | self._recorded_conditioning(given, "", cond["vector"])
            if self.guided:
                uc = uc | self._recorded_conditioning(given, "negative_", uc["vector"])
            self._encode(given, reporter)
            recorded = "prepare_latents:input.init_latents"
            start = self.native(given.tensor(recorded)) if recorded in given.run else None
            self._sample(given, reporter, (cond, uc, start), restart=True)

    def layer(
        self, rows: Sequence[Row], inputs: Mapping[str, Any], given: Given, step: int | None
    ) -> Mapping[str, Any]:
        """Run one module or function on recorded inputs."""
        from ms_candidates.gm.layers import replay

        with checkout.quiet():
            return replay(self, rows, inputs, given, step)

    def edit_weight(self, edit: WeightEdit) -> None:
        """Change the layout of one parameter."""
        parameters = dict(self.engine.parameters_and_names())
        change_weight(self.config, parameters, lambda entry: entry.checkpoint, edit)

    def edit_attribute(self, edit: AttributeEdit) -> None:
        """Set an attribute of the cells that do the work of a path, or scale every step of the sampler.

        Raises:
            RepairError: none of them has it.
        """
        if (edit.path, edit.name) == ("scheduler.step", "step_factor"):
            scale_steps(self, float(edit.value or 0))
            return
        natives = natives_of(self.config, edit.path)
        cells = [self.cells[native] for native in natives if native in self.cells]
        if not any(set_attribute(cell, edit.name, edit.value) for cell in cells):
            raise refusal(edit, natives)

    def batch(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return a batch as the conditioner takes it: the texts, and each size for every one of them."""
        size = self.case["size"]
        ids = time_ids(size["original"], size["crop"], size["target"], len(texts))
        sizes = (self.native(np.asarray(ids[:, index : index + 2])) for index in (0, 2, 4))
        names = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")
        return {"txt": list(texts), **dict(zip(names, sizes, strict=True))}

    def schedule_outputs(self) -> dict[str, np.ndarray]:
        """Return timesteps, sigmas and the initial scale by port, as the sampler's own loop sets them up."""
        scale, _, sigmas, _, _, _ = self.sampler.prepare_sampling_loop(self.native(np.ones((1,))), {})
        index = self.engine.denoiser.sigma_to_idx(sigmas[:-1].astype(self.type))
        floats = np.float64 if self.dtype == "float64" else np.float32
        return {
            "output.timesteps": index.asnumpy().astype(floats), "output.sigmas": sigmas.asnumpy(),
            "output.init_noise_sigma": scale.asnumpy()[0],
        }  # fmt: skip

    def levels(self, latents: Tensor, step: int) -> Tensor:
        """Return the noise level of a step for every image, as the sampler's loop hands it on."""
        _, ones, sigmas, _, _, _ = self.sampler.prepare_sampling_loop(latents.copy(), {})
        return ones * sigmas[step]

    def denoised(self, x: Tensor, noise_pred: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised latents that follow from predicted noise by the denoiser's own factors."""
        c_skip, c_out, _, _ = self.engine.denoiser(sigma, x.ndim)
        return noise_pred * c_out + x * c_skip

    def begun(self, noise: Tensor, start: Tensor | None) -> Tensor:
        """Return what the sampler is given: noise, or an image's latents with noise as `do_img2img` adds it."""
        if start is None:
            return noise.copy()
        sigma = Tensor(self.sampler.discretization(self.sampler.num_steps)[0], start.dtype)
        return (start + noise * sigma) / ops.sqrt(1.0 + sigma**2.0)

    def initial_latents(self, noise: Tensor, start: Tensor | None = None) -> Tensor:
        """Return what the sampler's loop begins with."""
        return self.sampler.prepare_sampling_loop(self.begun(noise, start), {})[0]

    def size_embeddings(self, vector: Tensor) -> np.ndarray:
        """Return the part of the UNet's vector that embeds the sizes, one row for each number."""
        size = self.config.unet.size_embedding_size
        array: np.ndarray = vector.asnumpy()
        return array[:, array.shape[1] - 6 * size :].reshape(-1, size)

    @property
    def embedder_2(self) -> Any:
        """The second text encoder."""
        return self.cells[EMBEDDER_2]

    def pooled_state(self, last: Tensor, ids: Tensor) -> np.ndarray:
        """Return the last state at the end of each text: the embedder's `pool` with an identity for its projection."""
        model = self.embedder_2.model
        projection = model.text_projection.value().copy()
        model.text_projection.set_data(self.native(np.eye(*projection.shape)))
        try:
            pooled: np.ndarray = type(self.embedder_2).pool(self.embedder_2, last, ids).asnumpy()
        finally:
            model.text_projection.set_data(projection)
        return pooled

    def decoded(self, latents: Tensor) -> Tensor:
        """Return the image of final latents."""
        return self.engine.decode_first_stage(latents)

    @staticmethod
    def postprocessed(image: np.ndarray) -> np.ndarray:
        """Return an image in [0, 1], as the last lines of the original's `do_sample` bring it there."""
        return np.clip((image + 1.0) / 2.0, a_min=0.0, a_max=1.0)

    def encoded(self, image: Tensor, noise: Tensor) -> dict[str, np.ndarray]:
        """Return the posterior of an image and its sample by port; the noise stands for what the original draws."""
        first_stage, module = self.engine.first_stage_model, self.module("modules.distributions.distributions")
        found: dict[str, np.ndarray] = {}
        original, operators = first_stage.posterior.get_mean_and_var, module.ops

        def watched(moments: Tensor) -> Any:
            parts = original(moments)
            found.update({"output.mean": parts[0].asnumpy(), "output.logvar": parts[1].asnumpy()})
            return parts

        first_stage.posterior.get_mean_and_var = watched
        module.ops = _Drawn(operators, noise)
        try:
            found["output.sample"] = first_stage.encode(image).asnumpy()
        finally:
            first_stage.posterior.get_mean_and_var = original
            module.ops = operators
        return found

    def _zeros(self, cond: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the conditioning of no negative prompt, where the reference does not encode one either."""
        width = self.config.text_encoder_2.projection_size
        pooled, sizes = cond["vector"][:, :width], cond["vector"][:, width:]
        return {
            "crossattn": ops.zeros_like(cond["crossattn"]),
            "vector": ops.concat((ops.zeros_like(pooled), sizes), 1),
        }

    def _condition(self, given: Given, reporter: Reporter) -> tuple[dict[str, Any], dict[str, Any]]:
        """Embed the prompts as the original does, and report tokens, embeddings and sizes."""
        prompt, conditioner = self.case["prompt"], self.engine.conditioner
        batch = self.batch(prompt["positive"])
        negative = prompt["negative"] or [""] * len(batch["txt"])
        with self._reporting(reporter):
            if self.guided and (prompt["negative"] or "tokenizer@call=1:output.input_ids" in given.run):
                zeros = [] if prompt["negative"] else ["txt"]
                cond, uc = conditioner.get_unconditional_conditioning(batch, self.batch(negative), zeros)
            else:
                cond = conditioner.tokenize_embedding(batch)
                uc = self._zeros(cond) if self.guided else {}
        ids = np.concatenate([value.asnumpy() for name, value in batch.items() if name != "txt"], axis=1)
        reporter.function("encode_prompt", self.prompt_outputs(cond, uc))
        reporter.function("add_time_ids", {"output": np.concatenate([ids] * (2 if self.guided else 1))})
        return cond, uc

    def prompt_outputs(self, cond: Mapping[str, Tensor], uc: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """Return what the conditioner makes of both texts, by port."""
        width = self.config.text_encoder_2.projection_size
        found = {}
        for half, part in (("", cond), ("negative_", uc)):
            if part and (not half or self.guided):
                found[f"output.{half}prompt_embeds"] = part["crossattn"].asnumpy()
                found[f"output.{half}pooled_prompt_embeds"] = part["vector"].asnumpy()[:, :width]
        return found

    @contextmanager
    def _reporting(self, reporter: Reporter) -> Iterator[None]:
        """Report tokens and the state that is pooled."""
        first, second = self.engine.conditioner.embedders[0], self.embedder_2
        calls = {"tokenizer": 0, "tokenizer_2": 0, POOLED: 0}

        def tokenize(name: str, original: Any) -> Any:
            def watched(*arguments: Any, **keywords: Any) -> Any:
                tokens, lengths = original(*arguments, **keywords)
                reporter.function(name, {"output.input_ids": tokens}, calls[name])
                calls[name] += 1
                return tokens, lengths

            return watched

        def pool(last: Tensor, ids: Tensor) -> Tensor:
            reporter.function(POOLED, {"output.pooler_output": self.pooled_state(last, ids)}, calls[POOLED])
            calls[POOLED] += 1
            return type(second).pool(second, last, ids)

        first.tokenize, second.tokenize = (
            tokenize("tokenizer", first.tokenize),
            tokenize("tokenizer_2", second.tokenize),
        )
        second.pool = pool
        try:
            yield
        finally:
            del first.tokenize, second.tokenize, second.pool

    def _recorded_conditioning(self, given: Given, half: str, own: Tensor) -> dict[str, Tensor]:
        """Return the reference's conditioning of one half, beside the sizes as the original has embedded them."""
        names = ("prompt_embeds", "pooled_prompt_embeds")
        context, pooled = (self.native(given.tensor(f"encode_prompt:output.{half}{name}")) for name in names)
        return {"crossattn": context, "vector": ops.concat((pooled, own[:, pooled.shape[1] :]), 1)}

    def vector(self, pooled: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Return pooled embeddings and embedded sizes in one vector, by the conditioner itself."""
        from ms_candidates.gm.layers import with_text

        sizes = [value for name, value in batch.items() if name != "txt"]
        with with_text(self, self.native(np.zeros((pooled.shape[0], 1, 1))), pooled):
            vector, _, _ = self.engine.conditioner.embedding(None, None, *sizes)
        return vector

    def _sample(
        self, given: Given, reporter: Reporter, begin: tuple[Any, Any, Tensor | None], *, restart: bool
    ) -> None:
        """Run the sampler's loop and decode what it gives; `begin` has both conditionings and an image's latents."""
        cond, uc, start = begin
        reporter.function("scheduler.set_timesteps", self.schedule_outputs())
        noise = self.native(given.tensor("prepare_latents:input.noise"))
        reporter.function("prepare_latents", {"output": self.initial_latents(noise, start).asnumpy()})
        noises = self.native(given.noise) if self.takes_noise else None
        latents = Loop(self, reporter, given, restart=restart).run(self.begun(noise, start), noises, cond, uc or None)
        if restart:
            latents = self.native(given.tensor(f"scheduler.step@step={given.step_count - 1}:output"))
        image = self.decoded(latents)
        reporter.function("vae.decode", {"output": image.asnumpy()})
        reporter.function("postprocess", {"output": self.postprocessed(image.asnumpy())})

    def _encode(self, given: Given, reporter: Reporter) -> Tensor | None:
        """Encode the case's image, report, and return its scaled latents."""
        if "vae.encode:input.x" not in given.run:
            return None
        image, noise = (self.native(given.tensor(f"vae.encode:input.{key}")) for key in ("x", "noise"))
        outputs = self.encoded(image, noise)
        reporter.function("vae.encode", outputs)
        return self.engine.scale_factor * self.native(outputs["output.sample"])


class _Drawn:
    """MindSpore's operators, whose `randn` gives what the reference drew."""

    def __init__(self, operators: Any, noise: Tensor) -> None:
        self._operators, self._noise = operators, noise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operators, name)

    def randn(self, *_: Any, **__: Any) -> Tensor:
        return self._noise
