"""Writes a diffusers SDXL folder as the files that users of Stability-AI's package have.

    python -m torch_refs.sgm.files fixtures/tiny fixtures/tiny_sgm

gives `model.safetensors` (Stability's names), `model.yaml` (its configuration, to be given as `model.config` of a
case), `clip/` (tokenizer and configuration of the first text encoder, which the YAML file names as its `version`)
and `model-open-clip.json` (the second one's architecture, in OpenCLIP's form, under the name that the YAML file
gives as `arch`). The same folder gives the same bytes.

Limits: SDXL base; the refiner has another YAML file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mindone_sdxl.config import from_diffusers
from mindone_sdxl.convert import convert
from parity.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindone_sdxl.config import SDXLConfig

__all__ = ["configuration", "main", "write"]

NAME = "model"
_CLIP_FOLDER = "clip"
_SIZES = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")
_PREDICTIONS = {"epsilon": "EpsScaling", "v_prediction": "VScaling"}


def write(folder: Path, out: Path) -> None:
    """Write the files of the diffusers folder `folder` to `out`.

    Raises:
        CaseError: the model is none that the YAML file can describe.
    """
    config = from_diffusers(folder)
    if config.refiner or config.schedule.prediction not in _PREDICTIONS:
        message = f"{folder} is a refiner or predicts {config.schedule.prediction}; only SDXL base with epsilon or v"
        raise CaseError(message)
    out.mkdir(parents=True, exist_ok=True)
    convert(folder, out / f"{NAME}.safetensors", layout="stability")
    text = yaml.safe_dump(configuration(config), sort_keys=False)
    (out / f"{NAME}.yaml").write_text(text, encoding="utf-8")
    (out / f"{_architecture()}.json").write_text(json.dumps(_open_clip(config), indent=2) + "\n", encoding="utf-8")
    (out / _CLIP_FOLDER).mkdir(exist_ok=True)
    for path in [*sorted((folder / "tokenizer").iterdir()), folder / "text_encoder" / "config.json"]:
        shutil.copyfile(path, out / _CLIP_FOLDER / path.name)


def configuration(config: SDXLConfig) -> dict[str, Any]:
    """Return the content of the YAML file."""
    unet, vae, schedule = config.unet, config.vae, config.schedule
    attended = [2**level for level, count in enumerate(unet.transformer_layers) if count]
    denoiser = {
        "num_idx": schedule.train_timesteps,
        "scaling_config": _target(f"modules.diffusionmodules.denoiser_scaling.{_PREDICTIONS[schedule.prediction]}"),
        "discretization_config": _target("modules.diffusionmodules.discretizer.LegacyDDPMDiscretization"),
    }
    network = {
        "adm_in_channels": unet.vector_size, "num_classes": "sequential", "use_checkpoint": True,
        "in_channels": unet.in_channels, "out_channels": unet.out_channels, "model_channels": unet.channels[0],
        "attention_resolutions": attended[::-1], "num_res_blocks": unet.resnets_per_level,
        "channel_mult": [count // unet.channels[0] for count in unet.channels],
        "num_head_channels": unet.channels[0] // unet.heads[0], "use_linear_in_transformer": unet.linear_projection,
        "transformer_depth": [max(count, 1) for count in unet.transformer_layers], "context_dim": unet.context_size,
        "spatial_transformer_attn_type": "softmax-xformers",
    }  # fmt: skip
    coder = {
        "attn_type": "vanilla-xformers", "double_z": True, "z_channels": vae.latent_channels, "resolution": 256,
        "in_channels": vae.in_channels, "out_ch": vae.out_channels, "ch": vae.channels[0],
        "ch_mult": [count // vae.channels[0] for count in vae.channels], "num_res_blocks": vae.resnets_per_level,
        "attn_resolutions": [], "dropout": 0.0,
    }  # fmt: skip
    first_stage = {
        "embed_dim": vae.latent_channels, "ddconfig": coder, "lossconfig": {"target": "torch.nn.Identity"},
    }  # fmt: skip
    parameters = {
        "scale_factor": vae.scaling_factor,
        "disable_first_stage_autocast": True,
        "denoiser_config": _target("modules.diffusionmodules.denoiser.DiscreteDenoiser", denoiser),
        "network_config": _target("modules.diffusionmodules.openaimodel.UNetModel", network),
        "conditioner_config": _target("modules.GeneralConditioner", {"emb_models": _embedders(config)}),
        "first_stage_config": _target("models.autoencoder.AutoencoderKL", first_stage),
    }
    return {"model": _target("models.diffusion.DiffusionEngine", parameters)}


def _embedders(config: SDXLConfig) -> list[dict[str, Any]]:
    """Return the conditioner's embedders."""
    module = "modules.encoders.modules"
    first = {"version": _CLIP_FOLDER, "layer": "hidden", "layer_idx": config.text_encoder.layers - 1}
    second = {
        "arch": _architecture(), "version": "none", "freeze": True, "layer": "penultimate",
        "always_return_pooled": True, "legacy": False,
    }  # fmt: skip
    sizes = {"outdim": config.unet.size_embedding_size}
    targets = [
        ("txt", _target(f"{module}.FrozenCLIPEmbedder", first)),
        ("txt", _target(f"{module}.FrozenOpenCLIPEmbedder2", second)),
        *((key, _target(f"{module}.ConcatTimestepEmbedderND", dict(sizes))) for key in _SIZES),
    ]
    return [{"is_trainable": False, "input_key": key, **target} for key, target in targets]


def _open_clip(config: SDXLConfig) -> dict[str, Any]:
    """Return the second encoder's architecture in OpenCLIP's form; its image tower is never used."""
    text = config.text_encoder_2
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 32, "patch_size": 32}
    words = {
        "context_length": text.positions, "vocab_size": text.vocabulary_size, "width": text.hidden_size,
        "heads": text.heads, "layers": text.layers, "mlp_ratio": text.intermediate_size / text.hidden_size,
    }  # fmt: skip
    return {"embed_dim": text.projection_size, "vision_cfg": vision, "text_cfg": words}


def _architecture() -> str:
    """Return the name of the second encoder's architecture."""
    return f"{NAME}-open-clip"


def _target(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a class of the package with its arguments."""
    return {"target": f"sgm.{name}"} | ({} if parameters is None else {"params": parameters})


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert the folder named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m torch_refs.sgm.files", description="Write the files of sgm's users."
    )
    parser.add_argument("folder", type=Path, help="a diffusers SDXL folder")
    parser.add_argument("out", type=Path, help="where the files go")
    options = parser.parse_args(arguments)
    write(options.folder, options.out)
    sys.stderr.write(f"{options.out} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
