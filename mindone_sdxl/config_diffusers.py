"""Reads the JSON files of a diffusers SDXL folder into `config.SDXLConfig`.

diffusers writes every constructor argument of a model into its `config.json`. An argument is either used here, or it
must have the one value that this package implements (the tables below), or it is of no consequence for inference.
Anything else is an error: a key that nobody looked at may change what the model computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from mindone_sdxl.config import (
    Activation,
    ScheduleConfig,
    SDXLConfig,
    TextEncoderConfig,
    TextEncoderKind,
    UNetConfig,
    VAEConfig,
    read_json,
)
from mindone_sdxl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["read_folder", "text_encoder"]

_UNET_USED = frozenset(
    [
        "in_channels",
        "out_channels",
        "block_out_channels",
        "layers_per_block",
        "transformer_layers_per_block",
        "attention_head_dim",
        "num_attention_heads",
        "cross_attention_dim",
        "projection_class_embeddings_input_dim",
        "addition_time_embed_dim",
        "norm_num_groups",
        "norm_eps",
        "use_linear_projection",
        "time_cond_proj_dim",
        "down_block_types",
        "up_block_types",
    ]
)
_UNET_FIXED: Mapping[str, tuple[Any, ...]] = {
    "act_fn": ("silu",),
    "addition_embed_type": ("text_time",),
    "addition_embed_type_num_heads": (64, None),
    "attention_type": ("default", None),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "class_embeddings_concat": (False,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "downsample_padding": (1,),
    "dropout": (0, 0.0),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "mid_block_only_cross_attention": (None, False),
    "mid_block_scale_factor": (1, 1.0),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_out_scale_factor": (1, 1.0),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "reverse_transformer_layers_per_block": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
}
_UNET_IGNORED = frozenset({"sample_size", "upcast_attention"})
_VAE_USED = frozenset(
    [
        "in_channels",
        "out_channels",
        "block_out_channels",
        "layers_per_block",
        "latent_channels",
        "norm_num_groups",
        "scaling_factor",
        "latents_mean",
        "latents_std",
        "force_upcast",
    ]
)
_VAE_FIXED: Mapping[str, tuple[Any, ...]] = {
    "act_fn": ("silu",),
    "mid_block_add_attention": (True,),
    "shift_factor": (None, 0, 0.0),
    "use_post_quant_conv": (True,),
    "use_quant_conv": (True,),
}
_VAE_IGNORED = frozenset({"sample_size", "down_block_types", "up_block_types"})
_SCHEDULE_FIXED: Mapping[str, tuple[Any, ...]] = {
    "timestep_spacing": ("leading",),
    "rescale_betas_zero_snr": (False,),
    "trained_betas": (None,),
    "clip_sample": (False,),
    "thresholding": (False,),
    "timestep_scaling": (10, 10.0),
}


def read_folder(folder: Path) -> SDXLConfig:
    """The configuration of a diffusers SDXL folder."""
    path = folder / "model_index.json"
    index = read_json(path)
    scored = bool(index.get("requires_aesthetics_score", False))
    alone = not (folder / "text_encoder").is_dir() if index.get("text_encoder", [None]) == [None, None] else False
    if scored != alone:
        message = f"{path}: requires_aesthetics_score is {scored}, with {1 if alone else 2} text encoders"
        raise ConfigError(message)
    first = None if alone else text_encoder(folder / "text_encoder" / "config.json", "clip")
    return SDXLConfig(
        refiner=alone,
        unet=_unet(folder / "unet" / "config.json"),
        text_encoder=first or SDXLConfig().text_encoder,
        text_encoder_2=text_encoder(folder / "text_encoder_2" / "config.json", "open_clip"),
        vae=_vae(folder / "vae" / "config.json"),
        schedule=_schedule(folder / "scheduler" / "scheduler_config.json"),
        force_zeros_for_empty_prompt=bool(index.get("force_zeros_for_empty_prompt", True)),
    )


def _check(
    path: Path, values: Mapping[str, Any], fixed: Mapping[str, tuple[Any, ...]], known: frozenset[str] | None
) -> None:
    for key, value in values.items():
        if key in fixed and value not in fixed[key]:
            message = f"{path}: {key} is {value!r}, only {fixed[key][0]!r} is implemented"
            raise ConfigError(message)
        if known is not None and key not in fixed and key not in known and not key.startswith("_"):
            message = f"{path}: unknown key {key} (value {value!r})"
            raise ConfigError(message)


def _take(path: Path, values: Mapping[str, Any], key: str) -> Any:
    try:
        return values[key]
    except KeyError as error:
        message = f"{path}: {key} is missing"
        raise ConfigError(message) from error


def _per_level(value: int | list[int], levels: int) -> tuple[int, ...]:
    return (value,) * levels if isinstance(value, int) else tuple(value)


def _unet(path: Path) -> UNetConfig:
    values = read_json(path)
    _check(path, values, _UNET_FIXED, _UNET_USED | _UNET_IGNORED)
    if values.get("addition_embed_type") != "text_time":
        message = f"{path}: addition_embed_type is {values.get('addition_embed_type')!r}, expected 'text_time'"
        raise ConfigError(message)
    channels = tuple(_take(path, values, "block_out_channels"))
    levels = len(channels)
    types = tuple(_take(path, values, "down_block_types"))
    depth = _per_level(values.get("transformer_layers_per_block", 1), levels)
    ups = tuple(name.replace("Down", "Up") for name in reversed(types))
    if set(types) - {"DownBlock2D", "CrossAttnDownBlock2D"} or tuple(_take(path, values, "up_block_types")) != ups:
        message = f"{path}: blocks {types} with {values['up_block_types']}; the up blocks must mirror the down"
        raise ConfigError(message)
    heads = values.get("num_attention_heads") or _take(path, values, "attention_head_dim")
    return UNetConfig(
        in_channels=_take(path, values, "in_channels"),
        out_channels=_take(path, values, "out_channels"),
        channels=channels,
        resnets_per_level=_take(path, values, "layers_per_block"),
        transformer_layers=tuple(n if name.startswith("Cross") else 0 for n, name in zip(depth, types, strict=True)),
        mid_transformer_layers=depth[-1],
        heads=_per_level(heads, levels),
        context_size=_take(path, values, "cross_attention_dim"),
        vector_size=_take(path, values, "projection_class_embeddings_input_dim"),
        size_embedding_size=_take(path, values, "addition_time_embed_dim"),
        guidance_size=values.get("time_cond_proj_dim") or 0,
        num_groups=values.get("norm_num_groups", 32),
        norm_eps=values.get("norm_eps", 1e-5),
        linear_projection=bool(values.get("use_linear_projection", False)),
    )


def text_encoder(path: Path, kind: TextEncoderKind) -> TextEncoderConfig:
    """The text encoder of a transformers `config.json`, which may be that of a whole CLIP model."""
    values = read_json(path)
    values = values.get("text_config", values)
    activation = values.get("hidden_act", "quick_gelu")
    if activation not in ("quick_gelu", "gelu"):
        message = f"{path}: hidden_act is {activation!r}, only 'quick_gelu' and 'gelu' are implemented"
        raise ConfigError(message)
    hidden = _take(path, values, "hidden_size")
    return TextEncoderConfig(
        kind=kind,
        vocabulary_size=values.get("vocab_size", 49408),
        hidden_size=hidden,
        intermediate_size=_take(path, values, "intermediate_size"),
        layers=_take(path, values, "num_hidden_layers"),
        heads=_take(path, values, "num_attention_heads"),
        activation=cast("Activation", activation),
        norm_eps=values.get("layer_norm_eps", 1e-5),
        positions=values.get("max_position_embeddings", 77),
        projection_size=values.get("projection_dim", hidden) if kind == "open_clip" else None,
        eos_token_id=values.get("eos_token_id", 49407),
    )


def _vae(path: Path) -> VAEConfig:
    values = read_json(path)
    _check(path, values, _VAE_FIXED, _VAE_USED | _VAE_IGNORED)
    return VAEConfig(
        in_channels=values.get("in_channels", 3),
        out_channels=values.get("out_channels", 3),
        channels=tuple(_take(path, values, "block_out_channels")),
        resnets_per_level=_take(path, values, "layers_per_block"),
        latent_channels=_take(path, values, "latent_channels"),
        num_groups=values.get("norm_num_groups", 32),
        scaling_factor=_take(path, values, "scaling_factor"),
        latents_mean=tuple(values.get("latents_mean") or ()),
        latents_std=tuple(values.get("latents_std") or ()),
        force_upcast=bool(values.get("force_upcast", True)),
    )


def _schedule(path: Path) -> ScheduleConfig:
    values = read_json(path)
    if str(values.get("_class_name", "")).startswith("EDM"):
        return _edm(path, values)
    _check(path, values, _SCHEDULE_FIXED, None)
    beta_schedule = values.get("beta_schedule", "linear")
    prediction = values.get("prediction_type", "epsilon")
    if beta_schedule not in ("scaled_linear", "linear"):
        message = f"{path}: beta_schedule is {beta_schedule!r}, expected 'scaled_linear' or 'linear'"
        raise ConfigError(message)
    if prediction not in ("epsilon", "v_prediction"):
        message = f"{path}: prediction_type is {prediction!r}, expected 'epsilon' or 'v_prediction'"
        raise ConfigError(message)
    return ScheduleConfig(
        train_timesteps=values.get("num_train_timesteps", 1000),
        beta_start=_take(path, values, "beta_start"),
        beta_end=_take(path, values, "beta_end"),
        beta_schedule=beta_schedule,
        prediction=prediction,
        original_inference_steps=values.get("original_inference_steps", 0),
        steps_offset=values.get("steps_offset", 0),
    )


def _edm(path: Path, values: Mapping[str, Any]) -> ScheduleConfig:
    _check(path, values, {"prediction_type": ("epsilon",), "sigma_schedule": ("karras",)}, None)
    levels = {key: _take(path, values, key) for key in ("sigma_data", "sigma_min", "sigma_max", "rho")}
    return ScheduleConfig(prediction="edm", train_timesteps=values.get("num_train_timesteps", 1000), **levels)
