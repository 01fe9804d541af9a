"""A pipeline that someone else loaded and calls: the call is watched, understood as a case, and can be made again.

    with OwnCall(pipeline) as call:
        images = pipeline("a fox", generator=torch.Generator().manual_seed(7)).images
    record(call.resolved, call, "trace")

The call itself runs without a hook; only what its callback and its image processor get is digested. Made again, from
the state that its random generators had, it is the first of the recorder's runs, so the check `neutral` says whether
the recording computes what the user's own call computed.

Limits: StableDiffusionXLPipeline with a scheduler of `torch_refs.diffusers.samplers`; one call; arguments that a case cannot say
(embeddings, adapters, own timesteps, a second prompt) are refused before anything runs.
"""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

from parity.case import DIFFUSION, Case, Model, Precision, Prompt, Resolved, Sampling, Size
from parity.errors import CaseError, InputError
from parity.frameworks.torch_ import TYPES, to_numpy
from parity.frameworks.torch_policy_ import exact_float32
from parity.record import Outcome
from parity.trace import digest
from torch_refs.diffusers.draws import Draws
from torch_refs.diffusers.samplers import check, of_scheduler
from torch_refs.diffusers.system import DiffusersSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from parity.record import Progress
    from parity.taps import Taps

__all__ = ["OwnCall"]

_SOURCE: Final = "call"
_UNDERSTOOD: Final = frozenset({
    "prompt", "negative_prompt", "height", "width", "num_inference_steps", "guidance_scale", "generator", "latents",
    "output_type", "return_dict", "original_size", "crops_coords_top_left", "target_size",
})  # fmt: skip


class OwnCall:
    """A reference made of a pipeline in memory and the one call of it that was watched."""

    name = "diffusers"
    sections = DIFFUSION

    def __init__(self, pipeline: Any, model: str | Path | None = None) -> None:
        """Take a pipeline; `model` is the folder that it was loaded from, where the pipeline does not know it.

        Raises:
            InputError: it is another pipeline, has another scheduler, or draws a watermark.
        """
        if type(pipeline) is not StableDiffusionXLPipeline:
            message = f"the pipeline is a {type(pipeline).__name__}; only StableDiffusionXLPipeline can be recorded"
            raise InputError(message)
        self._sampler = of_scheduler(pipeline.scheduler)
        if pipeline.watermark is not None:
            message = "the pipeline draws a watermark, which no candidate does; load it with add_watermarker=False"
            raise InputError(message)
        self._pipeline = pipeline
        self._model = model
        self._stack = ExitStack()
        self._resolved: Resolved | None = None
        self._outcome: Outcome | None = None
        self._latents: torch.Tensor | None = None
        self._generators: list[torch.Generator] = []

    @property
    def resolved(self) -> Resolved:
        """The call as a case.

        Raises:
            InputError: the pipeline was not called.
        """
        if self._resolved is None or self._outcome is None:
            message = "the pipeline was not called while it was recorded; call it once in the with-block"
            raise InputError(message)
        return self._resolved

    def __enter__(self) -> Self:
        """Watch calls of the pipeline."""
        watch = self._watch

        class Watched(StableDiffusionXLPipeline):
            """The pipeline's own class, watched."""

            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                """Call the pipeline."""
                return watch(super().__call__, *args, **kwargs)

        Watched.__name__ = StableDiffusionXLPipeline.__name__
        self._pipeline.__class__ = Watched
        self._stack.callback(setattr, self._pipeline, "__class__", StableDiffusionXLPipeline)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the pipeline be what it was."""
        self._stack.close()

    def load(self, resolved: Resolved, *, device: str, dtype: str, source: Path | None = None) -> DiffusersSystem:
        """Return a system on the pipeline as it is.

        Raises:
            InputError: another type is asked for than the pipeline has.
        """
        del device, source
        own = resolved.case.precision.dtype
        if dtype != own:
            message = (
                f"the pipeline was called in {own}, not in {dtype}; leave the working type out, or call it in {dtype}"
            )
            raise InputError(message)
        states = [(each.device, each.get_state()) for each in self._generators]
        return _AgainSystem(self._pipeline, resolved.case, dtype, self._outcome, states, self._latents)

    def _watch(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Understand the call, run it, and digest its latents and its image."""
        if self._resolved is not None:
            message = "the pipeline was called twice while it was recorded; record one call in each with-block"
            raise InputError(message)
        bound = inspect.signature(StableDiffusionXLPipeline.__call__).bind(self._pipeline, *args, **kwargs)
        given = dict(bound.arguments)
        del given["self"]
        self._refuse(given)
        self._resolved = Resolved(**self._case(given))
        self._keep(given)
        finals: dict[str, str] = {}

        def after(_pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            finals[f"latents@step={step}"] = digest(*to_numpy(tensors["latents"]))
            return {}

        processor = self._pipeline.image_processor
        postprocess = processor.postprocess

        def processed(image: Any, *rest: Any, **more: Any) -> Any:
            finals["image"] = digest(*to_numpy(postprocess(image, output_type="pt")))
            return postprocess(image, *rest, **more)

        processor.postprocess = processed
        try:
            with exact_float32():
                result = original(**given, callback_on_step_end=after)
        finally:
            del processor.postprocess
        self._outcome = Outcome(finals=finals, latents=None, noise=None)
        return result

    def _refuse(self, given: dict[str, Any]) -> None:
        """Raise for an argument that a case cannot say."""
        parameters = inspect.signature(StableDiffusionXLPipeline.__call__).parameters
        for name, value in given.items():
            default = parameters[name].default if name in parameters else None
            understood = name in _UNDERSTOOD or name in self._sampler.options
            if not understood and not _same(value, default):
                message = (
                    f"the call has {name}={value!r:.80}, which a case cannot say; only the default can be recorded"
                )
                raise CaseError(message)
        if given.get("prompt") is None:
            message = "the call has no prompt; a case needs one"
            raise CaseError(message)
        if given.get("output_type") == "latent":
            message = "the call has output_type='latent'; the decoder is recorded too, give 'pil', 'np' or 'pt'"
            raise CaseError(message)

    def _case(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the call as the fields of a resolved case."""
        pipeline = self._pipeline
        side = pipeline.default_sample_size * pipeline.vae_scale_factor
        height, width = given.get("height") or side, given.get("width") or side
        positive = _texts(given["prompt"], 1)
        negative = given.get("negative_prompt")
        generators = _generators(given)
        defaults = inspect.signature(StableDiffusionXLPipeline.__call__).parameters
        try:
            case = Case(
                schema=1,
                model=Model(folder=str(self._folder())),
                prompt=Prompt(positive=positive, negative=[] if negative is None else _texts(negative, len(positive))),
                sampling=Sampling(
                    sampler=self._sampler.name,
                    steps=given.get("num_inference_steps", defaults["num_inference_steps"].default),
                    guidance=float(given.get("guidance_scale", defaults["guidance_scale"].default)),
                    seed=(generators[0].initial_seed() if generators else torch.initial_seed()) & (2**63 - 1),
                    **self._settings(given),
                ),
                size=Size(
                    height=height,
                    width=width,
                    original=tuple(given.get("original_size") or (height, width)),
                    crop=tuple(given.get("crops_coords_top_left") or (0, 0)),
                    target=tuple(given.get("target_size") or (height, width)),
                ),
                precision=Precision(dtype=_type_name(pipeline.unet.dtype)),
            )
            case = msgspec.convert(msgspec.to_builtins(case), Case)
        except (TypeError, ValueError) as error:
            message = f"the call is no case: {error}"
            raise CaseError(message) from error
        check(pipeline.scheduler, case.sampling)
        sources = {
            f"{section}.{key}": _SOURCE
            for section in ("model", "prompt", "sampling", "size", "precision")
            for key in msgspec.to_builtins(getattr(case, section))
        }
        sources |= {f"encode.{key}": "default" for key in case.encode.__struct_fields__}
        return {"case": case, "sources": sources, "base": str(Path.cwd())}

    def _settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return what the call and its scheduler set of the sampler, where it is not the sampler's own."""
        karras = "karras" in self._sampler.options and self._pipeline.scheduler.config["use_karras_sigmas"]
        found: dict[str, Any] = {"karras": True} if karras else {}
        if "eta" in self._sampler.options and given.get("eta"):
            found["eta"] = float(given["eta"])
        return found

    def _folder(self) -> Path:
        """Return the folder of the weights.

        Raises:
            CaseError: it is not known, or is not there.
        """
        name = str(self._model or self._pipeline.config.get("_name_or_path") or "")
        if name and Path(name).is_dir():
            return Path(name).resolve()
        message = (
            f"the pipeline's weights are at {name!r}, which is no folder here; give recording(…, model=FOLDER), "
            "a candidate is loaded from it"
        )
        raise CaseError(message)

    def _keep(self, given: dict[str, Any]) -> None:
        """Keep what the call starts from: its generators' states and its latents."""
        generators = _generators(given)
        if not generators:
            device = self._pipeline.device
            state = torch.get_rng_state() if device.type == "cpu" else torch.cuda.get_rng_state(device)
            generators = [torch.Generator(device)]
            generators[0].set_state(state)
        self._generators = [torch.Generator(each.device) for each in generators]
        for copy, each in zip(self._generators, generators, strict=True):
            copy.set_state(each.get_state())
        latents = given.get("latents")
        self._latents = None if latents is None else latents.detach().clone()


class _AgainSystem(DiffusersSystem):
    """A system whose bare run was the user's own call, and whose other runs begin where that began."""

    def __init__(
        self,
        pipeline: Any,
        case: Case,
        dtype: str,
        outcome: Outcome | None,
        states: list[tuple[torch.device, torch.Tensor]],
        latents: torch.Tensor | None,
    ) -> None:
        """Keep the call's outcome and what it started from."""
        super().__init__(pipeline, case, dtype)
        self._threads = torch.get_num_threads()  # the call's own; another number may give other bits
        self._outcome, self._states, self._latents = outcome, states, latents

    def run(self, taps: Taps | None, progress: Progress) -> Outcome:
        """Run the call again; the bare run is the one that the user made."""
        if taps is None and self._outcome is not None:
            progress(1, 1)
            return self._outcome
        return super().run(taps, progress)

    def _generator(self) -> Any:
        """Return generators in the state in which the call found its own."""
        generators = []
        for device, state in self._states:
            generators.append(torch.Generator(device))
            generators[-1].set_state(state)
        return generators[0] if len(generators) == 1 else generators

    def _draws(self) -> Draws:
        """Return draws that begin with the call's latents, where it gave some."""
        return Draws(initial=self._latents)


def _generators(given: dict[str, Any]) -> list[torch.Generator]:
    """Return the call's generators; none where it uses torch's own."""
    found = given.get("generator")
    if found is None:
        return []
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _texts(value: str | list[str], count: int) -> list[str]:
    """Return texts as a list; a single one counts for all of `count`."""
    return [value] * count if isinstance(value, str) else list(value)


def _type_name(dtype: torch.dtype) -> Any:
    """Return the name of a floating type."""
    return next((name for name, each in TYPES.items() if each == dtype), str(dtype))


def _same(value: Any, default: Any) -> bool:
    """Tell whether an argument has its default's value; None and what diffusers takes for none are the same."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return False
    return bool(value == default) or (value is None and default is inspect.Parameter.empty)
