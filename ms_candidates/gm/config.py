"""The configuration, in the original's own form, of the model that a diffusers folder holds.

The original builds its model from a YAML file of `target` and `params`. `engine_config` gives the same tree as plain
data, with the values of the case's model in place of SDXL base's, so that a tiny model runs through the original's own
classes as the large one does. Nothing is imported: the targets are the names that the original resolves.

    >>> from mindone_sdxl.config import SDXLConfig
    >>> tree = engine_config(SDXLConfig(), "clip-folder", "LegacyDDPMDiscretization")
    >>> tree["model"]["params"]["network_config"]["params"]["channel_mult"]
    [1, 2, 4]

What the original has no setting for (its epsilons, its 32 groups) it has as constants in its code; a model that
differs there is refused. Attention is the vanilla kind, the only one that runs on a CPU.

Source: configs/inference/sd_xl_base.yaml of the original,
https://github.com/mindspore-lab/mindone/tree/a24c0eb7/examples/stable_diffusion_xl
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from parity.errors import InputError

if TYPE_CHECKING:
    from mindone_sdxl.config import SDXLConfig, TextEncoderConfig, UNetConfig, VAEConfig

__all__ = ["OPEN_CLIP_ARCHITECTURE", "engine_config", "open_clip_config"]

OPEN_CLIP_ARCHITECTURE: Final = "parity-case-text"
"""The name under which the second text encoder's sizes are put into the original's registry of architectures."""

_DIFFUSION: Final = "gm.modules.diffusionmodules"
_EMBEDDERS: Final = "gm.modules.embedders.modules"
_SIZES: Final = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")
_GROUPS, _UNET_EPS, _VAE_EPS, _TEXT_EPS = 32, 1e-5, 1e-6, 1e-5


def engine_config(config: SDXLConfig, clip_folder: str, discretization: str) -> dict[str, Any]:
    """Return the tree that the original's `create_model` takes.

    Args:
        config: The model of the case.
        clip_folder: Holds the first text encoder's `config.json` and tokenizer; the YAML file names a hub model there.
        discretization: The class that makes the denoiser's table of noise levels; the original's command line gives it
            the sampler's.

    Raises:
        InputError: the model needs something that the original has no setting for.
    """
    _require(config)
    size = config.unet.size_embedding_size
    sizes = [_embedder(key, "ConcatTimestepEmbedderND", outdim=size) for key in _SIZES]
    text = [
        _embedder(
            "txt", "FrozenCLIPEmbedder", layer="hidden", layer_idx=config.text_encoder.layers - 1, version=clip_folder
        ),
        _embedder(
            "txt", "FrozenOpenCLIPEmbedder2", arch=OPEN_CLIP_ARCHITECTURE, freeze=True, layer="penultimate",
            always_return_pooled=True, legacy=False, require_pretrained=False,
        ),
    ]  # fmt: skip
    params = {
        "scale_factor": config.vae.scaling_factor,
        "disable_first_stage_amp": True,
        "denoiser_config": _denoiser(discretization),
        "network_config": _target(f"{_DIFFUSION}.openaimodel.UNetModel", **_unet(config.unet)),
        "conditioner_config": _target("gm.modules.GeneralConditioner", emb_models=[*text, *sizes]),
        "first_stage_config": _target(
            "gm.models.autoencoder.AutoencoderKLInferenceWrapper", embed_dim=config.vae.latent_channels,
            monitor="val/rec_loss", ddconfig=_vae(config.vae), lossconfig={"target": "mindspore.nn.Identity"},
        ),
    }  # fmt: skip
    return {"version": "SDXL-base-1.0", "model": _target("gm.models.diffusion.DiffusionEngine", **params)}


def open_clip_config(config: TextEncoderConfig) -> dict[str, Any]:
    """Return the second text encoder's sizes as an entry of the original's registry of architectures."""
    text = {
        "context_length": config.positions, "vocab_size": config.vocabulary_size, "width": config.hidden_size,
        "heads": config.heads, "layers": config.layers,
    }  # fmt: skip
    return {"embed_dim": config.projection_size, "text_cfg": text}


def _target(target: str, **params: Any) -> dict[str, Any]:
    return {"target": target, "params": params}


def _embedder(input_key: str, name: str, **params: Any) -> dict[str, Any]:
    return {"is_trainable": False, "input_key": input_key, **_target(f"{_EMBEDDERS}.{name}", **params)}


def _denoiser(discretization: str) -> dict[str, Any]:
    return _target(
        f"{_DIFFUSION}.denoiser.DiscreteDenoiser", num_idx=1000,
        weighting_config={"target": f"{_DIFFUSION}.denoiser_weighting.EpsWeighting"},
        scaling_config={"target": f"{_DIFFUSION}.denoiser_scaling.EpsScaling"},
        discretization_config={"target": f"{_DIFFUSION}.discretizer.{discretization}"},
    )  # fmt: skip


def _unet(config: UNetConfig) -> dict[str, Any]:
    width = config.channels[0]
    return {
        "adm_in_channels": config.vector_size, "num_classes": "sequential", "in_channels": config.in_channels,
        "out_channels": config.out_channels, "model_channels": width,
        "attention_resolutions": [2**level for level, depth in enumerate(config.transformer_layers) if depth],
        "num_res_blocks": config.resnets_per_level, "channel_mult": [channels // width for channels in config.channels],
        "num_head_channels": config.channels[0] // config.heads[0], "use_spatial_transformer": True,
        "use_linear_in_transformer": config.linear_projection, "transformer_depth": list(config.transformer_layers),
        "transformer_depth_middle": config.mid_transformer_layers, "context_dim": config.context_size,
        "spatial_transformer_attn_type": "vanilla", "legacy": False,
    }  # fmt: skip


def _vae(config: VAEConfig) -> dict[str, Any]:
    width = config.channels[0]
    return {
        "attn_type": "vanilla", "double_z": True, "z_channels": config.latent_channels, "resolution": 256,
        "in_channels": config.in_channels, "out_ch": config.out_channels, "ch": width,
        "ch_mult": [channels // width for channels in config.channels], "num_res_blocks": config.resnets_per_level,
        "attn_resolutions": [], "dropout": 0.0,
    }  # fmt: skip


def _require(config: SDXLConfig) -> None:
    """Refuse a model that the original cannot be set to.

    Raises:
        InputError: names the first thing that differs, with both values.
    """
    unet, first, second, vae = config.unet, config.text_encoder, config.text_encoder_2, config.vae
    schedule = config.schedule
    head_sizes = {width // heads for width, heads in zip(unet.channels, unet.heads, strict=True)}
    shapes = [
        channels % width
        for part, width in ((unet, unet.channels[0]), (vae, vae.channels[0]))
        for channels in part.channels
    ]
    wanted: tuple[tuple[str, object, object], ...] = (
        ("refiner", config.refiner, False),
        ("unet sizes of attention heads", sorted(head_sizes), sorted(head_sizes)[:1]),
        ("unet guidance embedding", unet.guidance_size, 0),
        ("unet norm groups", unet.num_groups, _GROUPS),
        ("unet norm eps", unet.norm_eps, _UNET_EPS),
        ("vae norm groups", vae.num_groups, _GROUPS),
        ("vae norm eps", vae.norm_eps, _VAE_EPS),
        ("vae latents mean", vae.latents_mean, ()),
        ("channels that are no multiple of the first level's", any(shapes), False),
        ("text_encoder_2 norm eps", second.norm_eps, _TEXT_EPS),
        ("text_encoder_2 intermediate size", second.intermediate_size, 4 * second.hidden_size),
        ("text_encoder_2 activation", second.activation, "gelu"),
        ("text_encoder eos id", first.eos_token_id, 2),
        ("prediction", schedule.prediction, "epsilon"),
        ("training timesteps", schedule.train_timesteps, 1000),
        ("betas", (schedule.beta_schedule, schedule.beta_start, schedule.beta_end), ("scaled_linear", 0.00085, 0.012)),
    )  # fmt: skip
    for name, found, only in wanted:
        if found != only:
            message = (
                f"the original SDXL has no setting for {name} = {found!r}; it has {only!r}, use a model of that kind"
            )
            raise InputError(message)
