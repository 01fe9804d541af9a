"""The whole model as one tree of cells, whose paths are the parameter names of the original's checkpoints."""

# mypy: allow-subclassing-any, no-warn-return-any
from __future__ import annotations

from typing import TYPE_CHECKING

import mindspore
from mindspore import Tensor, nn

from mindone_sdxl.conditioning import Conditioner
from mindone_sdxl.unet import UNet
from mindone_sdxl.vae import AutoencoderKL

if TYPE_CHECKING:
    from mindone_sdxl.config import SDXLConfig
    from mindone_sdxl.layers import DType

__all__ = ["SDXLModel"]


class SDXLModel(nn.Cell):
    """UNet, text encoders and autoencoder.

    `model.diffusion_model`, `conditioner` and `first_stage_model` are the paths; `unet`, `text_encoder`,
    `text_encoder_2` and `vae` are shorter ways to the same cells. An autoencoder that overflows in float16 is kept in
    float32 beside a float16 UNet.
    """

    def __init__(self, config: SDXLConfig, *, dtype: DType = mindspore.float32) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        narrow = dtype == mindspore.float16 and config.vae.force_upcast
        self.model = nn.Cell()
        self.model.diffusion_model = UNet(config.unet, dtype=dtype)
        self.conditioner = Conditioner(config, dtype=dtype)
        self.first_stage_model = AutoencoderKL(config.vae, dtype=mindspore.float32 if narrow else dtype)
        self.set_train(False)

    @property
    def unet(self) -> UNet:
        """The denoising network."""
        return self.model.diffusion_model

    @property
    def text_encoder(self) -> nn.Cell:
        """The first text encoder."""
        return self.conditioner.text_encoder

    @property
    def text_encoder_2(self) -> nn.Cell:
        """The second text encoder."""
        return self.conditioner.text_encoder_2

    @property
    def vae(self) -> AutoencoderKL:
        """The autoencoder."""
        return self.first_stage_model

    def construct(self, x: Tensor, timesteps: Tensor, context: Tensor, vector: Tensor) -> Tensor:
        return self.unet(x, timesteps, context, vector)
