"""The autoencoder between images [batch, 3, height, width] in [-1, 1] and latents."""

# mypy: allow-subclassing-any, no-warn-return-any
from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from mindspore import Tensor, nn, ops

from mindone_sdxl.attention import attend
from mindone_sdxl.layers import Conv2d, DType, Exact, GroupNorm, Identity, Pointwise, SiLU, numpy_type
from mindone_sdxl.unet import Upsample

if TYPE_CHECKING:
    from mindone_sdxl.config import VAEConfig

__all__ = ["AutoencoderKL", "Decoder", "Encoder", "Posterior"]

_LOGVAR_RANGE = (-30.0, 20.0)


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """What the autoencoder makes of an image: a normal distribution of unscaled latents [batch, channels, h, w]."""

    mean: Tensor
    logvar: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Mean plus noise of unit variance brought to the posterior's standard deviation."""
        # numpy's exponential: the one on CPU is too coarse.
        logvar = np.clip(self.logvar.asnumpy().astype(np.float64), *_LOGVAR_RANGE)
        std = Tensor(np.exp(0.5 * logvar).astype(numpy_type(self.mean.dtype)), self.mean.dtype)
        return self.mean + std * noise


class ResnetBlock(nn.Cell):
    """Two convolutions after norm and SiLU, added to the (perhaps projected) input."""

    def __init__(self, in_channels: int, out_channels: int, config: VAEConfig, *, dtype: DType) -> None:
        super().__init__()
        groups, eps = config.num_groups, config.norm_eps
        self.norm1 = GroupNorm(in_channels, groups, eps=eps, dtype=dtype)
        self.conv1 = Conv2d(in_channels, out_channels, 3, padding=1, dtype=dtype)
        self.norm2 = GroupNorm(out_channels, groups, eps=eps, dtype=dtype)
        self.nonlinearity = SiLU()
        self.dropout = Identity()
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, dtype=dtype)
        same = in_channels == out_channels
        self.nin_shortcut = None if same else Conv2d(in_channels, out_channels, 1, dtype=dtype)

    def construct(self, x: Tensor) -> Tensor:
        hidden = self.conv1(self.nonlinearity(self.norm1(x)))
        hidden = self.conv2(self.dropout(self.nonlinearity(self.norm2(hidden))))
        return (x if self.nin_shortcut is None else self.nin_shortcut(x)) + hidden


class AttentionBlock(nn.Cell):
    """Attention of every place over every place, with one head, added to the input."""

    scale = Exact()

    def __init__(self, channels: int, config: VAEConfig, *, dtype: DType) -> None:
        super().__init__()
        self.dtype = dtype
        self.heads = 1
        self.scale = channels**-0.5
        self.norm = GroupNorm(channels, config.num_groups, eps=config.norm_eps, dtype=dtype)
        self.q = Pointwise(channels, channels, dtype=dtype)
        self.k = Pointwise(channels, channels, dtype=dtype)
        self.v = Pointwise(channels, channels, dtype=dtype)
        self.proj_out = Pointwise(channels, channels, dtype=dtype)
        self.dropout = Identity()

    def construct(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        tokens = self.norm(x.reshape(batch, channels, -1)).swapaxes(1, 2)
        hidden = attend(self.q(tokens), self.k(tokens), self.v(tokens), self.heads, self.exact_scale)
        hidden = self.dropout(self.proj_out(hidden))
        return hidden.swapaxes(1, 2).reshape(x.shape) + x


class Downsample(nn.Cell):
    """Halves height and width: one row and column of zeros at the bottom and right, then a convolution of stride 2."""

    def __init__(self, channels: int, *, dtype: DType) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, stride=2, dtype=dtype)

    def construct(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        x = ops.cat((x, ops.zeros((batch, channels, height, 1), x.dtype)), axis=3)
        x = ops.cat((x, ops.zeros((batch, channels, 1, width + 1), x.dtype)), axis=2)
        return self.conv(x)


class Level(nn.Cell):
    """The residual blocks of one resolution, then the change to the next."""

    def __init__(
        self, widths: list[int], config: VAEConfig, *, dtype: DType, down: bool = False, up: bool = False
    ) -> None:
        super().__init__()
        pairs = pairwise(widths)
        self.block = nn.CellList([ResnetBlock(before, after, config, dtype=dtype) for before, after in pairs])
        self.downsample = Downsample(widths[-1], dtype=dtype) if down else None
        self.upsample = Upsample(widths[-1], dtype=dtype) if up else None

    def construct(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if self.downsample is not None:
            x = self.downsample(x)
        return x if self.upsample is None else self.upsample(x)


class Middle(nn.Cell):
    """Residual block, attention, residual block at the lowest resolution."""

    def __init__(self, channels: int, config: VAEConfig, *, dtype: DType) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, config, dtype=dtype)
        self.attn_1 = AttentionBlock(channels, config, dtype=dtype)
        self.block_2 = ResnetBlock(channels, channels, config, dtype=dtype)

    def construct(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Cell):
    """Images to features with twice the latent channels: means, then logarithms of variances."""

    def __init__(self, config: VAEConfig, *, dtype: DType) -> None:
        super().__init__()
        channels, count = config.channels, config.resnets_per_level
        self.conv_in = Conv2d(config.in_channels, channels[0], 3, padding=1, dtype=dtype)
        before, levels = channels[0], []
        for level, width in enumerate(channels):
            down = level + 1 < len(channels)
            levels.append(Level([before] + [width] * count, config, down=down, dtype=dtype))
            before = width
        self.down = nn.CellList(levels)
        self.mid = Middle(channels[-1], config, dtype=dtype)
        self.norm_out = GroupNorm(channels[-1], config.num_groups, eps=config.norm_eps, dtype=dtype)
        self.conv_act = SiLU()
        self.conv_out = Conv2d(channels[-1], 2 * config.latent_channels, 3, padding=1, dtype=dtype)

    def construct(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(self.conv_act(self.norm_out(self.mid(x))))


class Decoder(nn.Cell):
    """Latents to images; `up` is numbered by resolution and runs from the last to the first."""

    def __init__(self, config: VAEConfig, *, dtype: DType) -> None:
        super().__init__()
        channels, count = config.channels, config.resnets_per_level + 1
        self.conv_in = Conv2d(config.latent_channels, channels[-1], 3, padding=1, dtype=dtype)
        self.mid = Middle(channels[-1], config, dtype=dtype)
        levels = []
        for level, width in enumerate(channels):
            before = channels[min(level + 1, len(channels) - 1)]
            levels.append(Level([before] + [width] * count, config, up=level > 0, dtype=dtype))
        self.up = nn.CellList(levels)
        self.norm_out = GroupNorm(channels[0], config.num_groups, eps=config.norm_eps, dtype=dtype)
        self.conv_act = SiLU()
        self.conv_out = Conv2d(channels[0], config.out_channels, 3, padding=1, dtype=dtype)

    def construct(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for index in range(len(self.up)):
            x = self.up[-1 - index](x)
        return self.conv_out(self.conv_act(self.norm_out(x)))


class AutoencoderKL(nn.Cell):
    """Encoder and decoder with the 1x1 convolutions around the latents, which are not scaled here."""

    def __init__(self, config: VAEConfig, *, dtype: DType) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        latent = config.latent_channels
        self.encoder = Encoder(config, dtype=dtype)
        self.quant_conv = Conv2d(2 * latent, 2 * latent, 1, dtype=dtype)
        self.post_quant_conv = Conv2d(latent, latent, 1, dtype=dtype)
        self.decoder = Decoder(config, dtype=dtype)

    def encode(self, image: Tensor) -> Tensor:
        """Moments of the posterior [batch, 2 * latent_channels, height / downscale, width / downscale]."""
        return self.quant_conv(self.encoder(image))

    def decode(self, latents: Tensor) -> Tensor:
        """The image of unscaled latents."""
        return self.decoder(self.post_quant_conv(latents))

    def construct(self, latents: Tensor) -> Tensor:
        return self.decode(latents)
