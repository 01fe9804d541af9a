"""What an SDXL model looks like, as plain frozen data.

Every other module derives its shapes, its names and its constants from these classes; no framework is imported here.
The fields are named after what they mean, not after either code base's key, and `from_diffusers` reads the JSON files
of an ordinary diffusers folder into them. A key whose value would change the computation in a way that is not
implemented is an error that names the file, the key and both values.

    >>> UNetConfig().level_count
    3

SDXL refiner is the same model with one text encoder and an aesthetic score in place of the target size (`refiner`).

Limits: text-and-time conditioning (`addition_embed_type: text_time`) only; no adapters.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mindone_sdxl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "SDXLConfig",
    "ScheduleConfig",
    "TextEncoderConfig",
    "UNetConfig",
    "VAEConfig",
    "from_diffusers",
]

TextEncoderKind = Literal["clip", "open_clip"]
Activation = Literal["quick_gelu", "gelu"]
Prediction = Literal["epsilon", "v_prediction", "edm"]


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """The denoising network; the defaults are those of SDXL base 1.0.

    Args:
        transformer_layers: transformer blocks per spatial transformer of each level, 0 where the level has none.
        heads: attention heads of each level.
        vector_size: width of the pooled text embedding followed by the size embeddings.
        size_embedding_size: width of the sinusoid of each number in the time ids.
        guidance_size: width of the embedded guidance scale that is added to the timestep (LCM), 0 where there is none.
    """

    in_channels: int = 4
    out_channels: int = 4
    channels: tuple[int, ...] = (320, 640, 1280)
    resnets_per_level: int = 2
    transformer_layers: tuple[int, ...] = (0, 2, 10)
    mid_transformer_layers: int = 10
    heads: tuple[int, ...] = (5, 10, 20)
    context_size: int = 2048
    vector_size: int = 2816
    size_embedding_size: int = 256
    guidance_size: int = 0
    num_groups: int = 32
    norm_eps: float = 1e-5
    linear_projection: bool = True

    @property
    def level_count(self) -> int:
        """Number of resolutions."""
        return len(self.channels)

    @property
    def embedding_size(self) -> int:
        """Width of the time embedding that every residual block receives."""
        return 4 * self.channels[0]


@dataclass(frozen=True, kw_only=True)
class TextEncoderConfig:
    """A CLIP text transformer, in CLIP-L's layout ("clip") or in OpenCLIP's ("open_clip").

    Args:
        projection_size: width of the pooled projection, None where the encoder has none.
        eos_token_id: id whose first position is pooled; 2, the historical placeholder, means the largest id.
    """

    kind: TextEncoderKind
    vocabulary_size: int = 49408
    hidden_size: int = 768
    intermediate_size: int = 3072
    layers: int = 12
    heads: int = 12
    activation: Activation = "quick_gelu"
    norm_eps: float = 1e-5
    positions: int = 77
    projection_size: int | None = None
    eos_token_id: int = 2


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """The autoencoder; the defaults are those of SDXL base 1.0.

    Args:
        scaling_factor: multiplies an encoded latent before diffusion.
        latents_mean: per channel, subtracted before scaling; empty where the model has none.
        latents_std: per channel, divides after subtraction; empty where the model has none.
        force_upcast: the autoencoder overflows in float16 and runs in float32 instead.
    """

    in_channels: int = 3
    out_channels: int = 3
    channels: tuple[int, ...] = (128, 256, 512, 512)
    resnets_per_level: int = 2
    latent_channels: int = 4
    num_groups: int = 32
    norm_eps: float = 1e-6
    scaling_factor: float = 0.13025
    latents_mean: tuple[float, ...] = ()
    latents_std: tuple[float, ...] = ()
    force_upcast: bool = True

    @property
    def downscale(self) -> int:
        """Image pixels per latent pixel, in each direction."""
        return 1 << (len(self.channels) - 1)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The noise schedule that the network was trained with, and how a sampler places its steps on it.

    Args:
        prediction: what the network predicts of discrete timesteps, the noise or the velocity; "edm" is a network of
            continuous noise levels, preconditioned as in Karras et al. 2022 and told a quarter of their logarithm.
        sigma_data: standard deviation of the data, for "edm"; so are sigma_min, sigma_max and rho.
        original_inference_steps: the number of timesteps that a latent consistency model was distilled on; 0 for others.
    """

    train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: Literal["scaled_linear", "linear"] = "scaled_linear"
    prediction: Prediction = "epsilon"
    steps_offset: int = 1
    sigma_data: float = 0.5
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    original_inference_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class SDXLConfig:
    """The whole model.

    Args:
        refiner: conditioned on the second text encoder alone (`text_encoder` is of no account), and on an aesthetic
            score after the original size and the crop.
    """

    unet: UNetConfig = field(default_factory=UNetConfig)
    text_encoder: TextEncoderConfig = field(default_factory=lambda: TextEncoderConfig(kind="clip"))
    text_encoder_2: TextEncoderConfig = field(
        default_factory=lambda: TextEncoderConfig(
            kind="open_clip",
            hidden_size=1280,
            intermediate_size=5120,
            layers=32,
            heads=20,
            activation="gelu",
            projection_size=1280,
        )
    )
    vae: VAEConfig = field(default_factory=VAEConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    force_zeros_for_empty_prompt: bool = True
    refiner: bool = False

    @property
    def time_id_count(self) -> int:
        """Numbers of size, crop and perhaps aesthetic score."""
        return 5 if self.refiner else 6

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other."""
        width = self.text_encoder_2.hidden_size + (0 if self.refiner else self.text_encoder.hidden_size)
        if width != self.unet.context_size:
            message = f"the text encoders give {width} channels, the UNet expects {self.unet.context_size}"
            raise ConfigError(message)
        pooled = self.text_encoder_2.projection_size
        if pooled is None:
            message = "text_encoder_2 has no projection; the second encoder must give the pooled embedding"
            raise ConfigError(message)
        vector = pooled + self.time_id_count * self.unet.size_embedding_size
        if vector != self.unet.vector_size:
            message = (
                f"pooled embedding and {self.time_id_count} size embeddings give {vector} numbers, "
                f"the UNet expects {self.unet.vector_size}"
            )
            raise ConfigError(message)


def from_diffusers(folder: str | Path) -> SDXLConfig:
    """Read the configuration of a diffusers SDXL folder.

    Raises:
        ConfigError: a file is missing or damaged, or asks for something that is not implemented.
    """
    from mindone_sdxl.config_diffusers import read_folder

    return read_folder(Path(folder))


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object from a file, with the path in the error if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = f"{path} does not exist; a diffusers SDXL folder has it"
        raise ConfigError(message) from error
    except (OSError, ValueError, RecursionError) as error:
        message = f"{path} is not readable JSON: {error}"
        raise ConfigError(message) from error
    if not isinstance(content, dict):
        message = f"{path} holds a {type(content).__name__}, expected an object"
        raise ConfigError(message)
    return content
