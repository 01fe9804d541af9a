"""The denoising network, in the original's arrangement: `input_blocks`, `middle_block`, `output_blocks`, `out`.

An input block is a residual block, perhaps followed by a spatial transformer, or a downsampler; the output of each is
kept and concatenated before the output block that mirrors it.
"""

# mypy: allow-subclassing-any, no-warn-return-any
from __future__ import annotations

from typing import TYPE_CHECKING

from mindspore import Tensor, nn, ops

from mindone_sdxl.attention import SpatialTransformer
from mindone_sdxl.kernels import add_channels
from mindone_sdxl.layers import Conv2d, DType, GroupNorm, Identity, Linear, SiLU, Sinusoid

if TYPE_CHECKING:
    from mindone_sdxl.config import UNetConfig

__all__ = ["Downsample", "ResBlock", "Stage", "UNet", "Upsample", "double"]


def double(x: Tensor) -> Tensor:
    """Each pixel of [batch, channels, height, width] twice in both directions."""
    batch, channels, height, width = x.shape
    wide = ops.stack((x, x), axis=4).reshape(batch, channels, height, 2 * width)
    return ops.stack((wide, wide), axis=3).reshape(batch, channels, 2 * height, 2 * width)


class ResBlock(nn.Cell):
    """Two convolutions with the time embedding added between them, added to the (perhaps projected) input."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_size: int,
        *,
        num_groups: int,
        norm_eps: float,
        dtype: DType,
    ) -> None:
        super().__init__()
        self.in_layers = nn.SequentialCell(
            [
                GroupNorm(in_channels, num_groups, eps=norm_eps, dtype=dtype),
                SiLU(),
                Conv2d(in_channels, out_channels, 3, padding=1, dtype=dtype),
            ]
        )
        self.emb_layers = nn.SequentialCell([SiLU(), Linear(embedding_size, out_channels, dtype=dtype)])
        self.out_layers = nn.SequentialCell(
            [
                GroupNorm(out_channels, num_groups, eps=norm_eps, dtype=dtype),
                SiLU(),
                Identity(),
                Conv2d(out_channels, out_channels, 3, padding=1, dtype=dtype),
            ]
        )
        same = in_channels == out_channels
        self.skip_connection = Identity() if same else Conv2d(in_channels, out_channels, 1, dtype=dtype)

    def construct(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = add_channels(self.in_layers(x), self.emb_layers(embedding))
        hidden = self.out_layers(hidden)
        return self.skip_connection(x) + hidden


class Downsample(nn.Cell):
    """Halves height and width by a convolution of stride 2."""

    def __init__(self, channels: int, *, dtype: DType) -> None:
        super().__init__()
        self.op = Conv2d(channels, channels, 3, stride=2, padding=1, dtype=dtype)

    def construct(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Cell):
    """Doubles height and width by repeating pixels, then convolves."""

    def __init__(self, channels: int, *, dtype: DType) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1, dtype=dtype)

    def construct(self, x: Tensor) -> Tensor:
        return self.conv(double(x))


class Stage(nn.SequentialCell):
    """Cells in a row, each given what its kind needs: the time embedding, the context, or neither."""

    def construct(self, x: Tensor, embedding: Tensor, context: Tensor) -> Tensor:
        for cell in self.cell_list:
            if isinstance(cell, ResBlock):
                x = cell(x, embedding)
            elif isinstance(cell, SpatialTransformer):
                x = cell(x, context)
            else:
                x = cell(x)
        return x


class UNet(nn.Cell):
    """Predicts the noise in latents.

    Called with latents [batch, in_channels, height, width] already scaled for the network, timesteps [batch], the
    text embeddings [batch, tokens, context_size] and the vector [batch, vector_size], and by a network that is told its
    guidance the embedded scale [batch, guidance_size] (see `conditioning.guidance_embedding`); gives
    [batch, out_channels, height, width]. Height and width must be divisible by 2 once for each level after the first.
    """

    def __init__(self, config: UNetConfig, *, dtype: DType) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        first = config.channels[0]
        self.time_proj = Sinusoid(first, dtype=dtype)
        size = config.guidance_size
        self.cond_proj = Linear(size, first, bias=False, dtype=dtype) if size else None
        self.time_embed = self._embedding(first)
        self.label_emb = nn.SequentialCell([self._embedding(config.vector_size)])
        self.input_blocks, widths = self._input_blocks()
        last = config.channels[-1]
        self.middle_block = Stage(
            [
                self._resblock(last, last),
                self._transformer(last, config.heads[-1], config.mid_transformer_layers),
                self._resblock(last, last),
            ]
        )
        self.output_blocks = self._output_blocks(widths)
        self.out = nn.SequentialCell(
            [
                GroupNorm(first, config.num_groups, eps=config.norm_eps, dtype=dtype),
                SiLU(),
                Conv2d(first, config.out_channels, 3, padding=1, dtype=dtype),
            ]
        )

    def _embedding(self, in_size: int) -> nn.SequentialCell:
        size, dtype = self.config.embedding_size, self.dtype
        return nn.SequentialCell([Linear(in_size, size, dtype=dtype), SiLU(), Linear(size, size, dtype=dtype)])

    def _resblock(self, in_channels: int, out_channels: int) -> ResBlock:
        config = self.config
        return ResBlock(
            in_channels,
            out_channels,
            config.embedding_size,
            num_groups=config.num_groups,
            norm_eps=config.norm_eps,
            dtype=self.dtype,
        )

    def _transformer(self, channels: int, heads: int, depth: int) -> SpatialTransformer:
        config = self.config
        return SpatialTransformer(
            channels,
            config.context_size,
            heads,
            depth,
            num_groups=config.num_groups,
            linear_projection=config.linear_projection,
            dtype=self.dtype,
        )

    def _input_blocks(self) -> tuple[nn.CellList, list[int]]:
        """The blocks, and the width of what each of them gives."""
        config, width = self.config, self.config.channels[0]
        blocks = [Stage([Conv2d(config.in_channels, width, 3, padding=1, dtype=self.dtype)])]
        widths = [width]
        for level, channels in enumerate(config.channels):
            depth = config.transformer_layers[level]
            for _ in range(config.resnets_per_level):
                cells: list[nn.Cell] = [self._resblock(width, channels)]
                if depth:
                    cells.append(self._transformer(channels, config.heads[level], depth))
                blocks.append(Stage(cells))
                widths.append(channels)
                width = channels
            if level + 1 < config.level_count:
                blocks.append(Stage([Downsample(channels, dtype=self.dtype)]))
                widths.append(channels)
        return nn.CellList(blocks), widths

    def _output_blocks(self, widths: list[int]) -> nn.CellList:
        config, width, blocks = self.config, self.config.channels[-1], []
        for level in reversed(range(config.level_count)):
            channels, depth = config.channels[level], config.transformer_layers[level]
            for layer in range(config.resnets_per_level + 1):
                cells: list[nn.Cell] = [self._resblock(width + widths.pop(), channels)]
                if depth:
                    cells.append(self._transformer(channels, config.heads[level], depth))
                if level and layer == config.resnets_per_level:
                    cells.append(Upsample(channels, dtype=self.dtype))
                blocks.append(Stage(cells))
                width = channels
        return nn.CellList(blocks)

    def construct(
        self, x: Tensor, timesteps: Tensor, context: Tensor, vector: Tensor, guidance: Tensor | None = None
    ) -> Tensor:
        time = self.time_proj(timesteps)
        if self.cond_proj is not None and guidance is not None:
            time = time + self.cond_proj(guidance)
        embedding = self.time_embed(time) + self.label_emb(vector)
        skips = []
        for block in self.input_blocks:
            x = block(x, embedding, context)
            skips.append(x)
        x = self.middle_block(x, embedding, context)
        for index, block in enumerate(self.output_blocks):
            x = block(ops.cat((x, skips[-1 - index]), axis=1), embedding, context)
        return self.out(x)
