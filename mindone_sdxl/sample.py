"""Generates images from the command line.

    python -m mindone_sdxl.sample --prompt "a cat" --weight sd_xl_base_1.0_ms.ckpt --tokenizer_path sdxl-base-1.0/
    python -m mindone_sdxl.sample --config sdxl-base-1.0/ --device_target CPU --ms_amp_level O0

Images are written to SAVE_PATH/TASK/VERSION as numbered PNG files, the images of a prompt side by side. Without files
of noise, all noise of image j comes from numpy's generator seeded with seed + j: first the initial latents, then the
steps in order, then what samples the latents of an image to start from, last what is added before the refiner.

With `--add_pipeline True` the refiner goes on where the model stopped: at the noise level where the last
`stage2strength` of the steps begins. `--finish_denoising False` lets the model finish and adds noise up to that level.
"""

# mypy: no-warn-return-any
from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import mindspore
import numpy as np
from mindspore import Tensor

from mindone_sdxl import disk, flags, images, injection
from mindone_sdxl.command import ended
from mindone_sdxl.device import prepare
from mindone_sdxl.discretization import LCM
from mindone_sdxl.errors import InputError
from mindone_sdxl.graphs import compile_networks
from mindone_sdxl.guidance import Guider, Identity, VanillaCFG
from mindone_sdxl.models import chosen_discretization, find_model, read_weights, tokenizers
from mindone_sdxl.pipeline import AESTHETIC_SCORES, StableDiffusionXL
from mindone_sdxl.progress import Progress
from mindone_sdxl.registry import SAMPLERS, find
from mindone_sdxl.samplers import LCM_TIMESTEP_SCALING
from mindone_sdxl.schedule import Schedule, make_schedule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import SimpleNamespace

    from mindone_sdxl.arrays import Array
    from mindone_sdxl.conditioning import Conditioning
    from mindone_sdxl.config_yaml import YamlConfig
    from mindone_sdxl.samplers import Row, Sampler

__all__ = ["RATIOS", "main", "run"]

# Width and height of the sizes that SDXL base was trained with, by their ratio.
RATIOS = {
    "1.0_512": (512, 512), "1.0_768": (768, 768), "0.5": (704, 1408), "0.52": (704, 1344), "0.57": (768, 1344),
    "0.6": (768, 1280), "0.68": (832, 1216), "0.72": (832, 1152), "0.78": (896, 1152), "0.82": (896, 1088),
    "0.88": (960, 1088), "0.94": (960, 1024), "1.0": (1024, 1024), "1.07": (1024, 960), "1.13": (1088, 960),
    "1.21": (1088, 896), "1.29": (1152, 896), "1.38": (1152, 832), "1.46": (1216, 832), "1.67": (1280, 768),
    "1.75": (1344, 768), "1.91": (1344, 704), "2.0": (1408, 704), "2.09": (1472, 704), "2.4": (1536, 640),
    "2.5": (1600, 640), "2.89": (1664, 576), "3.0": (1728, 576),
}  # fmt: skip
_DTYPES = {"O0": mindspore.float32, "O2": mindspore.float16, "O3": mindspore.float16}


def _prompts(values: SimpleNamespace) -> list[str]:
    """The prompt, or the lines of the file that it names."""
    try:
        is_file = Path(values.prompt).is_file()
    except OSError:  # a text too long for a path
        is_file = False
    if not is_file:
        return [values.prompt]
    lines = Path(values.prompt).read_text(encoding="utf-8").splitlines()
    prompts = [line for line in lines if line.strip()]
    if not prompts:
        message = f"{values.prompt} holds no prompt"
        raise InputError(message)
    return prompts


def _size(values: SimpleNamespace, image: Array | None) -> tuple[int, int]:
    """(height, width) in pixels."""
    if image is not None:
        return image.shape[2], image.shape[3]
    if values.height is not None:
        return values.height, values.width
    if values.sd_xl_base_ratios not in RATIOS:
        message = f"--sd_xl_base_ratios {values.sd_xl_base_ratios}: unknown; known: {', '.join(RATIOS)}"
        raise InputError(message)
    width, height = RATIOS[values.sd_xl_base_ratios]
    return height, width


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _condition(
    pipeline: StableDiffusionXL, values: SimpleNamespace, prompt: str, size: tuple[int, int]
) -> tuple[Conditioning, Guider]:
    height, width = size
    low, high = AESTHETIC_SCORES
    conditioning = pipeline.condition(
        [prompt],
        [values.negative_prompt] if values.negative_prompt else None,
        height=height,
        width=width,
        original=(values.orig_height or height, values.orig_width or width),
        crop=(values.crop_coords_top or 0, values.crop_coords_left or 0),
        target=(values.target_height or height, values.target_width or width),
        scores=(_given(values.negative_aesthetic_score, low), _given(values.aesthetic_score, high)),
        guidance_scale=values.guidance_scale,
        long=values.support_long_prompts,
    )
    # A network that is told the scale has learnt what guidance does, and is asked once.
    if values.guider == "IdentityGuider" or conditioning.guidance is not None:
        return conditioning.conditional(), Identity()
    return conditioning, VanillaCFG(values.guidance_scale)


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """A model with the part of the schedule that it runs."""

    pipeline: StableDiffusionXL
    sampler: Sampler

    @property
    def schedule(self) -> Schedule:
        """The noise levels, as the sampler takes them."""
        return self.sampler.schedule


class _Drawn(NamedTuple):
    """The noise of one image, of unit variance.

    Args:
        initial: added to nothing, or to the image's latents [1, channels, height, width].
        steps: added by the sampler at each step [steps, 1, channels, height, width].
        posterior: samples the latents of an image to start from.
        refiner: added before the refiner.
    """

    initial: Array
    steps: Array | None
    posterior: Array
    refiner: Array


class _Noise:
    """The noise of every image, from files where they are given and else from its seed."""

    def __init__(self, values: SimpleNamespace, stages: Sequence[_Stage], count: int, shape: injection.Shape) -> None:
        self._seed, self._columns = values.seed, values.num_cols
        self._steps, self._shape = sum(stage.schedule.steps for stage in stages), shape
        self._needed, self._image = stages[0].sampler.uses_noise, values.task == "img2img"
        paths = values.init_latent_path, values.posterior_latent_path, values.refiner_latent_path
        self._latents = [injection.load_latents(path, count, shape) if path else None for path in paths]
        noises = values.init_noise_scheduler_path
        self._noises = injection.load_noises(noises, self._steps, count, shape) if noises else None

    def of(self, number: int) -> _Drawn:
        """The noise of image `number`."""
        generator = np.random.RandomState(self._seed + number % self._columns)
        initial = injection.draw(generator, self._shape)
        steps = injection.draw_steps(generator, self._steps, self._shape) if self._needed else None
        posterior = injection.draw(generator, self._shape)
        refiner = injection.draw(generator, self._shape) if self._image else posterior
        latents = [
            drawn if given is None else given[number]
            for drawn, given in zip((initial, posterior, refiner), self._latents, strict=True)
        ]
        return _Drawn(latents[0], steps if self._noises is None else self._noises[number], *latents[1:])


class _Part(NamedTuple):
    """What the flags say of one stage."""

    path: str
    weight: str | None
    found: YamlConfig
    schedule: Schedule


def _options(values: SimpleNamespace, row: Row, found: YamlConfig) -> dict[str, Any]:
    """The sampler's options: those of the configuration, if it has them for this sampler, and of the flags."""
    options = {}
    if found.sampler.rpartition(".")[2] == f"{row.name}Sampler":
        options = {name: value for name, value in found.sampler_options.items() if name in row.options}
    return options | {name: getattr(values, name) for name in row.options if name in values.given or values.s_churn}


def _build(values: SimpleNamespace, part: _Part) -> _Stage:
    """A model without weights."""
    both = tokenizers(values, part.path, part.found)
    pipeline = StableDiffusionXL(part.found.model, _DTYPES[values.ms_amp_level], tokenizers=both)
    row = find(SAMPLERS, values.sampler)
    options = _options(values, row, part.found)
    chosen = chosen_discretization(values, part.found.discretization)
    if values.sampler == "LCMSampler" and isinstance(chosen, LCM):
        options["timestep_scaling"] = LCM_TIMESTEP_SCALING
    return _Stage(pipeline=pipeline, sampler=row.kind(part.schedule, **options))


def _plan(values: SimpleNamespace, found: YamlConfig, shape: injection.Shape) -> list[_Part]:
    """The model, and the refiner if it is asked for.

    Raises:
        InputError: the two work on latents of different shapes.
    """
    kind = np.dtype(np.float32)
    whole = make_schedule(chosen_discretization(values, found.discretization), values.sample_step, kind)
    schedule = whole.tail(values.strength) if values.task == "img2img" else whole
    weight = None if "weight" not in values.given and Path(values.config).is_dir() else values.weight
    if not values.add_pipeline:
        return [_Part(values.config, weight, found, schedule)]
    path, refiner = values.pipeline_config, find_model(values.pipeline_config)
    if (refiner.model.vae.latent_channels, refiner.model.vae.downscale) != (shape[0], found.model.vae.downscale):
        message = f"{path}: its latents are not those of {values.config}"
        raise InputError(message)
    own = make_schedule(chosen_discretization(values, refiner.discretization), values.sample_step, kind)
    first = schedule.before(whole.tail(values.stage2strength)) if values.finish_denoising else schedule
    second = None if "pipeline_weight" not in values.given and Path(path).is_dir() else values.pipeline_weight
    return [
        _Part(values.config, weight, found, first),
        _Part(path, second, refiner, own.tail(values.stage2strength)),
    ]


def _generate(
    stages: Sequence[_Stage],
    values: SimpleNamespace,
    conditioned: Sequence[tuple[Conditioning, Guider]],
    image: Array | None,
    noise: _Drawn,
    progress: Progress,
) -> Array:
    """One image, uint8 [height, width, 3]."""
    first, last = stages[0], stages[-1]
    pipeline, start = first.pipeline, first.schedule
    if image is None:
        latents = pipeline.initial_latents(noise.initial, start)
    else:
        posterior = pipeline.encode(Tensor(image.astype(np.float32)))
        sampled = posterior.sample(Tensor(noise.posterior.astype(np.float32)))
        latents = pipeline.noised_latents(pipeline.scale_latents(sampled), noise.initial, start)
    for number, (stage, (conditioning, guider)) in enumerate(zip(stages, conditioned, strict=True)):
        if number and not values.finish_denoising:
            latents = stage.pipeline.noised_latents(latents, noise.refiner, stage.schedule)
        taken = start.steps if number else 0
        own = None if noise.steps is None else noise.steps[taken : taken + stage.schedule.steps]
        latents = stage.pipeline.denoise(
            stage.sampler, latents, conditioning, guider=guider, noises=own, observe=lambda *_: progress.advance()
        )
    return last.pipeline.postprocess(last.pipeline.decode(latents))[0]


def _check_model(values: SimpleNamespace, found: YamlConfig, size: tuple[int, int]) -> None:
    """Refuse a size that the model does not take, and flags that have no effect with it."""
    downscale = found.model.vae.downscale
    if any(length % downscale for length in size):
        message = f"{size[0]} x {size[1]} pixels; height and width must be divisible by {downscale}"
        raise InputError(message)
    scores = sorted(values.given & {"aesthetic_score", "negative_aesthetic_score"})
    if scores and not (found.model.refiner or values.add_pipeline):
        message = f"--{scores[0]} has no effect; it needs the refiner's --config, or --add_pipeline True"
        raise InputError(message)
    targets = sorted(values.given & {"target_height", "target_width"})
    if targets and found.model.refiner:
        message = f"--{targets[0]} has no effect on the refiner, which is told an aesthetic score instead"
        raise InputError(message)
    told = sorted(values.given & {"guider", "negative_prompt"})
    if told and found.model.unet.guidance_size and not values.add_pipeline:
        message = f"--{told[0]} has no effect; this network is told its guidance scale and asked with the prompt alone"
        raise InputError(message)
    if found.model.refiner and values.add_pipeline:
        message = f"--add_pipeline True: {values.config} is the refiner itself"
        raise InputError(message)


def run(values: SimpleNamespace) -> list[Path]:
    """Generate everything that the flags ask for; gives the files that were written.

    Raises:
        SDXLError: a file or a value cannot be used.
    """
    found = find_model(values.config)
    folder = Path(values.save_path) / values.task / found.version
    disk.check_folder(folder)
    image = images.read_image(values.img) if values.task == "img2img" else None
    size, prompts = _size(values, image), _prompts(values)
    _check_model(values, found, size)
    height, width = (length // found.model.vae.downscale for length in size)
    shape = (found.model.vae.latent_channels, height, width)
    prepare(values.device_target, deterministic=values.deterministic, keep_types=values.precision_keep_origin_dtype)
    plan = _plan(values, found, shape)
    stages = [_build(values, part) for part in plan]
    noise = _Noise(values, stages, len(prompts) * values.num_cols, shape)
    for stage, part in zip(stages, plan, strict=True):
        stage.pipeline.load(read_weights(part.path, part.weight, part.found.model))
        if values.ms_mode == 0 and values.ms_jit:
            compile_networks(stage.pipeline.model)
    progress = Progress(sum(part.schedule.steps for part in plan) * len(prompts) * values.num_cols)
    written = []
    for row, prompt in enumerate(prompts):
        conditioned = [_condition(stage.pipeline, values, prompt, size) for stage in stages]
        numbers = range(row * values.num_cols, (row + 1) * values.num_cols)
        pixels = [_generate(stages, values, conditioned, image, noise.of(number), progress) for number in numbers]
        written.append(images.write_image(folder, images.grid(pixels, values.num_cols)))
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status is 2 for input that cannot be used."""
    return ended(lambda: run(flags.parse(arguments)))


if __name__ == "__main__":
    sys.exit(main())
