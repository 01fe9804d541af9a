"""Attention and the transformer that the UNet puts between its convolutions.

`attend` is the one place where scores are made; it works through the queries in pieces when the scores would not fit
in memory, which changes nothing since each query is normalised by itself.
"""

# mypy: allow-subclassing-any, no-warn-return-any
from __future__ import annotations

import mindspore
from mindspore import Tensor, nn, ops

from mindone_sdxl.kernels import halves, join_heads, split_heads
from mindone_sdxl.layers import Conv2d, DType, Exact, GroupNorm, Identity, LayerNorm, Linear, gelu

__all__ = ["GEGLU", "Attention", "FeedForward", "SpatialTransformer", "TransformerBlock", "attend"]

# Scores held at once: 2**28 numbers are 1 GiB in float32.
_SCORES = 2**28
_softmax = ops.Softmax(-1)
_scores = ops.BatchMatMul(transpose_b=True)
_weighted = ops.BatchMatMul()


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, scale: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention over tokens.

    Args:
        query: [batch, tokens, heads * size]; key and value have their own number of tokens.
        heads: number of heads; each takes consecutive channels.
        scale: factor of the scores, 0-d.
        mask: added to the scores, broadcast to [batch, heads, tokens, tokens of the key].
    """
    batch, tokens = query.shape[:2]
    query = split_heads(query * scale, heads)
    key, value = split_heads(key, heads), split_heads(value, heads)
    piece = max(1, _SCORES // (batch * heads * key.shape[2]))
    outputs = []
    for start in range(0, tokens, piece):
        scores = _scores(query[:, :, start : start + piece] if piece < tokens else query, key)
        if mask is not None:
            scores = scores + mask[..., start : start + piece, :]
        outputs.append(_weighted(_probabilities(scores), value))
    output = outputs[0] if len(outputs) == 1 else ops.cat(outputs, axis=2)
    return join_heads(output)


def _probabilities(scores: Tensor) -> Tensor:
    if scores.dtype in (mindspore.float32, mindspore.float64):
        return _softmax(scores)
    return _softmax(scores.astype(mindspore.float32)).astype(scores.dtype)


class Attention(nn.Cell):
    """Multi-head attention of tokens [batch, tokens, size] over a context, or over themselves."""

    scale = Exact()

    def __init__(self, size: int, context_size: int, heads: int, *, dtype: DType) -> None:
        super().__init__()
        self.dtype = dtype
        self.heads = heads
        self.scale = (size // heads) ** -0.5
        self.to_q = Linear(size, size, bias=False, dtype=dtype)
        self.to_k = Linear(context_size, size, bias=False, dtype=dtype)
        self.to_v = Linear(context_size, size, bias=False, dtype=dtype)
        self.to_out = nn.SequentialCell([Linear(size, size, dtype=dtype), Identity()])

    def construct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        return self.to_out(attend(self.to_q(x), self.to_k(context), self.to_v(context), self.heads, self.exact_scale))


class GEGLU(nn.Cell):
    """A linear layer whose second half of channels gates the first through GELU."""

    def __init__(self, in_size: int, out_size: int, *, dtype: DType) -> None:
        super().__init__()
        self.proj = Linear(in_size, 2 * out_size, dtype=dtype)
        self.approximate = "none"

    def construct(self, x: Tensor) -> Tensor:
        value, gate = halves(self.proj(x))
        return value * gelu(gate, self.approximate)


class FeedForward(nn.Cell):
    """GEGLU to four times the width and back."""

    def __init__(self, size: int, *, dtype: DType) -> None:
        super().__init__()
        self.net = nn.SequentialCell(
            [GEGLU(size, 4 * size, dtype=dtype), Identity(), Linear(4 * size, size, dtype=dtype)]
        )

    def construct(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Cell):
    """Self-attention, attention over the context, feed forward; each after a norm and added to its input."""

    def __init__(self, size: int, context_size: int, heads: int, *, dtype: DType, norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.norm1 = LayerNorm(size, eps=norm_eps, dtype=dtype)
        self.attn1 = Attention(size, size, heads, dtype=dtype)
        self.norm2 = LayerNorm(size, eps=norm_eps, dtype=dtype)
        self.attn2 = Attention(size, context_size, heads, dtype=dtype)
        self.norm3 = LayerNorm(size, eps=norm_eps, dtype=dtype)
        self.ff = FeedForward(size, dtype=dtype)

    def construct(self, x: Tensor, context: Tensor) -> Tensor:
        x = self.attn1(self.norm1(x)) + x
        x = self.attn2(self.norm2(x), context) + x
        return self.ff(self.norm3(x)) + x


class SpatialTransformer(nn.Cell):
    """Transformer blocks over the places of an image [batch, channels, height, width], added to the image.

    The projections in and out are linear layers on tokens or 1x1 convolutions on the image, as `linear_projection`
    says; the numbers are the same, the shape of the weights is not.
    """

    def __init__(
        self,
        channels: int,
        context_size: int,
        heads: int,
        depth: int,
        *,
        num_groups: int,
        linear_projection: bool,
        dtype: DType,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.linear_projection = linear_projection
        self.norm = GroupNorm(channels, num_groups, eps=norm_eps, dtype=dtype)
        self.proj_in = self._projection(channels, dtype)
        self.transformer_blocks = nn.CellList(
            [TransformerBlock(channels, context_size, heads, dtype=dtype) for _ in range(depth)]
        )
        self.proj_out = self._projection(channels, dtype)

    def _projection(self, channels: int, dtype: DType) -> nn.Cell:
        if self.linear_projection:
            return Linear(channels, channels, dtype=dtype)
        return Conv2d(channels, channels, 1, dtype=dtype)

    def construct(self, x: Tensor, context: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        hidden = self.norm(x)
        if not self.linear_projection:
            hidden = self.proj_in(hidden)
        hidden = hidden.reshape(batch, channels, height * width).swapaxes(1, 2)
        if self.linear_projection:
            hidden = self.proj_in(hidden)
        for block in self.transformer_blocks:
            hidden = block(hidden, context)
        if self.linear_projection:
            hidden = self.proj_out(hidden)
        hidden = hidden.swapaxes(1, 2).reshape(batch, channels, height, width)
        if not self.linear_projection:
            hidden = self.proj_out(hidden)
        return hidden + x
