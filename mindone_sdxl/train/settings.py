"""From flags and a configuration's `optim` and `data` to a recipe; no framework is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindone_sdxl.errors import ConfigError, InputError
from mindone_sdxl.train.data import Framing
from mindone_sdxl.train.recipe import Clip, Ema, LossScale, Optimizer, Rate, Recipe, TimestepBias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import SimpleNamespace

__all__ = ["Settings", "settings_of"]

_BICUBIC = 3  # as MindSpore's data package counts them
_TRANSFORMS = {"Resize", "Rescaler", "AddOriginalImageSizeAsTupleAndCropToSquare", "Transpose"}
_ADAM = {
    "adam_beta1": "beta1",
    "adam_beta2": "beta2",
    "adam_epsilon": "eps",
    "adam_weight_decay": "weight_decay",
    "decay_filter": "decay",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A recipe, and how its images are made.

    Args:
        drop: the chance that an image goes without its text.
    """

    recipe: Recipe
    framing: Framing
    shuffle: bool
    drop: float


def settings_of(values: SimpleNamespace, training: Mapping[str, Any]) -> Settings:
    """What the flags say, and where they say nothing the configuration.

    Raises:
        SDXLError: a number is out of range, or something is asked for that is not implemented.
    """
    optim, data = (_mapping(training.get(key, {}), key) for key in ("optim", "data"))
    dataset = _dataset(data)
    batch = _first(values.per_batch_size, data.get("per_batch_size"), 1)
    total = _first(values.total_step, data.get("total_step"), None)
    if total is None:
        message = "--total_step is missing, and the configuration's data has no total_step"
        raise InputError(message)
    accumulation = values.gradient_accumulation_steps
    loss = _mapping(
        _mapping(training.get("loss_fn_config", {}), "loss_fn_config").get("params") or {}, "loss_fn_config.params"
    )
    recipe = Recipe(
        total_steps=total,
        batch_size=batch,
        accumulation=accumulation,
        optimizer=_optimizer(values, optim),
        rate=_rate(values, optim, total, batch * accumulation if values.scale_lr else 1),
        clip=Clip(norm=values.max_grad_norm, each=values.clip_grad_each) if values.clip_grad else None,
        ema=Ema(decay=values.ema_decay, warmup=values.ema_warmup) if values.use_ema else None,
        loss_scale=_loss_scale(values),
        timestep_bias=_bias(values),
        snr_gamma=values.snr_gamma,
        offset_noise=_first(values.offset_noise_level, loss.get("offset_noise_level"), 0.0),
        loss=_first(values.loss_type, loss.get("type"), "l2"),
        weights=_weights(values),
        narrow=values.ms_amp_level == "O2",
        seed=values.seed,
    )
    framing = Framing(
        size=_first(values.resolution, dataset.get("target_size"), 1024),
        crop="center" if values.center_crop else "random",
        flip=values.random_flip,
        interpolation=_first(values.interpolation, dataset.get("interpolation"), "bilinear"),
    )
    drop = _first(values.prompt_empty_probability, dataset.get("prompt_empty_probability"), 0.0)
    return Settings(
        recipe=recipe, framing=framing, shuffle=_first(values.shuffle, data.get("shuffle"), True), drop=drop
    )


def _first(given: Any, configured: Any, default: Any) -> Any:
    """The flag's value, else the configuration's, else the default."""
    if given is not None:
        return given
    return default if configured is None else configured


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    """A part of the configuration that has keys.

    Raises:
        ConfigError: it has none.
    """
    if not isinstance(value, dict):
        message = f"{place} is {value!r}, expected a mapping"
        raise ConfigError(message)
    return value


def _optimizer(values: SimpleNamespace, optim: Mapping[str, Any]) -> Optimizer:
    """The optimizer of the flags and the configuration; one that the flag alone names has its own defaults."""
    configured = _mapping(optim.get("optimizer_config") or {}, "optim.optimizer_config")
    target = _first(values.optimizer, configured.get("target"), "AdamW")
    same = str(configured.get("target", target)).rpartition(".")[2] == target.rpartition(".")[2]
    options = dict(_mapping(configured.get("params") or {}, "optim.optimizer_config.params")) if same else {}
    options |= {option: getattr(values, flag) for flag, option in _ADAM.items() if getattr(values, flag) is not None}
    return Optimizer.named(target, **options)


def _rate(values: SimpleNamespace, optim: Mapping[str, Any], total: int, factor: int) -> Rate:
    """The learning rate; a flag for its course replaces the configuration's scheduler."""
    base = factor * float(_first(values.learning_rate, optim.get("base_learning_rate"), 1e-5))
    configured = _mapping(optim.get("scheduler_config") or {}, "optim.scheduler_config")
    if values.lr_scheduler is not None or values.lr_warmup_steps is not None or not configured:
        return Rate(base=base, shape=values.lr_scheduler or "constant", warmup=values.lr_warmup_steps or 0, total=total)
    name = str(configured.get("target", "")).rpartition(".")[2]
    options = _mapping(configured.get("params") or {}, "optim.scheduler_config.params")
    if name == "LambdaWarmUpScheduler":
        return Rate(base=base, warmup=options["warm_up_steps"])
    if name == "LambdaWarmUpCosineScheduler":
        high = float(options["lr_max"])
        return Rate(
            base=base * high,
            shape="cosine",
            warmup=options["warm_up_steps"],
            total=options["max_decay_steps"],
            first=float(options["lr_start"]) / high,
            last=float(options["lr_min"]) / high,
        )
    message = f"optim.scheduler_config: target {name} is not implemented, expected LambdaWarmUpScheduler or LambdaWarmUpCosineScheduler"
    raise ConfigError(message)


def _bias(values: SimpleNamespace) -> TimestepBias | None:
    if values.timestep_bias_strategy is None:
        return None
    return TimestepBias(
        strategy=values.timestep_bias_strategy,
        multiplier=values.timestep_bias_multiplier,
        portion=values.timestep_bias_portion,
        begin=values.timestep_bias_begin,
        end=values.timestep_bias_end,
    )


def _loss_scale(values: SimpleNamespace) -> LossScale:
    """The loss scale of float16; float32 needs none."""
    if values.ms_amp_level == "O0":
        return LossScale()
    return LossScale(
        value=values.loss_scale, dynamic=values.dynamic_loss_scale, update_anyway=values.overflow_still_update
    )


def _weights(values: SimpleNamespace) -> Any:
    if not values.param_fp16:
        return "float32"
    return "float16 with float32 norms" if values.keep_norm_fp32 else "float16"


def _dataset(data: Mapping[str, Any]) -> dict[str, Any]:
    """What the configuration says of images.

    Raises:
        ConfigError: it asks for a data set or a transform that is not implemented.
    """
    config = _mapping(data.get("dataset_config") or {}, "data.dataset_config")
    name = str(config.get("target", "Text2ImageDataset")).rpartition(".")[2]
    if name != "Text2ImageDataset":
        message = f"data.dataset_config: target {name} is not implemented, expected Text2ImageDataset"
        raise ConfigError(message)
    options = dict(_mapping(config.get("params") or {}, "data.dataset_config.params"))
    if options.get("multi_aspect"):
        message = "data.dataset_config.params: multi_aspect is not implemented; images are cut to squares"
        raise ConfigError(message)
    for transform in options.pop("transforms", None) or ():
        kind = str(transform["target"]).rpartition(".")[2]
        if kind not in _TRANSFORMS:
            message = f"data.dataset_config.params: transform {kind} is not implemented, expected {', '.join(sorted(_TRANSFORMS))}"
            raise ConfigError(message)
        if kind == "Resize" and (transform.get("params") or {}).get("interpolation") == _BICUBIC:
            options["interpolation"] = "bicubic"
    return options
