"""Reads the original's YAML configurations (`configs/inference/sd_xl_base.yaml`) into this package's classes.

A `target:` names a class of the original; the last part of the name says which class here does its work, wherever the
original keeps it. A target or a parameter that is not known is an error. Some parameters choose a faster or a coarser
way to the same numbers (flash attention, float16 in the autoencoder's attention, recomputation): they are accepted
and the exact way is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from mindone_sdxl.config import (
    Prediction,
    ScheduleConfig,
    SDXLConfig,
    TextEncoderConfig,
    UNetConfig,
    VAEConfig,
    read_json,
)
from mindone_sdxl.config_diffusers import text_encoder
from mindone_sdxl.discretization import DISCRETIZATIONS, Discretization, LegacyDDPM
from mindone_sdxl.errors import ConfigError
from mindone_sdxl.hub import places
from mindone_sdxl.lookup import find

__all__ = ["YamlConfig", "from_yaml"]

_NETWORK_IGNORED = {
    "spatial_transformer_attn_type",
    "legacy",
    "use_recompute",
    "use_checkpoint",
    "use_spatial_transformer",
}
_CODER_IGNORED = {"resolution", "attn_type", "decoder_attn_dtype", "encoder_attn_dtype", "dropout", "double_z"}
_PREDICTIONS: Mapping[str, Prediction] = {"EpsScaling": "epsilon", "VScaling": "v_prediction", "EDMScaling": "edm"}
VOCABULARY = "openai/clip-vit-large-patch14"
_OPEN_CLIP = {"ViT-bigG-14-Text": SDXLConfig().text_encoder_2, "ViT-bigG-14": SDXLConfig().text_encoder_2}
_SIZES = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")
_REFINER_SIZES = ("original_size_as_tuple", "crop_coords_top_left", "aesthetic_score")


@dataclass(frozen=True, kw_only=True)
class YamlConfig:
    """A configuration of the original.

    Args:
        version: its name, part of the path of what is written.
        model: the model.
        discretization: where a sampler places its steps unless it is told otherwise.
        vocabulary: the `version:` of the first text encoder, where its tokenizer is: a folder, or an id on the hub.
        sampler: the sampler of `sampler_config`, as the original calls it, and `sampler_options` its `params`, which
            hold for runs with that sampler.
        training: what it says of training, as it stands: `optim`, `data` and `loss_fn_config`, as far as it has them.
    """

    version: str
    model: SDXLConfig
    discretization: Discretization
    vocabulary: str = VOCABULARY
    sampler: str = ""
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


class _Node:
    """A part of the configuration that knows its place and which of its keys were taken."""

    def __init__(self, values: object, place: str) -> None:
        if not isinstance(values, Mapping):
            message = f"{place} is {values!r}, expected a mapping"
            raise ConfigError(message)
        self.values, self.place, self.left = values, place, set(values)

    def take(self, key: str, default: Any = None, *, required: bool = False) -> Any:
        self.left.discard(key)
        if required and key not in self.values:
            message = f"{self.place}: {key} is missing"
            raise ConfigError(message)
        return self.values.get(key, default)

    def child(self, key: str) -> _Node:
        return _Node(self.take(key, required=True), f"{self.place}.{key}")

    def expect(self, key: str, *allowed: object) -> None:
        value = self.take(key, allowed[0])
        if value not in allowed:
            message = f"{self.place}: {key} is {value!r}, only {allowed[0]!r} is implemented"
            raise ConfigError(message)

    def target(self, *allowed: str) -> str:
        name = str(self.take("target", required=True)).rpartition(".")[2]
        if name not in allowed:
            message = f"{self.place}: target {name} is not implemented, expected {' or '.join(allowed)}"
            raise ConfigError(message)
        return name

    def done(self, ignored: set[str] | frozenset[str] = frozenset()) -> None:
        unknown = sorted(self.left - ignored)
        if unknown:
            message = f"{self.place}: unknown keys {', '.join(unknown)}"
            raise ConfigError(message)


def from_yaml(path: str | Path) -> YamlConfig:
    """The configuration in a YAML file of the original.

    Raises:
        ConfigError: the file is not readable, or asks for something that is not implemented.
    """
    try:
        root = _Node(yaml.safe_load(Path(path).read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        message = f"{path} is not readable YAML: {error}"
        raise ConfigError(message) from error
    version = str(root.take("version", "SDXL-base-1.0"))
    model = root.child("model")
    model.target("DiffusionEngine")
    parameters = model.child("params")
    for key in ("disable_first_stage_amp", "disable_first_stage_autocast"):  # MindSpore's and Stability's spelling
        parameters.expect(key, True, False)
    schedule, discretization = _denoiser(parameters.child("denoiser_config"))
    refiner, first, second, sizes, vocabulary = _conditioner(parameters.child("conditioner_config"), Path(path).parent)
    unet = _network(parameters.child("network_config"), 5 if refiner else 6, cast("int", second.projection_size))
    vae = _autoencoder(parameters.child("first_stage_config"), parameters)
    sampler = parameters.take("sampler_config") or {}
    training = {
        "optim": root.take("optim"),
        "data": root.take("data"),
        "loss_fn_config": parameters.take("loss_fn_config"),
    }
    parameters.done({"optim", "sigma_sampler_config", "ckpt_path"})
    if sizes != unet["size_embedding_size"]:
        message = f"{path}: size embeddings of {sizes}, the UNet's adm_in_channels leave another number"
        raise ConfigError(message)
    config = SDXLConfig(
        unet=UNetConfig(**unet),
        text_encoder=first,
        text_encoder_2=second,
        vae=vae,
        schedule=schedule,
        refiner=refiner,
        force_zeros_for_empty_prompt=not refiner,
    )
    return YamlConfig(
        version=version,
        model=config,
        discretization=discretization,
        vocabulary=vocabulary,
        sampler=str(sampler.get("target", "")),
        sampler_options=sampler.get("params") or {},
        training={key: value for key, value in training.items() if value},
    )


def _denoiser(node: _Node) -> tuple[ScheduleConfig, Discretization]:
    node.target("DiscreteDenoiser")
    parameters = node.child("params")
    count = parameters.take("num_idx", 1000)
    parameters.take("weighting_config")
    scaling = parameters.child("scaling_config")
    prediction = _PREDICTIONS[scaling.target(*_PREDICTIONS)]
    continuous = prediction == "edm"
    data = _Node(scaling.take("params", {}), f"{scaling.place}.params")
    sigma_data = data.take("sigma_data", 0.5) if continuous else 0.5
    data.done()
    # A network of continuous noise levels is told the level itself, in ascending order; the others an index.
    for key in ("quantize_c_noise", "flip"):
        if bool(parameters.take(key, True)) == continuous:
            message = f"{parameters.place}: {key} is {continuous}, {not continuous} is needed with {scaling.target(*_PREDICTIONS)}"
            raise ConfigError(message)
    discretization = parameters.child("discretization_config")
    chosen = find(DISCRETIZATIONS, str(discretization.take("target", required=True)))
    parameters.done()
    options = _Node(discretization.take("params", {}), f"{discretization.place}.params")
    on_table = chosen in (LegacyDDPM, DISCRETIZATIONS["DiffusersDDPM"])
    keys = () if on_table else ("sigma_min", "sigma_max", "rho")
    levels = {key: options.take(key) for key in keys if key in options.values}
    schedule = ScheduleConfig(
        train_timesteps=options.take("num_timesteps", count),
        beta_start=options.take("linear_start", 0.00085),
        beta_end=options.take("linear_end", 0.012),
        prediction=prediction,
        sigma_data=sigma_data,
        **levels,
    )
    options.done()
    return schedule, chosen(schedule, **levels)


def _network(node: _Node, time_ids: int, pooled: int) -> dict[str, Any]:
    node.target("UNetModel")
    values = node.child("params")
    width, multiples = values.take("model_channels", required=True), values.take("channel_mult", required=True)
    channels = tuple(width * multiple for multiple in multiples)
    attended = set(values.take("attention_resolutions", required=True))
    depth = values.take("transformer_depth", 1)
    depths = [depth] * len(channels) if isinstance(depth, int) else list(depth)
    head = values.take("num_head_channels", required=True)
    values.expect("num_classes", "sequential")
    context = values.take("context_dim", required=True)
    vector = values.take("adm_in_channels", required=True)
    config = {
        "in_channels": values.take("in_channels", 4),
        "out_channels": values.take("out_channels", 4),
        "channels": channels,
        "resnets_per_level": values.take("num_res_blocks", required=True),
        "transformer_layers": tuple(n if 2**level in attended else 0 for level, n in enumerate(depths)),
        "mid_transformer_layers": depths[-1],
        "heads": tuple(channel // head for channel in channels),
        "context_size": context[0] if isinstance(context, list) else context,
        "vector_size": vector,
        "size_embedding_size": (vector - pooled) // time_ids,
        "linear_projection": bool(values.take("use_linear_in_transformer", False)),
    }
    values.done(_NETWORK_IGNORED)
    return config


def _conditioner(node: _Node, folder: Path) -> tuple[bool, TextEncoderConfig, TextEncoderConfig, int, str]:
    """Whether it is the refiner's, the text encoders, the width of each size's embedding, and the vocabulary.

    The first encoder's `version` may also be a folder, beside the YAML file or not, or an id found in the hub's local
    cache (see `hub`), and the second's `arch` the name of an OpenCLIP model file `ARCH.json` beside the YAML file.
    """
    node.target("GeneralConditioner")
    models = node.child("params").take("emb_models", required=True)
    nodes = [_Node(values, f"{node.place}.params.emb_models.{index}") for index, values in enumerate(models)]
    keys = tuple(embedder.take("input_key", required=True) for embedder in nodes)
    refiner = keys == ("txt", *_REFINER_SIZES)
    if not refiner and keys != ("txt", "txt", *_SIZES):
        message = (
            f"{node.place}: embedders of {', '.join(map(str, keys))}; expected txt twice, {', '.join(_SIZES)}, "
            f"or for the refiner txt, {', '.join(_REFINER_SIZES)}"
        )
        raise ConfigError(message)
    texts = len(keys) - len(_SIZES)
    if not refiner:
        nodes[0].target("FrozenCLIPEmbedder")
    nodes[texts - 1].target("FrozenOpenCLIPEmbedder2")
    parameters = [embedder.child("params") for embedder in nodes]
    vocabulary = VOCABULARY if refiner else str(parameters[0].take("version", VOCABULARY))
    first = SDXLConfig().text_encoder if refiner else _clip(parameters[0], vocabulary, folder)
    second = _open_clip(parameters[texts - 1], folder)
    widths = set()
    for embedder, values in zip(nodes[texts:], parameters[texts:], strict=True):
        embedder.target("ConcatTimestepEmbedderND")
        widths.add(values.take("outdim", required=True))
    if len(widths) != 1:
        message = f"{node.place}: size embeddings of different widths {sorted(widths)}"
        raise ConfigError(message)
    return refiner, first, second, widths.pop(), vocabulary


def _clip(node: _Node, version: str, beside: Path) -> TextEncoderConfig:
    if version == VOCABULARY:
        return TextEncoderConfig(kind="clip")
    looked = places(version, beside)
    folder = next((path for path in looked if path.is_dir()), None)
    if folder is None:
        message = f"{node.place}: version {version!r} is neither {VOCABULARY} nor one of {', '.join(map(str, looked))}"
        raise ConfigError(message)
    if not (folder / "config.json").is_file():  # a tokenizer alone, as people keep who work offline
        return TextEncoderConfig(kind="clip")
    config = text_encoder(folder / "config.json", "clip")
    layer, index = node.take("layer", "last"), node.take("layer_idx")
    if (layer, index) != ("hidden", config.layers - 1):
        message = (
            f"{node.place}: layer {layer!r} {index}; only the last but one is implemented, 'hidden' {config.layers - 1}"
        )
        raise ConfigError(message)
    return config


def _open_clip(node: _Node, folder: Path) -> TextEncoderConfig:
    path = folder / f"{node.values.get('arch', '')}.json"
    if not path.is_file():
        name = node.take("arch", next(iter(_OPEN_CLIP)))
        if name not in _OPEN_CLIP:
            message = f"{node.place}: arch {name!r} is not known, expected {' or '.join(_OPEN_CLIP)}, or a file {path}"
            raise ConfigError(message)
        return _OPEN_CLIP[name]
    file = _Node(read_json(path), str(path))
    text = file.child("text_cfg")
    width = text.take("width", required=True)
    config = TextEncoderConfig(
        kind="open_clip",
        vocabulary_size=text.take("vocab_size", 49408),
        hidden_size=width,
        intermediate_size=int(width * text.take("mlp_ratio", 4)),
        layers=text.take("layers", required=True),
        heads=text.take("heads", required=True),
        activation="gelu",
        positions=text.take("context_length", 77),
        projection_size=file.take("embed_dim", required=True),
    )
    file.expect("quick_gelu", False)
    text.done()
    return config


def _autoencoder(node: _Node, parameters: _Node) -> VAEConfig:
    node.target("AutoencoderKLInferenceWrapper", "AutoencoderKLModeOnly", "AutoencoderKL")
    coder = node.child("params").child("ddconfig")
    width, multiples = coder.take("ch", required=True), coder.take("ch_mult", required=True)
    coder.expect("attn_resolutions", [])
    config = VAEConfig(
        in_channels=coder.take("in_channels", 3),
        out_channels=coder.take("out_ch", 3),
        channels=tuple(width * multiple for multiple in multiples),
        resnets_per_level=coder.take("num_res_blocks", required=True),
        latent_channels=coder.take("z_channels", required=True),
        scaling_factor=parameters.take("scale_factor", required=True),
        latents_mean=tuple(parameters.take("latents_mean", ())),
        latents_std=tuple(parameters.take("latents_std", ())),
    )
    coder.done(_CODER_IGNORED)
    return config
