"""Generates images from the command line.

    python -m mindone_sdxl.sample --prompt "a cat" --weight sd_xl_base_1.0_ms.ckpt --tokenizer_path sdxl-base-1.0/
    python -m mindone_sdxl.sample --config sdxl-base-1.0/ --device_target CPU --ms_amp_level O0

Images are written to SAVE_PATH/TASK/VERSION as numbered PNG files, the images of a prompt side by side. Without files
of noise, all noise of image j comes from numpy's generator seeded with seed + j: first the initial latents, then the
steps in order.
"""

# mypy: no-warn-return-any
from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import mindspore
import numpy as np
from mindspore import Tensor

from mindone_sdxl import flags, images, injection
from mindone_sdxl.config import SDXLConfig, from_diffusers
from mindone_sdxl.config_yaml import from_yaml
from mindone_sdxl.convert import read_any
from mindone_sdxl.discretization import DiffusersDDPM, Discretization
from mindone_sdxl.errors import InputError, SDXLError
from mindone_sdxl.files import read
from mindone_sdxl.guidance import Guider, Identity, VanillaCFG
from mindone_sdxl.pipeline import StableDiffusionXL
from mindone_sdxl.registry import DISCRETIZATIONS, SAMPLERS, find
from mindone_sdxl.tokenizer import END, CLIPTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import SimpleNamespace

    from mindone_sdxl.arrays import Array
    from mindone_sdxl.conditioning import Conditioning
    from mindone_sdxl.schedule import Schedule

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
_PACKAGE = Path(__file__).parent


def _set_context(values: SimpleNamespace) -> None:
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE, device_target=values.device_target)
    # On few CPU cores the asynchronous queue is many times slower; elsewhere it is only less reproducible.
    mindspore.set_context(pynative_synchronize=values.deterministic or values.device_target == "CPU")
    if values.deterministic:
        mindspore.set_context(deterministic="ON")
    if values.precision_keep_origin_dtype and values.device_target == "Ascend":
        mindspore.set_context(ascend_config={"precision_mode": "must_keep_origin_dtype"})


def _configuration(values: SimpleNamespace) -> tuple[str, SDXLConfig, Discretization]:
    """Version, model and the default discretization of `--config`; a relative path may be one of the package's."""
    path = Path(values.config)
    if path.is_dir():
        config = from_diffusers(path)
        return "SDXL-base-1.0", config, DiffusersDDPM(config.schedule)
    shipped = _PACKAGE / path
    found = from_yaml(shipped if not path.exists() and shipped.exists() else path)
    return found.version, found.model, found.discretization


def _discretization(values: SimpleNamespace, default: Discretization) -> Discretization:
    if values.discretization is None:
        return default
    chosen = find(DISCRETIZATIONS, values.discretization)
    if values.discretization.startswith("EDM"):
        return chosen(default.schedule, values.sigma_min, values.sigma_max, values.rho)
    return chosen(default.schedule)


def _tokenizers(values: SimpleNamespace) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    root = values.tokenizer_path or (values.config if Path(values.config).is_dir() else None)
    if root is None:
        message = "--tokenizer_path is missing; a diffusers folder of SDXL has the tokenizers"
        raise InputError(message)
    root = Path(root)
    both = root / "tokenizer", root / "tokenizer_2"
    first, second = both if both[0].is_dir() and both[1].is_dir() else (root, root)
    special = values.pad_token_is_special
    return CLIPTokenizer(first, pad_token=END), CLIPTokenizer(second, pad_token="!", pad_token_is_special=special)


def _weights(values: SimpleNamespace, config: SDXLConfig) -> dict[str, Array]:
    if "weight" not in values.given and Path(values.config).is_dir():
        return read_any(values.config, config)
    first, *others = values.weight.split(",")
    state = read_any(first, config)
    for path in others:
        state.update(read(path))
    # The original's fine-tuned checkpoints carry the wrapper's name.
    return {name.replace("._backbone", ""): value for name, value in state.items()}


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


def _condition(
    pipeline: StableDiffusionXL, values: SimpleNamespace, prompt: str, size: tuple[int, int]
) -> tuple[Conditioning, Guider]:
    height, width = size
    conditioning = pipeline.condition(
        [prompt],
        [values.negative_prompt] if values.negative_prompt else None,
        height=height,
        width=width,
        original=(values.orig_height or height, values.orig_width or width),
        crop=(values.crop_coords_top or 0, values.crop_coords_left or 0),
        target=(values.target_height or height, values.target_width or width),
        long=values.support_long_prompts,
    )
    if values.guider == "IdentityGuider":
        return conditioning.conditional(), Identity()
    return conditioning, VanillaCFG(values.guidance_scale)


class _Noise:
    """The noise of every image, from files where they are given and else from its seed."""

    def __init__(self, values: SimpleNamespace, schedule: Schedule, count: int, shape: tuple[int, int, int]) -> None:
        self._seed, self._columns = values.seed, values.num_cols
        self._steps, self._shape = schedule.steps, shape
        self._needed = find(SAMPLERS, values.sampler).uses_noise
        latents, noises = values.init_latent_path, values.init_noise_scheduler_path
        self._latents = injection.load_latents(latents, count, shape) if latents else None
        self._noises = injection.load_noises(noises, schedule.steps, count, shape) if noises else None

    def of(self, number: int) -> tuple[Array, Array | None, Array]:
        """Initial noise, noise of the steps, and noise of a posterior sample of image `number`."""
        generator = np.random.RandomState(self._seed + number % self._columns)
        noise = injection.draw(generator, self._shape)
        noises = injection.draw_steps(generator, self._steps, self._shape) if self._needed else None
        posterior = injection.draw(generator, self._shape)
        noise = noise if self._latents is None else self._latents[number]
        return noise, noises if self._noises is None else self._noises[number], posterior


def _generate(
    pipeline: StableDiffusionXL,
    values: SimpleNamespace,
    schedule: Schedule,
    conditioned: tuple[Conditioning, Guider],
    image: Array | None,
    noise: tuple[Array, Array | None, Array],
) -> Array:
    """One image, uint8 [height, width, 3]."""
    conditioning, guider = conditioned
    initial, noises, posterior_noise = noise
    sampler = find(SAMPLERS, values.sampler)(schedule)
    if image is None:
        latents = pipeline.initial_latents(initial, schedule)
    else:
        posterior = pipeline.encode(Tensor(image.astype(np.float32)))
        sampled = posterior.sample(Tensor(posterior_noise.astype(np.float32)))
        latents = pipeline.noised_latents(pipeline.scale_latents(sampled), initial, schedule)
    latents = pipeline.denoise(sampler, latents, conditioning, guider=guider, noises=noises)
    return pipeline.postprocess(pipeline.decode(latents))[0]


def run(values: SimpleNamespace) -> list[Path]:
    """Generate everything that the flags ask for; gives the files that were written.

    Raises:
        SDXLError: a file or a value cannot be used.
    """
    version, config, default = _configuration(values)
    image = images.read_image(values.img) if values.task == "img2img" else None
    size, prompts = _size(values, image), _prompts(values)
    if any(length % config.vae.downscale for length in size):
        message = f"{size[0]} x {size[1]} pixels; height and width must be divisible by {config.vae.downscale}"
        raise InputError(message)
    tokenizers = _tokenizers(values)
    _set_context(values)
    pipeline = StableDiffusionXL(config, _DTYPES[values.ms_amp_level], tokenizers=tokenizers)
    schedule = pipeline.schedule(values.sample_step, _discretization(values, default))
    schedule = schedule if image is None else schedule.tail(values.strength)
    height, width = (length // config.vae.downscale for length in size)
    shape = (config.vae.latent_channels, height, width)
    noise = _Noise(values, schedule, len(prompts) * values.num_cols, shape)
    pipeline.load(_weights(values, config))
    written = []
    for row, prompt in enumerate(prompts):
        conditioned = _condition(pipeline, values, prompt, size)
        numbers = range(row * values.num_cols, (row + 1) * values.num_cols)
        pixels = [_generate(pipeline, values, schedule, conditioned, image, noise.of(number)) for number in numbers]
        folder = Path(values.save_path) / values.task / version
        written.append(images.write_image(folder, images.grid(pixels, values.num_cols)))
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status is 2 for input that cannot be used."""
    try:
        for path in run(flags.parse(arguments)):
            sys.stdout.write(f"{path}\n")
    except SDXLError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
