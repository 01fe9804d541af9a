"""Reports what a pipeline does outside its modules: tokens, conditioning, schedule, guidance, step, image.

diffusers' pipeline calls these as methods of its parts, and guides inline between two of them. While
`reported` is active the methods are shadowed on the instances; the classes and their source stay as they are,
and leaving the block, also by an exception, removes the shadows.

Names and ports are those of the contract; see docs/trace-format.md. `guidance` has no function of its own:
its inputs are the halves of the UNet's output, its output is what the scheduler's step receives.
"""

from __future__ import annotations

import functools
import itertools
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from parity.frameworks.torch_ import Observation, Snapshots, observed, watched
from torch_refs.diffusers.samplers import memory, schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch

    from parity.taps import Taps
    from torch_refs.diffusers.draws import Draws

__all__ = ["COMPONENTS", "encode", "module_paths", "reported", "reporting_tokenizer"]

COMPONENTS = ("text_encoder", "text_encoder_2", "unet", "vae")
_EMBEDDINGS = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")


def module_paths(pipeline: Any) -> dict[str, torch.nn.Module]:
    """Return every module of the four components by its path."""
    return {
        f"{component}.{path}" if path else component: module
        for component in COMPONENTS
        for path, module in getattr(pipeline, component).named_modules()
    }


def encode(vae: Any, image: torch.Tensor, generator: torch.Generator, draws: Draws, taps: Taps | None = None) -> None:
    """Encode `image` `[batch, 3, height, width]` in [-1, 1], draw from the posterior, and report both to `taps`."""
    with (
        observed("vae.encode", {"x": image}, taps, Snapshots())
        if taps is not None
        else nullcontext(Observation()) as seen
    ):
        posterior = vae.encode(image).latent_dist
        sample = posterior.sample(generator=generator)
        seen.inputs["noise"] = draws.posterior
        seen.outputs |= {"mean": posterior.mean, "logvar": posterior.logvar, "sample": sample}


@contextmanager
def reported(
    pipeline: Any, taps: Taps, draws: Draws, instead: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Report every module call and named function of `pipeline` while the block runs.

    The block is given a dict that comes to hold what `encode_prompt` and `prepare_latents` computed, and under `memory`
    what the scheduler remembered at the start of each step.

    Args:
        pipeline: A StableDiffusionXLPipeline.
        taps: Who is told.
        draws: The active stand-in for the pipeline's random numbers.
        instead: What `encode_prompt` and `prepare_latents` return after their own result was reported, and the `memory`
            that a lifted scheduler has at each step.
    """
    with ExitStack() as stack:
        functions = _Functions(pipeline, taps, draws, instead or {})
        functions.shadow(stack)
        stack.enter_context(watched(module_paths(pipeline), taps, functions.snapshots))
        yield functions.computed


@contextmanager
def reporting_tokenizer(tokenizer: Any, name: str, taps: Taps, snapshots: Snapshots) -> Iterator[None]:
    """Give a tokenizer a subclass of its class that reports calls as `name`; the untruncated one is no result."""
    kind = type(tokenizer)

    class Reporting(kind):  # type: ignore[misc, valid-type]
        """The tokenizer's own class, reporting."""

        def __call__(self, text: Any, *args: Any, **kwargs: Any) -> Any:
            """Tokenize and report."""
            result = super().__call__(text, *args, **kwargs)
            if kwargs.get("padding") == "max_length":
                call = taps.enter(name)
                taps.value(call, "input.text", list(text))
                taps.tensor(call, "output.input_ids", *snapshots(result["input_ids"]))
                taps.leave(call)
            return result

    tokenizer.__class__ = Reporting
    try:
        yield
    finally:
        tokenizer.__class__ = kind


class _Functions:
    """The shadows of one pipeline's methods."""

    def __init__(self, pipeline: Any, taps: Taps, draws: Draws, instead: Mapping[str, Any]) -> None:
        """Keep what the shadows share."""
        self.snapshots = Snapshots()
        self.computed: dict[str, Any] = {"memory": []}
        self._pipeline = pipeline
        self._taps = taps
        self._draws = draws
        self._instead = instead
        self._prediction: Any = None
        self._steps = itertools.count()

    def shadow(self, stack: ExitStack) -> None:
        """Put every shadow in place; `stack` takes them away."""
        pipeline, scheduler = self._pipeline, self._pipeline.scheduler
        for name in ("tokenizer", "tokenizer_2"):
            stack.enter_context(reporting_tokenizer(getattr(pipeline, name), name, self._taps, self.snapshots))
        for owner, name, report in (
            (pipeline, "encode_prompt", self._encode_prompt),
            (pipeline, "prepare_latents", self._prepare_latents),
            (scheduler, "set_timesteps", self._set_timesteps),
            (scheduler, "scale_model_input", self._scale_model_input),
            (scheduler, "step", self._step),
            (pipeline.vae, "decode", self._decode),
            (pipeline.image_processor, "postprocess", self._postprocess),
        ):
            original = getattr(owner, name)
            setattr(owner, name, functools.wraps(original)(functools.partial(report, original)))
            stack.callback(delattr, owner, name)
        before = pipeline.unet.register_forward_pre_hook(self._time_ids, with_kwargs=True)
        after = pipeline.unet.register_forward_hook(self._predicted)
        stack.callback(before.remove)
        stack.callback(after.remove)

    def _observed(self, path: str, **inputs: Any) -> Any:
        """Report one call of the named function `path`."""
        return observed(path, inputs, self._taps, self.snapshots)

    def _encode_prompt(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Report the embeddings."""
        with self._observed("encode_prompt") as seen:
            result = original(*args, **kwargs)
            seen.outputs |= dict(zip(_EMBEDDINGS, result, strict=True))
        self.computed["encode_prompt"] = result
        return self._instead.get("encode_prompt", result)

    def _set_timesteps(self, original: Callable[..., Any], num_inference_steps: int, *args: Any, **kwargs: Any) -> None:
        """Report the schedule."""
        with self._observed("scheduler.set_timesteps", num_inference_steps=num_inference_steps) as seen:
            original(num_inference_steps, *args, **kwargs)
            seen.outputs |= schedule(self._pipeline.scheduler)

    def _prepare_latents(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Report the noise, of unit variance, and the latents that it becomes."""
        with self._observed("prepare_latents") as seen:
            result = original(*args, **kwargs)
            seen.inputs["noise"] = self._draws.initial
            seen.outputs[""] = result
        self.computed["prepare_latents"] = result
        return self._instead.get("prepare_latents", result)

    def _scale_model_input(self, original: Callable[..., Any], sample: Any, timestep: Any) -> Any:
        """Report the scaling; it is the first thing that happens in a step."""
        self._taps.step = next(self._steps)
        with self._observed("scheduler.scale_model_input", sample=sample, timestep=timestep) as seen:
            result = seen.outputs[""] = original(sample, timestep)
        return result

    def _time_ids(self, _unet: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        """Report, once, the time ids that the UNet gets."""
        if self._taps.step == 0:
            self._taps.step = None
            with self._observed("add_time_ids") as seen:
                seen.outputs[""] = kwargs["added_cond_kwargs"]["time_ids"]
            self._taps.step = 0

    def _predicted(self, _unet: Any, _inputs: Any, output: Any) -> None:
        """Keep the UNet's prediction for the report of the guidance."""
        self._prediction = output[0]

    def _step(
        self, original: Callable[..., Any], model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Report guidance and step; the step ends here."""
        if self._pipeline.do_classifier_free_guidance:
            uncond, text = self._prediction.chunk(2)
            scale = self._pipeline.guidance_scale
            with self._observed(
                "guidance", noise_pred_uncond=uncond, noise_pred_text=text, guidance_scale=scale
            ) as seen:
                seen.outputs[""] = model_output
        self._prediction = None
        step, scheduler = self._taps.step or 0, self._pipeline.scheduler
        if "memory" in self._instead:
            scheduler.memory = self._instead["memory"][step]
        remembered = memory(scheduler)
        self.computed["memory"].append(remembered)
        inputs = {"model_output": model_output, "timestep": timestep, "sample": sample, **remembered}
        with self._observed("scheduler.step", **inputs) as seen:
            result = original(model_output, timestep, sample, *args, **kwargs)
            noise = self._draws.noise(step)
            if noise is not None:
                seen.inputs["noise"] = noise
            seen.outputs[""] = result[0]
        self._taps.step = None
        return result

    def _decode(self, original: Callable[..., Any], z: Any, *args: Any, **kwargs: Any) -> Any:
        """Report the decoder."""
        with self._observed("vae.decode", z=z) as seen:
            result = original(z, *args, **kwargs)
            seen.outputs[""] = result[0]
        return result

    def _postprocess(self, original: Callable[..., Any], image: Any, *args: Any, **kwargs: Any) -> Any:
        """Report the image."""
        with self._observed("postprocess", image=image) as seen:
            result = seen.outputs[""] = original(image, *args, **kwargs)
        return result
