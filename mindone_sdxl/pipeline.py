"""Text to image and back: the networks, the schedule and a sampler put together.

Nothing here draws a random number: initial noise, the noise of every step and the noise of a posterior sample are
arguments. Every part can be called by itself.

    pipeline = StableDiffusionXL.from_diffusers("sdxl-base-1.0")
    conditioning = pipeline.condition(["a cat"], height=1024, width=1024)
    sampler = EulerAncestral(pipeline.schedule(40))
    latents = pipeline.sample(sampler, noise, conditioning, guider=VanillaCFG(5.0), noises=noises)
    images = pipeline.postprocess(pipeline.decode(latents))
"""

# mypy: no-warn-return-any
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import mindspore
import numpy as np
from mindspore import Tensor, ops

from mindone_sdxl import config as configuration
from mindone_sdxl.conditioning import Conditioning, TextEmbeddings, guidance_embedding, refiner_ids, time_ids
from mindone_sdxl.cpu import prepare
from mindone_sdxl.denoiser import Denoiser, weights
from mindone_sdxl.discretization import Discretization, default_discretization
from mindone_sdxl.errors import InputError
from mindone_sdxl.files import read_diffusers
from mindone_sdxl.layers import DType, numpy_type, scalar
from mindone_sdxl.long_prompts import encode_long
from mindone_sdxl.model import SDXLModel
from mindone_sdxl.schedule import Schedule, make_schedule
from mindone_sdxl.tokenizer import CLIPTokenizer, pad_token_of
from mindone_sdxl.vae import Posterior
from mindone_sdxl.weights import State, diffusers_to_mindspore, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindone_sdxl.arrays import Array, Number
    from mindone_sdxl.config import SDXLConfig
    from mindone_sdxl.guidance import Guider
    from mindone_sdxl.samplers import Noises, Observer, Sampler

__all__ = ["AESTHETIC_SCORES", "StableDiffusionXL"]

# What the refiner is told of the negative prompts and of the prompts unless it is told otherwise.
AESTHETIC_SCORES = (2.5, 6.0)


class StableDiffusionXL:
    """Stable Diffusion XL.

    Args:
        config: the model.
        dtype: type of the networks; latents are kept in float64 beside float64 networks, else in float32.
        tokenizers: for the two text encoders; needed for prompts, not for token ids.
    """

    def __init__(
        self,
        config: SDXLConfig,
        dtype: DType = mindspore.float32,
        *,
        tokenizers: tuple[CLIPTokenizer, CLIPTokenizer] | None = None,
    ) -> None:
        self.config = config
        self.dtype = dtype
        self.latents_dtype = mindspore.float64 if dtype == mindspore.float64 else mindspore.float32
        self.tokenizers = tokenizers
        self.model = SDXLModel(config, dtype=dtype)

    @classmethod
    def from_diffusers(cls, folder: str | Path, dtype: DType = mindspore.float32) -> StableDiffusionXL:
        """The model, weights and tokenizers of a diffusers SDXL folder."""
        folder = Path(folder)
        config = configuration.from_diffusers(folder)
        # The refiner has the second tokenizer alone; what stands in the first place is then not looked at.
        folders = folder / ("tokenizer_2" if config.refiner else "tokenizer"), folder / "tokenizer_2"
        first, second = (CLIPTokenizer(path, pad_token=pad_token_of(path)) for path in folders)
        pipeline = cls(config, dtype, tokenizers=(first, second))
        pipeline.load(diffusers_to_mindspore(read_diffusers(folder), pipeline.config))
        return pipeline

    def load(self, state: State) -> None:
        """Load a MindSpore checkpoint's state; strict, see `weights.load`. A CPU is made ready, see `cpu.prepare`."""
        load(self.model, state, self.config)
        prepare()

    def tokenize(self, prompts: Sequence[str]) -> tuple[Array, Array]:
        """Ids of prompts by both tokenizers, int32 [batch, 77] each."""
        first, second = self._require_tokenizers()
        return first(prompts), second(prompts)

    def _require_tokenizers(self) -> tuple[CLIPTokenizer, CLIPTokenizer]:
        if self.tokenizers is None:
            message = "this pipeline was built without tokenizers; give token ids or a folder that has them"
            raise InputError(message)
        return self.tokenizers

    def encode_ids(self, ids: Array, ids_2: Array) -> TextEmbeddings:
        """Text embeddings of token ids [batch, tokens]."""
        first, second = (Tensor(np.asarray(values, dtype=np.int32)) for values in (ids, ids_2))
        return self.model.conditioner.text(first, second)

    def encode_prompts(
        self, prompts: Sequence[str], negative_prompts: Sequence[str] | None = None, *, long: bool = False
    ) -> tuple[TextEmbeddings, TextEmbeddings]:
        """Text embeddings of the negative prompts and of the prompts.

        Without negative prompts the first are zeros, or those of "" where the model was not trained for zeros. An
        empty negative prompt that is given is encoded like any other.

        Args:
            long: encode prompts of any length in pieces, see `long_prompts`, instead of cutting them.

        Raises:
            InputError: there are not as many negative prompts as prompts.
        """
        if negative_prompts is not None and len(negative_prompts) != len(prompts):
            message = f"{len(negative_prompts)} negative prompts for {len(prompts)} prompts"
            raise InputError(message)
        zeros = negative_prompts is None and self.config.force_zeros_for_empty_prompt
        negatives = [""] * len(prompts) if negative_prompts is None else list(negative_prompts)
        if not long:
            positive = self.encode_ids(*self.tokenize(prompts))
            return (positive.zeros() if zeros else self.encode_ids(*self.tokenize(negatives))), positive
        both = encode_long(self.encode_ids, self._require_tokenizers(), [*negatives, *prompts])
        negative, positive = both.split(len(prompts))
        return (negative.zeros() if zeros else negative), positive

    def vector(self, pooled: Tensor, ids: Array) -> Tensor:
        """The UNet's vector from pooled embeddings and time ids [batch, 6], or [batch, 5] for the refiner."""
        angle_dtype = self.model.conditioner.add_time_proj.angle_dtype
        return self.model.conditioner.vector(pooled, Tensor(ids.astype(numpy_type(angle_dtype))))

    def condition(
        self,
        prompts: Sequence[str],
        negative_prompts: Sequence[str] | None = None,
        *,
        height: int,
        width: int,
        original: Sequence[int] | None = None,
        crop: Sequence[int] = (0, 0),
        target: Sequence[int] | None = None,
        scores: tuple[float, float] = AESTHETIC_SCORES,
        guidance_scale: float = 1.0,
        long: bool = False,
    ) -> Conditioning:
        """Conditioning of a guided batch; sizes are (height, width), the crop (top, left).

        Args:
            scores: aesthetic scores of the negative prompts and of the prompts, for the refiner.
            guidance_scale: what a network that embeds its guidance scale is told.
        """
        size, count = (height, width), len(prompts)
        negative, positive = self.encode_prompts(prompts, negative_prompts, long=long)
        if self.config.refiner:
            unconditional, ids = (refiner_ids(original or size, crop, score, count) for score in scores)
            joined = self.join(negative, positive, ids, unconditional)
        else:
            joined = self.join(negative, positive, time_ids(original or size, crop, target or size, count))
        width = self.config.unet.guidance_size
        if not width:
            return joined
        told = np.tile(guidance_embedding(guidance_scale, width), (2 * count, 1)).astype(numpy_type(self.dtype))
        return replace(joined, guidance=Tensor(told, self.dtype))

    def join(
        self, negative: TextEmbeddings, positive: TextEmbeddings, ids: Array, negative_ids: Array | None = None
    ) -> Conditioning:
        """Conditioning of a guided batch, the unconditional half first.

        Args:
            ids: time ids [batch, 6], or [batch, 5] for the refiner.
            negative_ids: those of the unconditional half, by default the same.
        """
        context = ops.cat((negative.context, positive.context))
        pooled = ops.cat((negative.pooled, positive.pooled))
        both = np.concatenate((ids if negative_ids is None else negative_ids, ids))
        return Conditioning(context=context, vector=self.vector(pooled, both))

    def schedule(self, steps: int, discretization: Discretization | None = None) -> Schedule:
        """The noise levels of a run, in float64 for float64 networks and else in float32."""
        chosen = default_discretization(self.config.schedule) if discretization is None else discretization
        return make_schedule(chosen, steps, numpy_type(self.latents_dtype))

    def initial_latents(self, noise: Array, schedule: Schedule) -> Tensor:
        """Noise of unit variance [batch, channels, height / 8, width / 8], at the level of the first step.

        Raises:
            InputError: the noise does not have that shape.
        """
        self._check_latents(noise.shape)
        latents = Tensor(np.ascontiguousarray(noise, numpy_type(self.latents_dtype)))
        return latents * scalar(schedule.init_noise_sigma, self.latents_dtype)

    def _check_latents(self, shape: tuple[int, ...]) -> None:
        channels, factor = self.config.unet.in_channels, 2 ** (self.config.unet.level_count - 1)
        if len(shape) != 4 or shape[1] != channels:
            message = f"latents have shape {tuple(shape)}, expected [batch, {channels}, height, width]"
            raise InputError(message)
        if shape[2] % factor or shape[3] % factor:
            message = f"latents are {shape[2]} x {shape[3]}; height and width must be divisible by {factor}"
            raise InputError(message)

    def denoiser(self, schedule: Schedule) -> Denoiser:
        """What lies between latents and the network on this schedule.

        Raises:
            InputError: the sampler does not go with the network.
        """
        trained, told = self.config.schedule, None
        if trained.prediction == "edm" and schedule.unit_variance:
            message = "this network takes latents with noise added to them; the sampler keeps latents at unit variance"
            raise InputError(message)
        if schedule.between:
            starts = map(float, schedule.sigmas[:-1])
            told = dict(zip(starts, schedule.timesteps, strict=True))
        return Denoiser(schedule.table, trained.prediction, trained.sigma_data, schedule.unit_variance, told)

    def predict_noise(
        self, latents: Tensor, sigma: Number, conditioning: Conditioning, guider: Guider, denoiser: Denoiser
    ) -> Tensor:
        """The guided noise prediction of latents at a noise level."""
        batch = ops.cat([latents] * guider.halves) if guider.halves > 1 else latents
        output = self.network(denoiser.network_input(batch, sigma), denoiser.timestep(sigma), conditioning)
        return denoiser.noise_pred(guider(output), latents, sigma)

    def network(self, scaled: Tensor, timestep: Number, conditioning: Conditioning) -> Tensor:
        """The UNet on scaled latents, all at one timestep; takes and gives the latents' type."""
        timesteps = Tensor(np.full(scaled.shape[0], timestep, numpy_type(self.latents_dtype)))
        inputs = scaled.astype(self.dtype), timesteps, conditioning.context, conditioning.vector
        return self.model.unet(*inputs, conditioning.guidance).astype(scaled.dtype)

    def sample(
        self,
        sampler: Sampler,
        noise: Array,
        conditioning: Conditioning,
        *,
        guider: Guider,
        noises: Noises | None = None,
        observe: Observer | None = None,
    ) -> Tensor:
        """Clean latents from noise of unit variance.

        Args:
            noise: [batch, channels, height / 8, width / 8].
            conditioning: twice as large a batch for a guider with two halves.
            noises: [steps, batch, channels, height / 8, width / 8], for samplers that add noise.
        """
        latents = self.initial_latents(noise, sampler.schedule)
        return self.denoise(sampler, latents, conditioning, guider=guider, noises=noises, observe=observe)

    def denoise(
        self,
        sampler: Sampler,
        latents: Tensor,
        conditioning: Conditioning,
        *,
        guider: Guider,
        noises: Noises | None = None,
        observe: Observer | None = None,
    ) -> Tensor:
        """Clean latents from latents that are already at the level of the sampler's first step.

        Raises:
            InputError: the conditioning's batch does not fit, or the sampler refuses its noise.
        """
        rows = latents.shape[0] * guider.halves
        told = self.config.unet.guidance_size
        if (conditioning.guidance is not None) != bool(told):
            message = f"the network embeds its guidance scale in {told} numbers; the conditioning must carry them"
            raise InputError(message)
        if conditioning.context.shape[0] != rows:
            message = f"conditioning has {conditioning.context.shape[0]} rows, {rows} are needed"
            raise InputError(message)
        denoiser = self.denoiser(sampler.schedule)
        return sampler.sample(
            lambda current, sigma: self.predict_noise(current, sigma, conditioning, guider, denoiser),
            latents,
            noises,
            observe,
        )

    def noised_latents(self, clean: Tensor, noise: Array, schedule: Schedule) -> Tensor:
        """Scaled clean latents with unit-variance noise at the level of a schedule's first step (image to image).

        Raises:
            InputError: the shapes differ or are none that the UNet takes.
        """
        self._check_latents(clean.shape)
        if tuple(noise.shape) != tuple(clean.shape):
            message = f"noise has shape {tuple(noise.shape)}, the latents have {tuple(clean.shape)}"
            raise InputError(message)
        clean = clean.astype(self.latents_dtype)
        added = Tensor(np.ascontiguousarray(noise, numpy_type(self.latents_dtype)))
        noised = clean + added * scalar(schedule.sigmas[0], self.latents_dtype)
        if schedule.unit_variance:
            return noised * scalar(weights(schedule.sigmas[0])[0], self.latents_dtype)
        return noised

    def decode(self, latents: Tensor) -> Tensor:
        """Images [batch, 3, height, width], about -1 to 1, of scaled latents."""
        vae = self.config.vae
        dtype = latents.dtype
        latents = latents / scalar(vae.scaling_factor, dtype)
        if vae.latents_std:
            std, mean = (self._channels(values, dtype) for values in (vae.latents_std, vae.latents_mean))
            latents = latents * std + mean
        return self.model.vae.decode(latents.astype(self.model.vae.dtype))

    def encode(self, image: Tensor) -> Posterior:
        """The posterior of images [batch, 3, height, width] in -1 to 1."""
        moments = self.model.vae.encode(image.astype(self.model.vae.dtype))
        count = self.config.vae.latent_channels
        return Posterior(mean=moments[:, :count], logvar=moments[:, count:])

    def scale_latents(self, latents: Tensor) -> Tensor:
        """Unscaled latents, as a posterior gives them, brought to the scale that the UNet works on."""
        vae, dtype = self.config.vae, latents.dtype
        if vae.latents_std:
            std, mean = (self._channels(values, dtype) for values in (vae.latents_std, vae.latents_mean))
            latents = (latents - mean) / std
        return latents * scalar(vae.scaling_factor, dtype)

    @staticmethod
    def _channels(values: Sequence[float], dtype: DType) -> Tensor:
        return Tensor(np.array(values, numpy_type(dtype)).reshape(1, -1, 1, 1))

    @staticmethod
    def unit_range(image: Tensor) -> Array:
        """Images in -1 to 1 brought to 0 to 1 and clipped, in their own type."""
        values: Array = image.asnumpy()
        half = values.dtype.type(0.5)
        return np.clip(values * half + half, 0, 1)

    @classmethod
    def postprocess(cls, image: Tensor) -> Array:
        """Images in -1 to 1 as uint8 [batch, height, width, 3], rounded to the nearest level."""
        return (cls.unit_range(image).transpose(0, 2, 3, 1) * 255).round().astype(np.uint8)
