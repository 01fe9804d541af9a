"""The command line of `train`: the original's flags with its names and defaults, and those of diffusers' public script.

A flag that was given counts more than the configuration's `optim` and `data`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mindone_sdxl.errors import InputError
from mindone_sdxl.flags import Flag, literal, read_flags, require_effect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import SimpleNamespace

__all__ = ["FLAGS", "parse"]

_YES_NO = (True, False)

FLAGS: Mapping[str, Flag] = {
    "task": Flag(str, "txt2img", "train, or work out latents and text embeddings once", ("txt2img", "cache")),
    "version": Flag(str, "SDXL-base-1.0", "the model; the refiner is not trained here", ("SDXL-base-1.0",)),
    "config": Flag(str, "configs/training/sd_xl_base_finetune.yaml", "YAML file, or a diffusers folder"),
    "weight": Flag(
        str, "checkpoints/sd_xl_base_1.0_ms.ckpt", "weights to start from; later ones of a comma list override"
    ),
    "tokenizer_path": Flag(str, None, "folder with tokenizer and tokenizer_2, or with one vocabulary for both"),
    "pad_token_is_special": Flag(literal, True, 'whether "!" means the pad token, as in diffusers', _YES_NO),
    "data_path": Flag(str, "", "folder with images and .csv tables of dir and text"),
    "save_path": Flag(str, "./runs", "folder for checkpoints"),
    "save_path_with_time": Flag(literal, True, "a folder of its own in --save_path for every run", _YES_NO),
    "resume": Flag(str, None, "folder of a run to go on with, from its last checkpoint"),
    "resume_step": Flag(int, None, "the checkpoint of --resume to go on from, by its number of updates"),
    "cache_latent": Flag(literal, False, "take latents from --cache_path", _YES_NO),
    "cache_text_embedding": Flag(literal, False, "take text embeddings from --cache_path", _YES_NO),
    "cache_path": Flag(str, "./cache_data", "folder of the cache"),
    "total_step": Flag(int, None, "updates of the weights"),
    "per_batch_size": Flag(int, None, "images of a gradient"),
    "gradient_accumulation_steps": Flag(int, 1, "gradients of an update"),
    "learning_rate": Flag(float, None, "its height"),
    "lr_scheduler": Flag(str, None, "how it goes on after the warm-up", ("constant", "linear", "cosine")),
    "lr_warmup_steps": Flag(int, None, "updates over which it rises"),
    "scale_lr": Flag(literal, False, "multiply it by the images of an update", _YES_NO),
    "optimizer": Flag(str, None, "AdamW as in torch, or MindSpore's AdamWeightDecay", ("AdamW", "AdamWeightDecay")),
    "adam_beta1": Flag(float, None, "share of the first moment that is kept"),
    "adam_beta2": Flag(float, None, "share of the second moment that is kept"),
    "adam_epsilon": Flag(float, None, "added to the root of the second moment"),
    "adam_weight_decay": Flag(float, None, "share of a weight that goes in an update, times the rate"),
    "decay_filter": Flag(
        str,
        None,
        "weights that decay: all, those without norm and bias in their names, or matrices",
        ("all", "names", "matrices"),
    ),
    "clip_grad": Flag(literal, False, "scale gradients down to --max_grad_norm", _YES_NO),
    "max_grad_norm": Flag(float, 1.0, "largest norm of all gradients together"),
    "clip_grad_each": Flag(literal, False, "the norm is that of each gradient, as the original has it", _YES_NO),
    "snr_gamma": Flag(float, None, "largest signal-to-noise ratio that counts in the loss"),
    "loss_type": Flag(str, None, "square or absolute difference", ("l2", "l1")),
    "offset_noise_level": Flag(float, None, "share of noise that is the same all over a channel"),
    "timestep_bias_strategy": Flag(str, None, "timesteps that are drawn more often", ("earlier", "later", "range")),
    "timestep_bias_multiplier": Flag(float, 1.0, "how many times as often"),
    "timestep_bias_portion": Flag(float, 0.25, "share of the earlier or later ones"),
    "timestep_bias_begin": Flag(int, 0, "first of the range"),
    "timestep_bias_end": Flag(int, 1000, "the one after the last of the range"),
    "use_ema": Flag(literal, False, "keep an average of the weights", _YES_NO),
    "ema_decay": Flag(float, 0.9999, "share of the average that is kept at most"),
    "ema_warmup": Flag(
        str,
        "exponential",
        "how that share rises: as in the original, as in diffusers, or not",
        ("exponential", "ratio", "none"),
    ),
    "resolution": Flag(int, None, "height and width that is trained with"),
    "center_crop": Flag(literal, False, "cut the square out of the middle", _YES_NO),
    "random_flip": Flag(literal, False, "mirror half of the images", _YES_NO),
    "interpolation": Flag(str, None, "how images are resized", ("bilinear", "bicubic")),
    "prompt_empty_probability": Flag(float, None, "chance that an image goes without its text"),
    "truncate_text": Flag(literal, False, "cut texts off that are too long", _YES_NO),
    "shuffle": Flag(literal, None, "images in an order of their own in every epoch", _YES_NO),
    "seed": Flag(int, 42, "of order, crops, timesteps and noise"),
    "log_interval": Flag(int, 1, "updates between two lines of the log"),
    "save_ckpt_interval": Flag(int, 1000, "updates between two checkpoints"),
    "max_num_ckpt": Flag(int, None, "checkpoints that are kept"),
    "device_target": Flag(str, "Ascend", "device", ("Ascend", "GPU", "CPU")),
    "ms_mode": Flag(
        int, 0, "0: the gradient runs as a graph, compiled when first used; 1: operator by operator", (0, 1)
    ),
    "ms_amp_level": Flag(str, "O2", "O0: float32; O2: float16 from weights kept in float32", ("O0", "O2")),
    "param_fp16": Flag(literal, False, "keep weights and moments in float16; experimental", _YES_NO),
    "keep_norm_fp32": Flag(literal, True, "with --param_fp16, keep the norms' weights in float32", _YES_NO),
    "vae_fp16": Flag(literal, False, "run the autoencoder in float16; it has to be one repaired for that", _YES_NO),
    "loss_scale": Flag(float, 1024.0, "factor of the loss in float16, at the start"),
    "dynamic_loss_scale": Flag(literal, False, "halve it where gradients overflow, and let it grow again", _YES_NO),
    "overflow_still_update": Flag(literal, True, "change weights although gradients overflow", _YES_NO),
    "precision_keep_origin_dtype": Flag(literal, False, "keep Ascend from computing float32 coarser", _YES_NO),
    # Features of the original that are not implemented.
    "optimizer_weight": Flag(str, None),
    "save_optimizer": Flag(literal, False),
    "save_ckpt_only_rank_zero": Flag(literal, False),
    "sd_xl_base_ratios": Flag(str, "1.0"),
    "data_sink": Flag(literal, False),
    "sink_size": Flag(int, 1000),
    "sink_queue_size": Flag(int, -1),
    "dataset_load_tokenizer": Flag(literal, True),
    "lpw": Flag(literal, False),
    "max_embeddings_multiples": Flag(int, 3),
    "infer_during_train": Flag(literal, False),
    "infer_interval": Flag(int, 1),
    "jit_level": Flag(str, "O2"),
    "ms_enable_graph_kernel": Flag(literal, False),
    "ms_enable_allreduce_fusion": Flag(literal, True),
    "max_device_memory": Flag(str, None),
    "is_parallel": Flag(literal, False),
    "enable_modelarts": Flag(literal, False),
    "ckpt_url": Flag(str, ""),
    "train_url": Flag(str, ""),
    "multi_data_url": Flag(str, ""),
    "pretrain_url": Flag(str, ""),
    "ckpt_dir": Flag(str, "/cache/pretrain_ckpt/"),
}
_MANY = 10**12
_RANGES = {
    "total_step": (1, _MANY),
    "per_batch_size": (1, 4096),
    "gradient_accumulation_steps": (1, 4096),
    "lr_warmup_steps": (0, _MANY),
    "resolution": (8, 8192),
    "prompt_empty_probability": (0, 1),
    "log_interval": (1, _MANY),
    "save_ckpt_interval": (1, _MANY),
    "max_num_ckpt": (1, _MANY),
    "resume_step": (1, _MANY),
}


def parse(arguments: Sequence[str] | None = None) -> SimpleNamespace:
    """The value of every flag, and `given`, the names of those that stand on the command line.

    Raises:
        InputError: a flag has no effect, or a value is out of range. An unknown flag ends the program with status 2.
    """
    values = read_flags("train", "Fine-tune the UNet of Stable Diffusion XL.", FLAGS, arguments, ranges=_RANGES)
    _check_effects(values)
    return values


def _check_effects(values: SimpleNamespace) -> None:
    """Refuse flags that the others leave without effect."""
    needs = partial(require_effect, values)
    cached = values.cache_latent
    if cached != values.cache_text_embedding:
        message = "--cache_latent and --cache_text_embedding go together"
        raise InputError(message)
    caches = values.task == "cache"
    if caches and cached:
        message = "--task cache writes the cache that --cache_latent True reads; give one of the two"
        raise InputError(message)
    if not cached and not values.data_path:
        message = "--data_path is missing: the folder with images and .csv tables of dir and text"
        raise InputError(message)
    needs("cache_path", caches or cached, "--task cache, or --cache_latent True")
    needs("data_path", not cached, "--cache_latent False, a cache has the images' latents")
    needs("center_crop random_flip interpolation resolution truncate_text", not cached, "--cache_latent False")
    needs("prompt_empty_probability", not (cached or caches), "neither a cache nor --task cache")
    needs("max_grad_norm clip_grad_each", values.clip_grad, "--clip_grad True")
    needs("ema_decay ema_warmup", values.use_ema, "--use_ema True")
    biased = values.timestep_bias_strategy
    needs("timestep_bias_multiplier", biased, "--timestep_bias_strategy")
    needs("timestep_bias_portion", biased in {"earlier", "later"}, "--timestep_bias_strategy earlier or later")
    needs("timestep_bias_begin timestep_bias_end", biased == "range", "--timestep_bias_strategy range")
    half = values.ms_amp_level == "O2" or values.param_fp16
    needs("loss_scale dynamic_loss_scale overflow_still_update vae_fp16", half, "float16: --ms_amp_level O2")
    needs("param_fp16", values.ms_amp_level == "O2", "--ms_amp_level O2")
    needs("keep_norm_fp32", values.param_fp16, "--param_fp16 True")
    needs("resume_step", values.resume, "--resume RUN")
    needs("save_path save_path_with_time", not values.resume, "a new run, --resume goes on in its folder")
