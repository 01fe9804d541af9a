"""What the UNet is conditioned on: text embeddings as context, and one vector of pooled text and sizes.

The context is the input of each text encoder's last layer, side by side. The vector is the second encoder's pooled
embedding followed by a sinusoid of each of the six time ids: original height and width, crop top and left, target
height and width. The refiner has the second encoder alone, and five time ids: an aesthetic score in place of the target.
"""

# mypy: allow-subclassing-any, no-warn-return-any
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from mindspore import Tensor, nn, ops

from mindone_sdxl.errors import InputError
from mindone_sdxl.layers import DType, Sinusoid
from mindone_sdxl.text_encoders import CLIPText, OpenCLIPText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindone_sdxl.arrays import Array
    from mindone_sdxl.config import SDXLConfig

__all__ = ["Conditioner", "Conditioning", "TextEmbeddings", "guidance_embedding", "refiner_ids", "time_ids"]


@dataclass(frozen=True, kw_only=True)
class TextEmbeddings:
    """Both encoders' view of some prompts.

    Args:
        context: [batch, tokens, context_size].
        pooled: [batch, projection_size].
    """

    context: Tensor
    pooled: Tensor

    def zeros(self) -> TextEmbeddings:
        """Embeddings of the same shape that are all zero: an absent negative prompt."""
        return TextEmbeddings(context=ops.zeros_like(self.context), pooled=ops.zeros_like(self.pooled))

    def split(self, count: int) -> tuple[TextEmbeddings, TextEmbeddings]:
        """The first `count` prompts, and the rest."""
        first = TextEmbeddings(context=self.context[:count], pooled=self.pooled[:count])
        return first, TextEmbeddings(context=self.context[count:], pooled=self.pooled[count:])


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What the UNet receives besides latents and timesteps, for a guided batch: the unconditional half first.

    Args:
        context: [batch, tokens, context_size].
        vector: [batch, vector_size].
        guidance: [batch, guidance_size], for a network that is told its guidance scale.
    """

    context: Tensor
    vector: Tensor
    guidance: Tensor | None = None

    def conditional(self) -> Conditioning:
        """The half with the prompts, for a run without guidance."""
        half = self.context.shape[0] // 2
        guidance = None if self.guidance is None else self.guidance[half:]
        return Conditioning(context=self.context[half:], vector=self.vector[half:], guidance=guidance)


def time_ids(original: Sequence[int], crop: Sequence[int], target: Sequence[int], batch: int) -> Array:
    """Float64 [batch, 6] of sizes (height, width) and the crop's corner (top, left).

    Raises:
        InputError: one of them is not a pair.
    """
    for name, pair in (("original", original), ("crop", crop), ("target", target)):
        if len(pair) != 2:
            message = f"{name} is {tuple(pair)}, expected two numbers (vertical, horizontal)"
            raise InputError(message)
    return np.tile(np.array([*original, *crop, *target], dtype=np.float64), (batch, 1))


def refiner_ids(original: Sequence[int], crop: Sequence[int], score: float, batch: int) -> Array:
    """Float64 [batch, 5] of the original size (height, width), the crop's corner (top, left) and an aesthetic score.

    Raises:
        InputError: one of the first is not a pair.
    """
    sizes = time_ids(original, crop, (0, 0), batch)[:, :4]
    return np.concatenate((sizes, np.full((batch, 1), score)), axis=1)


def guidance_embedding(scale: float, size: int) -> Array:
    """The guidance scale as an LCM network is told it, float64 [size]: sines, then cosines, of 1000 (scale - 1).

    Source: https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py
    """
    half = size // 2
    angles = 1000.0 * (scale - 1.0) * np.exp(-np.log(10000.0) * np.arange(half) / (half - 1))
    return np.concatenate((np.sin(angles), np.cos(angles), np.zeros(size % 2)))


class _CLIPEmbedder(nn.Cell):
    """Carries the first text encoder under the path that its checkpoint names have."""

    def __init__(self, text_model: CLIPText) -> None:
        super().__init__()
        self.transformer = nn.Cell()
        self.transformer.text_model = text_model

    def construct(self, ids: Tensor) -> Tensor:
        penultimate, _, _ = self.transformer.text_model(ids)
        return penultimate


class _OpenCLIPEmbedder(nn.Cell):
    """Carries the second text encoder under the path that its checkpoint names have."""

    def __init__(self, model: OpenCLIPText) -> None:
        super().__init__()
        self.model = model

    def construct(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        penultimate, _, pooled = self.model(ids)
        return penultimate, pooled


class Conditioner(nn.Cell):
    """Token ids and time ids to context and vector."""

    def __init__(self, config: SDXLConfig, *, dtype: DType) -> None:
        super().__init__()
        self.dtype = dtype
        first = [] if config.refiner else [_CLIPEmbedder(CLIPText(config.text_encoder, dtype=dtype))]
        second = _OpenCLIPEmbedder(OpenCLIPText(config.text_encoder_2, dtype=dtype))
        self.embedders = nn.CellList([*first, second])
        self.add_time_proj = Sinusoid(config.unet.size_embedding_size, dtype=dtype)

    @property
    def text_encoder(self) -> CLIPText:
        """The first text encoder; the refiner has none."""
        return self.embedders[0].transformer.text_model

    @property
    def text_encoder_2(self) -> OpenCLIPText:
        """The second text encoder."""
        return self.embedders[-1].model

    def text(self, ids: Tensor, ids_2: Tensor) -> TextEmbeddings:
        """Embeddings of token ids [batch, tokens] of the two tokenizers; the refiner looks at the second alone."""
        second, pooled = self.embedders[-1](ids_2)
        if len(self.embedders) == 1:
            return TextEmbeddings(context=second, pooled=pooled)
        first = self.embedders[0](ids)
        return TextEmbeddings(context=ops.cat((first, second), axis=-1), pooled=pooled)

    def vector(self, pooled: Tensor, ids: Tensor) -> Tensor:
        """The pooled embedding [batch, size] followed by the sinusoids of the time ids [batch, 6 or 5]."""
        sizes = self.add_time_proj(ids.reshape(-1)).reshape(ids.shape[0], -1)
        return ops.cat((pooled, sizes), axis=-1)

    def construct(self, ids: Tensor, ids_2: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        embeddings = self.text(ids, ids_2)
        return embeddings.context, self.vector(embeddings.pooled, sizes)
