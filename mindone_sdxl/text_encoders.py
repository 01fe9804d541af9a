"""The two CLIP text transformers, each in the layout of its own checkpoint.

They compute the same thing under different names: CLIP-L keeps q, k and v apart, OpenCLIP fuses them; the activation
comes from the configuration. A causal mask adds the type's most negative number, which softmax turns into exactly 0.
"""

# mypy: allow-subclassing-any, no-warn-return-any
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import mindspore
import numpy as np
from mindspore import Tensor, nn, ops

from mindone_sdxl.attention import attend
from mindone_sdxl.graphs import made_once
from mindone_sdxl.layers import GELU, DType, Embedding, Exact, LayerNorm, Linear, Projection, QuickGELU, numpy_type

if TYPE_CHECKING:
    from mindone_sdxl.config import TextEncoderConfig

__all__ = ["CLIPText", "OpenCLIPText", "TextOutput", "causal_mask"]


class TextOutput(NamedTuple):
    """What a text encoder gives.

    Args:
        penultimate: input of the last layer, without the final norm [batch, tokens, size].
        last: output of the last layer after the final norm [batch, tokens, size].
        pooled: `last` at the end-of-text token, projected where the encoder has a projection [batch, size].
    """

    penultimate: Tensor
    last: Tensor
    pooled: Tensor


@made_once
def causal_mask(tokens: int, dtype: DType) -> Tensor:
    """[1, 1, tokens, tokens]: 0 where a token may look, the type's most negative number where it may not."""
    values = np.triu(np.full((tokens, tokens), np.finfo(numpy_type(dtype)).min), k=1)
    return Tensor(values.reshape(1, 1, tokens, tokens).astype(numpy_type(dtype)), dtype)


def end_positions(ids: Tensor, eos_token_id: int) -> Tensor:
    """Where each sequence [batch, tokens] ends, as int32 [batch]: at the first end-of-text token, else at its start.

    In configurations that call it 2, which is wrong, the token is the one with the largest id.
    """
    tokens = ids.shape[1]
    largest = ops.amax(ids, -1, keepdims=True) if eos_token_id == 2 else eos_token_id
    left = (ids == largest).astype(mindspore.int32) * (tokens - _positions(tokens))
    return (tokens - ops.amax(left, -1)) % tokens


def pool(hidden: Tensor, ids: Tensor, eos_token_id: int) -> Tensor:
    """The hidden state of each sequence at its end-of-text token."""
    batch, tokens, size = hidden.shape
    rows = end_positions(ids, eos_token_id) + _positions(batch).reshape(-1) * tokens
    return ops.gather(hidden.reshape(batch * tokens, size), rows, 0)


def _activation(config: TextEncoderConfig, dtype: DType) -> nn.Cell:
    return QuickGELU(dtype=dtype) if config.activation == "quick_gelu" else GELU()


@made_once
def _positions(count: int) -> Tensor:
    """Whole numbers from 0 on, int32 [1, count]."""
    return Tensor(np.arange(count, dtype=np.int32).reshape(1, -1))


class CLIPAttention(nn.Cell):
    """Masked self-attention with separate projections."""

    scale = Exact()

    def __init__(self, config: TextEncoderConfig, *, dtype: DType) -> None:
        super().__init__()
        self.dtype = dtype
        size = config.hidden_size
        self.heads = config.heads
        self.scale = (size // config.heads) ** -0.5
        self.q_proj = Linear(size, size, dtype=dtype)
        self.k_proj = Linear(size, size, dtype=dtype)
        self.v_proj = Linear(size, size, dtype=dtype)
        self.out_proj = Linear(size, size, dtype=dtype)

    def construct(self, x: Tensor, mask: Tensor) -> Tensor:
        hidden = attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads, self.exact_scale, mask)
        return self.out_proj(hidden)


class CLIPMLP(nn.Cell):
    """Two linear layers with the activation between them."""

    def __init__(self, config: TextEncoderConfig, *, dtype: DType) -> None:
        super().__init__()
        self.fc1 = Linear(config.hidden_size, config.intermediate_size, dtype=dtype)
        self.activation_fn = _activation(config, dtype)
        self.fc2 = Linear(config.intermediate_size, config.hidden_size, dtype=dtype)

    def construct(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation_fn(self.fc1(x)))


class CLIPLayer(nn.Cell):
    """Attention and feed forward, each after a norm and added to its input."""

    def __init__(self, config: TextEncoderConfig, *, dtype: DType) -> None:
        super().__init__()
        self.layer_norm1 = LayerNorm(config.hidden_size, eps=config.norm_eps, dtype=dtype)
        self.self_attn = CLIPAttention(config, dtype=dtype)
        self.layer_norm2 = LayerNorm(config.hidden_size, eps=config.norm_eps, dtype=dtype)
        self.mlp = CLIPMLP(config, dtype=dtype)

    def construct(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class CLIPEmbeddings(nn.Cell):
    """Token embedding plus position embedding."""

    def __init__(self, config: TextEncoderConfig, *, dtype: DType) -> None:
        super().__init__()
        self.token_embedding = Embedding(config.vocabulary_size, config.hidden_size, dtype=dtype)
        self.position_embedding = Embedding(config.positions, config.hidden_size, dtype=dtype)

    def construct(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding(_positions(ids.shape[1]))


class CLIPEncoder(nn.Cell):
    """The layers; gives the input and the output of the last one."""

    def __init__(self, config: TextEncoderConfig, *, dtype: DType) -> None:
        super().__init__()
        self.layers = nn.CellList([CLIPLayer(config, dtype=dtype) for _ in range(config.layers)])

    def construct(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        before = x
        for layer in self.layers:
            before, x = x, layer(x, mask)
        return before, x


class CLIPText(nn.Cell):
    """The first text encoder (CLIP-L)."""

    def __init__(self, config: TextEncoderConfig, *, dtype: DType) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        self.embeddings = CLIPEmbeddings(config, dtype=dtype)
        self.encoder = CLIPEncoder(config, dtype=dtype)
        self.final_layer_norm = LayerNorm(config.hidden_size, eps=config.norm_eps, dtype=dtype)

    def construct(self, ids: Tensor) -> TextOutput:
        mask = causal_mask(ids.shape[1], self.dtype)
        penultimate, last = self.encoder(self.embeddings(ids), mask)
        last = self.final_layer_norm(last)
        return TextOutput(penultimate, last, pool(last, ids, self.config.eos_token_id))


class OpenCLIPAttention(nn.Cell):
    """Masked self-attention whose q, k and v are one projection."""

    scale = Exact()

    def __init__(self, config: TextEncoderConfig, *, dtype: DType) -> None:
        super().__init__()
        self.dtype = dtype
        size = config.hidden_size
        self.heads = config.heads
        self.scale = (size // config.heads) ** -0.5
        self.in_proj = Linear(size, 3 * size, dtype=dtype)
        self.out_proj = Linear(size, size, dtype=dtype)

    def construct(self, x: Tensor, mask: Tensor) -> Tensor:
        size = x.shape[-1]
        projected = self.in_proj(x)
        query, key, value = [projected[..., start : start + size] for start in (0, size, 2 * size)]
        return self.out_proj(attend(query, key, value, self.heads, self.exact_scale, mask))


class OpenCLIPMLP(nn.Cell):
    """Two linear layers with the activation between them."""

    def __init__(self, config: TextEncoderConfig, *, dtype: DType) -> None:
        super().__init__()
        self.c_fc = Linear(config.hidden_size, config.intermediate_size, dtype=dtype)
        self.gelu = _activation(config, dtype)
        self.c_proj = Linear(config.intermediate_size, config.hidden_size, dtype=dtype)

    def construct(self, x: Tensor) -> Tensor:
        return self.c_proj(self.gelu(self.c_fc(x)))


class OpenCLIPBlock(nn.Cell):
    """Attention and feed forward, each after a norm and added to its input."""

    def __init__(self, config: TextEncoderConfig, *, dtype: DType) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(config.hidden_size, eps=config.norm_eps, dtype=dtype)
        self.attn = OpenCLIPAttention(config, dtype=dtype)
        self.ln_2 = LayerNorm(config.hidden_size, eps=config.norm_eps, dtype=dtype)
        self.mlp = OpenCLIPMLP(config, dtype=dtype)

    def construct(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class OpenCLIPTransformer(nn.Cell):
    """The blocks; gives the input and the output of the last one."""

    def __init__(self, config: TextEncoderConfig, *, dtype: DType) -> None:
        super().__init__()
        self.resblocks = nn.CellList([OpenCLIPBlock(config, dtype=dtype) for _ in range(config.layers)])

    def construct(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        before = x
        for block in self.resblocks:
            before, x = x, block(x, mask)
        return before, x


class OpenCLIPText(nn.Cell):
    """The second text encoder (OpenCLIP bigG), which also gives the pooled embedding."""

    def __init__(self, config: TextEncoderConfig, *, dtype: DType) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        size = config.hidden_size
        self.token_embedding = Embedding(config.vocabulary_size, size, dtype=dtype)
        self.positional_embedding = Embedding(config.positions, size, dtype=dtype)
        self.transformer = OpenCLIPTransformer(config, dtype=dtype)
        self.ln_final = LayerNorm(size, eps=config.norm_eps, dtype=dtype)
        self.text_projection = Projection(size, config.projection_size or size, dtype=dtype)

    def construct(self, ids: Tensor) -> TextOutput:
        mask = causal_mask(ids.shape[1], self.dtype)
        embedded = self.token_embedding(ids) + self.positional_embedding(_positions(ids.shape[1]))
        penultimate, last = self.transformer(embedded, mask)
        last = self.ln_final(last)
        pooled = pool(last, ids, self.config.eos_token_id)
        return TextOutput(penultimate, last, self.text_projection(pooled))
