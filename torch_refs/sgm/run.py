"""One run of a case through Stability-AI's package: condition, prepare, sample, decode, and encode an image.

The order is that of the package's own demo (`do_sample`, `do_img2img`); its watermark and, for float32, its autocast
are left out. Networks in a half type run under autocast in that type, as the demo runs them; latents and the
autoencoder stay in float32.

`generate` runs the bare package. `reported` is the same with everything reported. Random numbers come from torch's
global generator, seeded by the case and put back afterwards, and are kept in `Drawn`; numbers that are given are
used instead of drawing.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from parity.errors import ParityError
from parity.frameworks.torch_ import TYPES, Observation, Snapshots, observed, watched
from torch_refs.diffusers.functions import reporting_tokenizer
from torch_refs.sgm.package import quiet_package
from torch_refs.sgm.sampling import Steps, Watch, make_sampler
from torch_refs.sgm.text import reporting_text
from torch_refs.sgm.views import views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parity.case import Case
    from parity.taps import Taps
    from torch_refs.sgm.engine import Engine

__all__ = ["Drawn", "Images", "Instead", "Run", "replaced"]


@dataclass
class Drawn:
    """The random numbers of a run, by what they are for, and in order within that."""

    numbers: dict[str, list[torch.Tensor]] = field(default_factory=dict)

    def take(self, what: str, like: torch.Tensor, given: Drawn | None, draw: Callable[[], torch.Tensor]) -> Any:
        """Draw, or take the next number that is given for this, in the type of `like`; keep it."""
        kept = self.numbers.setdefault(what, [])
        if given is None:
            drawn = draw()
        else:
            others = given.numbers.get(what, [])
            if len(kept) >= len(others) or others[len(kept)].shape != like.shape:
                message = f"the run draws {what} number {len(kept)} of shape {list(like.shape)}, which the working run did not draw so; record both with one version"
                raise ParityError(message)
            drawn = others[len(kept)].to(like)
        kept.append(drawn.detach().clone())
        return drawn


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images `[batch, 3, height, width]` in [-1, 1]: what a run starts from, and what goes through the encoder."""

    start: torch.Tensor | None
    encode: torch.Tensor


@dataclass(kw_only=True)
class Instead:
    """What takes the place of a run's own results: conditioning, and latents and memory at each step."""

    conditioning: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor] | None] | None = None
    steps: Steps | None = None


class Run:
    """One run; made anew for each."""

    def __init__(
        self, engine: Engine, case: Case, images: Images, *, dtype: str, given: Drawn | None, progress: Any
    ) -> None:
        """Prepare to run `case`; `given` holds random numbers, or None to draw."""
        self.drawn = Drawn()
        self.conditioning: Any = None
        self.steps = Steps()
        self._engine, self._case, self._images, self._given, self._progress = engine, case, images, given, progress
        self._autocast = dtype in {"float16", "bfloat16"}
        self._dtype = dtype
        self._device = engine.device
        self._taps: Taps | None = None
        self._snapshots = Snapshots()
        self._watch: Watch | None = None

    def generate(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Run without a hook; return final latents and images in [0, 1]."""
        return self._generate(Instead())

    def reported(self, taps: Taps, instead: Instead | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Run and report to `taps`; return final latents and images."""
        self._taps = taps
        with ExitStack() as stack:
            stack.enter_context(self._functions(taps))
            stack.enter_context(watched(views(self._engine), taps, self._snapshots))
            found = self._generate(instead or Instead())
            if self._case.image is None:
                with _seeded(self._case.encode.seed):
                    self._encode(self._images.encode, "encoded image")
        return found

    def _generate(self, instead: Instead) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the case."""
        engine, case = self._engine.module, self._case
        with quiet_package(), torch.no_grad(), _seeded(case.sampling.seed):
            with self._half():
                cond, uc = self._condition()
            if instead.conditioning is not None:
                cond, uc = (self._with_texts(*both) for both in zip((cond, uc), instead.conditioning, strict=True))
            sampler = make_sampler(self._engine, case, str(self._device))
            sigmas = self._schedule(sampler)
            start = (
                None if self._images.start is None else self._encode(self._images.start, "image") * engine.scale_factor
            )
            noise = self._initial_noise(start)
            with self._half():
                latents = self._sample(sampler, cond, uc, (noise, start, sigmas), instead)
            images = engine.decode_first_stage(latents)
            with self._observed("postprocess", image=images) as seen:
                seen.outputs[""] = finished = torch.clamp((images + 1.0) / 2.0, min=0.0, max=1.0)
        return latents, finished

    def _observed(self, path: str, native: str | None = None, **inputs: Any) -> Any:
        """Report one call of a named function, to nobody in a bare run."""
        if self._taps is None:
            return nullcontext(Observation())
        return observed(path, inputs, self._taps, self._snapshots, native)

    def _half(self) -> Any:
        """Return the demo's autocast for networks in a half type."""
        return torch.autocast(self._device.type, dtype=TYPES[self._dtype]) if self._autocast else nullcontext()

    def _condition(self) -> tuple[Any, Any]:
        """Return the conditioning and, with guidance, the unconditional one; zeros for a prompt that is not given."""
        case, conditioner = self._case, self._engine.module.conditioner
        count = len(case.prompt.positive)
        sizes = {
            name: torch.tensor([list(values)] * count, device=self._device)
            for name, values in (
                ("original_size_as_tuple", case.size.original),
                ("crop_coords_top_left", case.size.crop),
                ("target_size_as_tuple", case.size.target),
            )
        }
        batch = {"txt": list(case.prompt.positive), **sizes}
        guided = case.sampling.guidance > 1
        with self._observed("encode_prompt", "conditioner") as seen:
            if guided:
                negative = list(case.prompt.negative) or [""] * count
                zeros = [] if case.prompt.negative else ["txt"]
                cond, uc = conditioner.get_unconditional_conditioning(
                    batch, batch_uc={"txt": negative, **sizes}, force_uc_zero_embeddings=zeros
                )
            else:
                cond, uc = conditioner(batch), None
            width = self._engine.config.text_encoder_2.projection_size
            for prefix, part in (("", cond), ("negative_", uc)):
                if part is not None:
                    seen.outputs[f"{prefix}prompt_embeds"] = part["crossattn"]
                    seen.outputs[f"{prefix}pooled_prompt_embeds"] = part["vector"][:, :width]
        with self._observed("add_time_ids", "batch") as seen:
            ids = torch.cat([*sizes.values()], dim=1)
            seen.outputs[""] = torch.cat([ids, ids]) if guided else ids
        self.conditioning = (cond, uc)
        return cond, uc

    def _with_texts(self, own: Any, other: Any) -> Any:
        """Return a run's own conditioning with the texts of another; the sizes are no stage of their own."""
        if own is None:
            return None
        width = self._engine.config.text_encoder_2.projection_size
        vector = torch.cat([other["vector"][:, :width], own["vector"][:, width:]], dim=1)
        return {**own, "crossattn": other["crossattn"], "vector": vector}

    def _schedule(self, sampler: Any) -> torch.Tensor:
        """Return and report the noise levels."""
        steps = self._case.sampling.steps
        inputs = {"num_inference_steps": steps}
        with self._observed("scheduler.set_timesteps", "sampler.discretization", **inputs) as seen:
            sigmas: torch.Tensor = sampler.discretization(steps, device=str(self._device))
            seen.outputs["timesteps"] = self._engine.module.denoiser.sigma_to_idx(sigmas[:-1])
            seen.outputs["sigmas"] = sigmas
            seen.outputs["init_noise_sigma"] = torch.sqrt(1.0 + sigmas[0] ** 2.0)
        if len(sigmas) == 1:
            message = f"image.strength {self._case.image.strength if self._case.image else 1} keeps none of {steps} steps; take more steps or more strength"
            raise ParityError(message)
        return sigmas

    def _initial_noise(self, start: torch.Tensor | None) -> torch.Tensor:
        """Return the noise that the run starts from, of unit variance."""
        case = self._case
        if start is not None:
            like = start
        else:
            shape = (len(case.prompt.positive), self._engine.config.unet.in_channels)
            like = torch.empty(*shape, case.size.height // 8, case.size.width // 8, device=self._device)
        return self.drawn.take("latents", like, self._given, lambda: torch.randn(like.shape).to(self._device))

    def _sample(
        self,
        sampler: Any,
        cond: Any,
        uc: Any,
        prepared: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor],
        instead: Instead,
    ) -> torch.Tensor:
        """Return the clean latents."""
        engine, (noise, start, sigmas) = self._engine.module, prepared
        latents = noise.clone()
        if start is not None:
            latents = (start + noise * sigmas[0]) / torch.sqrt(1.0 + sigmas[0] ** 2.0)

        def denoiser(x: torch.Tensor, sigma: torch.Tensor, c: Any) -> torch.Tensor:
            with self._network_input(x):
                found: torch.Tensor = engine.denoiser(engine.model, x, sigma, c)
            return found

        self._keep_noise(sampler)
        if self._taps is None:
            result: torch.Tensor = sampler(denoiser, latents, cond, uc=uc)
            return result
        watch = self._watch = Watch(sampler, self._engine, self._taps, self._snapshots, self._told)
        watch.instead, self.steps = instead.steps, watch.seen
        self._report_prepared(sampler, noise, start)
        with watch.active():
            return watch.finish(sampler(denoiser, latents, cond, uc=uc))

    def _told(self, step: int) -> None:
        """Tell the progress."""
        self._progress(step + 1, self._case.sampling.steps)

    def _keep_noise(self, sampler: Any) -> None:
        """Let the sampler draw through `Drawn`."""
        original = getattr(sampler, "noise_sampler", None)
        if original is None:
            return

        def draw(x: torch.Tensor) -> torch.Tensor:
            noise: torch.Tensor = self.drawn.take("noise", x, self._given, lambda: original(x.cpu()).to(x.device))
            if self._watch is not None:
                self._watch.noise = noise
            return noise

        sampler.noise_sampler = draw

    def _report_prepared(self, sampler: Any, noise: torch.Tensor, start: torch.Tensor | None) -> None:
        """Let the sampler report what the noise becomes; its loop scales the latents in place."""
        original = sampler.prepare_sampling_loop
        inputs = {"noise": noise} if start is None else {"noise": noise, "init_latents": start}

        def prepare(*args: Any, **kwargs: Any) -> Any:
            with self._observed("prepare_latents", "sampler.prepare_sampling_loop", **inputs) as seen:
                result = original(*args, **kwargs)
                seen.outputs[""] = result[0]
            return result

        sampler.prepare_sampling_loop = prepare

    @contextmanager
    def _network_input(self, x: torch.Tensor) -> Iterator[None]:
        """Report the scaled input: what the denoiser gives to the network."""
        if self._taps is None:
            yield
            return

        def scaled(_model: Any, args: tuple[Any, ...]) -> None:
            inputs = {"sample": x, "timestep": args[1]}
            with self._observed("scheduler.scale_model_input", "denoiser", **inputs) as seen:
                seen.outputs[""] = args[0]

        handle = self._engine.module.model.register_forward_pre_hook(scaled)
        try:
            yield
        finally:
            handle.remove()

    def _encode(self, image: torch.Tensor, what: str) -> torch.Tensor:
        """Return the unscaled latents of an image, and report the posterior that they are a sample of."""
        coder, distributions = self._engine.module.first_stage_model, self._engine.package.distributions
        moments: list[torch.Tensor] = []
        handle = coder.regularization.register_forward_pre_hook(lambda _module, args: moments.append(args[0]))
        try:
            with (
                quiet_package(), torch.no_grad(), replaced(distributions, randn=self._drawer(what)),
                self._observed("vae.encode", "first_stage_model.encode", x=image) as seen,
            ):  # fmt: skip
                sample: torch.Tensor = coder.encode(image)
                posterior = distributions.DiagonalGaussianDistribution(moments[0])
                seen.inputs["noise"] = self.drawn.numbers[what][-1]
                seen.outputs |= {"mean": posterior.mean, "logvar": posterior.logvar, "sample": sample}
        finally:
            handle.remove()
        return sample

    def _drawer(self, what: str) -> Callable[..., torch.Tensor]:
        """Return what stands in for `torch.randn` where the autoencoder draws."""

        def randn(*shape: Any) -> torch.Tensor:
            like = torch.empty(*shape, device=self._device)
            drawn: torch.Tensor = self.drawn.take(what, like, self._given, lambda: torch.randn(*shape).to(like))
            return drawn

        return randn

    @contextmanager
    def _functions(self, taps: Taps) -> Iterator[None]:
        """Report tokenizers, text encoders, sinusoids and the autoencoder's decoder while the block runs."""
        engine, package = self._engine.module, self._engine.package
        with ExitStack() as stack:
            first, second = engine.conditioner.embedders[:2]
            stack.enter_context(reporting_tokenizer(first.tokenizer, "tokenizer", taps, self._snapshots))
            stack.enter_context(reporting_text(second, package, taps, self._snapshots))
            decode, embedding = engine.first_stage_model.decode, package.openaimodel.timestep_embedding

            def decoded(z: torch.Tensor, **kwargs: Any) -> Any:
                with self._observed("vae.decode", "first_stage_model.decode", z=z) as seen:
                    result = seen.outputs[""] = decode(z, **kwargs)
                return result

            def embedded(timesteps: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
                if not taps.stack or taps.stack[-1].path != "unet":
                    return embedding(timesteps, *args, **kwargs)
                with self._observed("unet.time_proj", "timestep_embedding", timesteps=timesteps) as seen:
                    result = seen.outputs[""] = embedding(timesteps, *args, **kwargs)
                return result

            engine.first_stage_model.decode = decoded
            package.openaimodel.timestep_embedding = embedded
            stack.callback(setattr, package.openaimodel, "timestep_embedding", embedding)
            stack.callback(delattr, engine.first_stage_model, "decode")
            yield


class _Module:
    """A module with some of its names replaced; everything else is the module's own."""

    def __init__(self, module: Any, **names: Any) -> None:
        """Replace `names`."""
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        """Return what the module has."""
        return getattr(self._module, name)


@contextmanager
def replaced(module: Any, **names: Any) -> Iterator[None]:
    """Let the functions of `module` find these names in `torch` while the block runs."""
    before = module.torch
    module.torch = _Module(before, **names)
    try:
        yield
    finally:
        module.torch = before


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator for the block, and put it back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
