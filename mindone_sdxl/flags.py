"""Command lines in general, and that of `sample`: the original's flags with its names and defaults, and a few of our own.

An unknown flag is an error, and so is one that would have no effect: a flag of a feature that is not implemented may
be given with its default value only, and a flag that needs another (a noise file needs a sampler that adds noise)
says which.
"""

from __future__ import annotations

import argparse
import ast
import math
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mindone_sdxl.errors import InputError
from mindone_sdxl.registry import DISCRETIZATIONS, GUIDERS, SAMPLERS, find

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FLAGS", "Flag", "literal", "parse", "read_flags", "require_effect"]


@dataclass(frozen=True)
class Flag:
    """One flag.

    Args:
        kind: turns the text into a value.
        default: as in the original.
        text: help; empty for a feature that is not implemented, of which only the default is accepted.
        choices: values that are accepted, if they are few.
    """

    kind: Callable[[str], Any]
    default: Any
    text: str = ""
    choices: tuple[Any, ...] | None = None


def literal(text: str) -> Any:
    """True or False, as Python writes them."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        message = f"{text!r:.40} is neither True nor False"
        raise argparse.ArgumentTypeError(message) from error


_DISCRETIZATION_NAMES = tuple(f"{name}Discretization" for name in DISCRETIZATIONS)
_SAMPLER_NAMES = tuple(f"{name}Sampler" for name in SAMPLERS)
_PROMPT = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k"

FLAGS: Mapping[str, Flag] = {
    "task": Flag(str, "txt2img", "from text alone, or from an image and text", ("txt2img", "img2img")),
    "config": Flag(str, "configs/inference/sd_xl_base.yaml", "YAML file, or a diffusers folder"),
    "weight": Flag(str, "checkpoints/sd_xl_base_1.0_ms.ckpt", "weights; later ones of a comma list override"),
    "tokenizer_path": Flag(str, None, "folder with tokenizer and tokenizer_2, or with one vocabulary for both"),
    "pad_token_is_special": Flag(literal, True, 'whether "!" means the pad token, as in diffusers', (True, False)),
    "prompt": Flag(str, _PROMPT, "text, or a file with one prompt per line"),
    "negative_prompt": Flag(str, "", "what to move away from; empty means zeros"),
    "support_long_prompts": Flag(literal, False, "encode prompts of over 77 tokens in pieces", (True, False)),
    "sd_xl_base_ratios": Flag(str, "1.0", "size by ratio of width to height"),
    "height": Flag(int, None, "height in pixels, instead of a ratio"),
    "width": Flag(int, None, "width in pixels, instead of a ratio"),
    "orig_width": Flag(int, None, "width the image is said to have had before cropping"),
    "orig_height": Flag(int, None, "height the image is said to have had before cropping"),
    "target_width": Flag(int, None, "width the image is said to have"),
    "target_height": Flag(int, None, "height the image is said to have"),
    "crop_coords_top": Flag(int, None, "rows said to have been cropped at the top"),
    "crop_coords_left": Flag(int, None, "columns said to have been cropped at the left"),
    "aesthetic_score": Flag(float, None, "what the refiner is told of the prompt's image (6.0 if not given)"),
    "negative_aesthetic_score": Flag(float, None, "what it is told of the other (2.5 if not given)"),
    "sampler": Flag(str, "EulerEDMSampler", "sampler", _SAMPLER_NAMES),
    "guider": Flag(str, "VanillaCFG", "guidance", ("VanillaCFG", "IdentityGuider")),
    "guidance_scale": Flag(float, 5.0, "how far to move towards the prompt, 0 to 100"),
    "discretization": Flag(str, None, "where the steps lie (default: the configuration's)", _DISCRETIZATION_NAMES),
    "sigma_min": Flag(float, 0.002, "lowest noise level of EDMDiscretization"),
    "sigma_max": Flag(float, 80.0, "highest noise level of EDMDiscretization"),
    "rho": Flag(float, 7.0, "exponent of EDMDiscretization"),
    "s_churn": Flag(float, 0.0, "noise added before the steps of EulerEDM and HeunEDM"),
    "s_tmin": Flag(float, 0.0, "lowest noise level at which it is added"),
    "s_tmax": Flag(float, 999.0, "highest noise level at which it is added"),
    "s_noise": Flag(float, 1.0, "factor of the noise that is added"),
    "eta": Flag(float, None, "share of the noise that a step draws anew (1 if not given; 0 for DDIM)"),
    "use_karras_sigmas": Flag(literal, False, "noise levels evenly spaced in their seventh root", (True, False)),
    "lower_order_final": Flag(literal, True, "end a run of few steps in a simpler one", (True, False)),
    "euler_at_final": Flag(literal, False, "end every run in a simpler step", (True, False)),
    "sample_step": Flag(int, 40, "number of steps, 1 to 1000"),
    "num_cols": Flag(int, 1, "images of each prompt, side by side, 1 to 10"),
    "seed": Flag(int, 42, "seed of the first image; the next has the next seed"),
    "deterministic": Flag(literal, True, "the same result in every run", (True, False)),
    "init_latent_path": Flag(str, None, ".npy with initial noise of unit variance"),
    "init_noise_scheduler_path": Flag(str, None, ".npy with the noise of every step"),
    "precision_keep_origin_dtype": Flag(literal, False, "keep Ascend from computing float32 coarser", (True, False)),
    "save_path": Flag(str, "outputs/demo/", "folder for images"),
    "img": Flag(str, None, "image to start from (img2img)"),
    "posterior_latent_path": Flag(str, None, ".npy with the noise that samples the image's latents (img2img)"),
    "strength": Flag(float, 0.75, "how much of the schedule to run (img2img), 0 to 1"),
    "add_pipeline": Flag(literal, False, "let the refiner do the last steps", (True, False)),
    "pipeline_config": Flag(
        str, "configs/inference/sd_xl_refiner.yaml", "the refiner: YAML file, or a diffusers folder"
    ),
    "pipeline_weight": Flag(str, "checkpoints/sd_xl_refiner_1.0_ms.ckpt", "weights of the refiner"),
    "stage2strength": Flag(float, 0.15, "part of the steps that the refiner does, 0 to 1"),
    "finish_denoising": Flag(literal, True, "False: the refiner starts from finished, noised latents", (True, False)),
    "refiner_latent_path": Flag(str, None, ".npy with the noise added before the refiner, of unit variance"),
    "device_target": Flag(str, "Ascend", "device", ("Ascend", "GPU", "CPU")),
    "ms_amp_level": Flag(str, "O2", "O0 float32; O2, O3 float16", ("O0", "O2", "O3")),
    "ms_mode": Flag(int, 1, "0: the networks run as graphs, compiled when first used; 1: operator by operator", (0, 1)),
    "ms_jit": Flag(literal, True, "False: nothing is compiled in spite of --ms_mode 0", (True, False)),
    # Features of the original that are not implemented.
    "textual_inversion_weight": Flag(str, None),
    "placeholder_token": Flag(str, None),
    "num_vectors": Flag(int, None),
    "thresholding": Flag(literal, False),
    "dynamic_thresholding_ratio": Flag(float, 0.995),
    "sample_max_value": Flag(float, 1.0),
    "num_rows": Flag(int, 1),
    "ms_enable_graph_kernel": Flag(literal, False),
    "controlnet_mode": Flag(str, None),
    "control_image_path": Flag(str, None),
    "low_threshold": Flag(int, 100),
    "high_threshold": Flag(int, 200),
    "save_detected_map": Flag(literal, False),
    "enable_modelarts": Flag(literal, False),
    "ckpt_url": Flag(str, ""),
    "train_url": Flag(str, ""),
    "multi_data_url": Flag(str, ""),
    "pretrain_url": Flag(str, ""),
    "ckpt_dir": Flag(str, "/cache/pretrain_ckpt/"),
}
_OPTIONS = dict.fromkeys(option for row in SAMPLERS.values() for option in row.options)
_PIXELS = 65_536
# Of every number. NaN is in no range.
_RANGES = {
    "height": (1, _PIXELS), "width": (1, _PIXELS),
    "orig_height": (1, _PIXELS), "orig_width": (1, _PIXELS),
    "target_height": (1, _PIXELS), "target_width": (1, _PIXELS),
    "crop_coords_top": (0, _PIXELS), "crop_coords_left": (0, _PIXELS),
    "aesthetic_score": (0, 10), "negative_aesthetic_score": (0, 10),
    "guidance_scale": (0, 100),
    "sigma_min": (1e-6, 1e6), "sigma_max": (1e-6, 1e6), "rho": (0.1, 1000),
    "s_churn": (0, 1e6), "s_tmin": (0, 1e6), "s_tmax": (0, math.inf), "s_noise": (0, 1000), "eta": (0, 1000),
    "sample_step": (1, 1000),
    "num_cols": (1, 10),
    "seed": (0, 2**32 - 10),  # numpy's generator takes 32 bits, and the tenth image has the ninth seed after this one
    "strength": (0, 1),
    "stage2strength": (0, 1),
}  # fmt: skip


def parse(arguments: Sequence[str] | None = None) -> SimpleNamespace:
    """The value of every flag, and `given`, the names of those that stand on the command line.

    Raises:
        InputError: a flag has no effect, or a value is out of range. An unknown flag ends the program with status 2.
    """
    values = read_flags("sample", "Generate images with Stable Diffusion XL.", FLAGS, arguments, ranges=_RANGES)
    _check_effects(values)
    if values.sigma_min >= values.sigma_max:
        message = f"--sigma_min is {values.sigma_min}, expected less than --sigma_max, which is {values.sigma_max}"
        raise InputError(message)
    return values


def read_flags(
    program: str,
    description: str,
    table: Mapping[str, Flag],
    arguments: Sequence[str] | None,
    *,
    ranges: Mapping[str, tuple[float, float]],
) -> SimpleNamespace:
    """The value of every flag of a table, and `given`, the names of those that stand on the command line.

    Args:
        program: the module's name.
        ranges: the smallest and the largest value of some flags.

    Raises:
        InputError: a flag is not implemented, or a value is out of range. An unknown flag ends the program with status 2.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m mindone_sdxl.{program}",
        description=description,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, flag in table.items():
        text = f"{flag.text} (default: {flag.default})" if flag.text else argparse.SUPPRESS
        parser.add_argument(f"--{name}", type=flag.kind, choices=flag.choices, help=text.replace("%", "%%"))
    given = vars(parser.parse_args(arguments))
    values = SimpleNamespace(**{name: given.get(name, flag.default) for name, flag in table.items()}, given=set(given))
    for name in given:
        if not table[name].text and given[name] != table[name].default:
            message = f"--{name} is not implemented; only its default {table[name].default!r} is accepted"
            raise InputError(message)
    for name, (low, high) in ranges.items():
        value = getattr(values, name)
        if value is not None and not low <= value <= high:
            message = f"--{name} is {value}, expected {low} to {high}"
            raise InputError(message)
    return values


def require_effect(values: SimpleNamespace, names: str, condition: object, what: str) -> None:
    """Refuse flags that were given and that others leave without effect.

    Args:
        names: of the flags, separated by spaces.
        condition: whether they have one.
        what: what they need for it.

    Raises:
        InputError: one was given in vain.
    """
    idle = sorted(values.given & set(names.split()))
    if idle and not condition:
        message = f"--{idle[0]} has no effect; it needs {what}"
        raise InputError(message)


def _having(option: str) -> str:
    """The samplers on which an option has an effect, as flags spell them."""
    names = [f"{row.name}Sampler" for row in SAMPLERS.values() if option in row.options]
    if option == "use_karras_sigmas":
        names = [f"{row.name}Sampler" for row in SAMPLERS.values() if row.placed]
    return " or ".join(names)


def _check_effects(values: SimpleNamespace) -> None:
    """Refuse flags that the others leave without effect."""
    needs = partial(require_effect, values)
    image = values.task == "img2img"
    needs("img strength posterior_latent_path", image, "--task img2img")
    needs("sd_xl_base_ratios height width", not image, "--task txt2img, an image brings its own size")
    needs("sd_xl_base_ratios", values.height is None and values.width is None, "neither --height nor --width")
    needs("sigma_min sigma_max rho", values.discretization == "EDMDiscretization", "--discretization EDMDiscretization")
    refined = values.add_pipeline
    needs("pipeline_config pipeline_weight stage2strength finish_denoising", refined, "--add_pipeline True")
    needs("refiner_latent_path", refined and not values.finish_denoising, "--finish_denoising False")
    row = find(SAMPLERS, values.sampler)
    for option in _OPTIONS:
        if option not in {"s_tmin", "s_tmax"}:  # they say when s_churn is in force
            needs(option, option in row.options, f"--sampler {_having(option)}")
    needs("use_karras_sigmas", row.placed, f"--sampler {_having('use_karras_sigmas')}")
    needs("ms_jit", values.ms_mode == 0, "--ms_mode 0")
    churned = "s_tmin s_tmax s_noise" if "s_churn" in row.options else "s_tmin s_tmax"
    needs(churned, values.s_churn > 0, "--s_churn above 0")
    noisy = row.noise == "always" or bool(getattr(values, row.noise, None))
    needs("init_noise_scheduler_path", noisy, "a sampler that adds noise, such as EulerAncestralSampler")
    guided = find(GUIDERS, values.guider).halves > 1
    needs("guidance_scale negative_prompt", guided, "--guider VanillaCFG")
    if image and values.img is None:
        message = "--task img2img needs --img"
        raise InputError(message)
    if (values.height is None) != (values.width is None):
        message = "--height and --width go together"
        raise InputError(message)
