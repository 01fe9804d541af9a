"""mindone's pipeline, watched while it runs: its own call from the prompts to the image, and the encoder beside it.

Methods of the pipeline's parts are shadowed on the instances, as the recorder does on diffusers' side, and removed
afterwards. What is put in is the reference's noise, where the scheduler draws its own, and, in mode steps, the
reference's tensors at the start of each stage and step.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from parity.frameworks import mindspore_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mindspore import Tensor

    from ms_candidates.mindone.system import MindoneSystem
    from parity.replay import Given, Reporter

__all__ = ["EMBEDDINGS", "arguments", "drawing", "encoded", "run", "shadowed"]

EMBEDDINGS: Final = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
_SCHEDULING: Final = "mindone.diffusers.schedulers.scheduling_euler_ancestral_discrete"
_POSTERIOR: Final = "mindone.diffusers.models.autoencoders.vae"


def run(system: MindoneSystem, given: Given, reporter: Reporter, *, restart: bool) -> None:
    """Run the pipeline and the encoder; with `restart` from the reference's tensors at each stage and step."""
    watch = _Watch(system, given, reporter, restart=restart)
    prompt = system.case["prompt"]
    with watch.shadows():
        system.pipeline(
            prompt=list(prompt["positive"]),
            negative_prompt=list(prompt["negative"]) or None,
            latents=system.native(given.tensor("prepare_latents:input.noise")),
            callback_on_step_end=watch.after_step,
            **arguments(system),
        )
    if "vae.encode:input.x" in given.run:
        image, noise = (system.native(given.tensor(f"vae.encode:input.{key}"), "vae") for key in ("x", "noise"))
        reporter.function("vae.encode", encoded(system, image, noise))


def arguments(system: MindoneSystem) -> dict[str, Any]:
    """Return what the case sets in a call of the pipeline, but the texts."""
    sampling, size = system.case["sampling"], system.case["size"]
    return {
        "num_inference_steps": sampling["steps"],
        "guidance_scale": system.guidance,
        "height": size["height"],
        "width": size["width"],
        "original_size": tuple(size["original"]),
        "crops_coords_top_left": tuple(size["crop"]),
        "target_size": tuple(size["target"]),
        "output_type": "ms",
    }


@contextmanager
def shadowed(owner: Any, name: str, made: Callable[..., Any]) -> Iterator[None]:
    """Call `made(original, …)` instead of a method of an instance while the block runs."""
    original = getattr(owner, name)
    object.__setattr__(owner, name, lambda *args, **kwargs: made(original, *args, **kwargs))
    try:
        yield
    finally:
        object.__delattr__(owner, name)


@contextmanager
def drawing(where: str, noise: Callable[[], Tensor]) -> Iterator[None]:
    """Give `noise()` wherever a module of mindone draws random numbers."""
    module = sys.modules[where]
    original = module.randn_tensor
    module.randn_tensor = lambda *_, **__: noise()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.randn_tensor = original  # type: ignore[attr-defined]


def encoded(system: MindoneSystem, image: Tensor, noise: Tensor) -> dict[str, Any]:
    """Return the posterior of an image and its sample by port."""
    vae = system.pipeline.vae
    moments = vae.encode(image)[0]
    mean, logvar, _, _ = vae.diag_gauss_dist.init(moments)
    with drawing(_POSTERIOR, lambda: noise):
        sample = vae.diag_gauss_dist.sample(moments)
    return {"output.mean": mean.asnumpy(), "output.logvar": logvar.asnumpy(), "output.sample": sample.asnumpy()}


def step_drawing(noise: Callable[[], Tensor]) -> Any:
    """Give `noise()` where the scheduler draws."""
    return drawing(_SCHEDULING, noise)


class _Watch:
    """One watched call of the pipeline."""

    def __init__(self, system: MindoneSystem, given: Given, reporter: Reporter, *, restart: bool) -> None:
        """Report to `reporter`."""
        self._system, self._given, self._reporter, self._restart = system, given, reporter, restart
        self._step = -1
        self._calls: dict[str, int] = {}

    @contextmanager
    def shadows(self) -> Iterator[None]:
        """Put every shadow in place."""
        pipeline = self._system.pipeline
        with ExitStack() as stack:
            for name in ("tokenizer", "tokenizer_2"):
                self._shadow_tokenizer(stack, name)
            for owner, name, made in (
                (pipeline, "encode_prompt", self._encode_prompt),
                (pipeline, "prepare_latents", self._prepare_latents),
                (pipeline.scheduler, "set_timesteps", self._set_timesteps),
                (pipeline.scheduler, "scale_model_input", self._scale_model_input),
                (pipeline.scheduler, "step", self._scheduler_step),
                (pipeline.vae, "decode", self._decode),
                (pipeline.image_processor, "postprocess", self._postprocess),
                (pipeline.unet, "construct", self._unet),
            ):
                stack.enter_context(shadowed(owner, name, made))
            stack.enter_context(step_drawing(lambda: self._system.native(self._given.noise[self._step])))
            yield

    def after_step(self, _pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Return the latents of the next step."""
        if not self._restart:
            return tensors
        last = step + 1 == self._given.step_count
        address = f"scheduler.step@step={step}:output" if last else f"scheduler.step@step={step + 1}:input.sample"
        return {"latents": self._system.native(self._given.tensor(address))}

    def _shadow_tokenizer(self, stack: ExitStack, name: str) -> None:
        """Give the tokenizer a subclass of its class that reports padded calls; the untruncated one is no result."""
        tokenizer, watch = getattr(self._system.pipeline, name), self
        kind = type(tokenizer)

        class Reporting(kind):  # type: ignore[misc, valid-type]
            """The tokenizer's own class, reporting."""

            def __call__(self, text: Any, *args: Any, **kwargs: Any) -> Any:
                """Tokenize and report."""
                result = super().__call__(text, *args, **kwargs)
                if kwargs.get("padding") == "max_length":
                    watch.report(name, {"output.input_ids": result.input_ids})
                return result

        tokenizer.__class__ = Reporting
        stack.callback(setattr, tokenizer, "__class__", kind)

    def report(self, name: str, outputs: dict[str, Any]) -> None:
        """Report one more call of a function outside the loop."""
        call = self._calls.get(name, 0)
        self._calls[name] = call + 1
        self._reporter.function(name, outputs, call)

    def _encode_prompt(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Report the embeddings."""
        result = original(*args, **kwargs)
        found = {name: tensor for name, tensor in zip(EMBEDDINGS, result, strict=True) if tensor is not None}
        self.report("encode_prompt", {f"output.{name}": tensor.asnumpy() for name, tensor in found.items()})
        if not self._restart:
            return result
        recorded = {name: self._given.tensor(f"encode_prompt:output.{name}") for name in found}
        return tuple(self._system.native(recorded[name]) if name in recorded else None for name in EMBEDDINGS)

    def _prepare_latents(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Report what the initial noise becomes."""
        result = original(*args, **kwargs)
        self.report("prepare_latents", {"output": result.asnumpy()})
        return self._system.native(self._given.tensor("prepare_latents:output")) if self._restart else result

    def _set_timesteps(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Report the schedule."""
        original(*args, **kwargs)
        scheduler = self._system.pipeline.scheduler
        names = ("timesteps", "sigmas", "init_noise_sigma")
        self.report("scheduler.set_timesteps", {f"output.{name}": getattr(scheduler, name).asnumpy() for name in names})

    def _scale_model_input(self, original: Callable[..., Any], *args: Any) -> Any:
        """Report the scaling; it is the first thing that happens in a step."""
        self._step += 1
        self._reporter.step(self._step)
        result = original(*args)
        self._reporter.function("scheduler.scale_model_input", {"output": result.asnumpy()})
        return result

    def _unet(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Report, once, the time ids that the UNet gets."""
        if self._step == 0:
            self._reporter.step(None)
            self._reporter.function("add_time_ids", {"output": kwargs["added_cond_kwargs"]["time_ids"].asnumpy()})
            self._reporter.step(0)
        return original(*args, **kwargs)

    def _scheduler_step(self, original: Callable[..., Any], model_output: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Report guidance and step; the step ends here."""
        if self._system.guided:
            self._reporter.function("guidance", {"output": model_output.asnumpy()})
        result = original(model_output, *args, **kwargs)
        self._reporter.function("scheduler.step", {"output": result[0].asnumpy()})
        self._reporter.step(None)
        return result

    def _decode(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Report the decoder."""
        result = original(*args, **kwargs)
        self.report("vae.decode", {"output": mindspore_.arrays(result)["0"]})
        return result

    def _postprocess(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Report the image."""
        result = original(*args, **kwargs)
        self.report("postprocess", {"output": result.asnumpy()})
        return result
