"""Prompts of more than 77 tokens: encoded in pieces of 75, whose hidden states are put one after the other.

All prompts of a batch get as many pieces as the longest has; a shorter one is filled up with pieces of the empty
prompt. The pooled embedding is that of a prompt's own last piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from mindspore import Tensor

from mindone_sdxl.arrays import Array
from mindone_sdxl.conditioning import TextEmbeddings

if TYPE_CHECKING:
    from mindone_sdxl.tokenizer import CLIPTokenizer

__all__ = ["encode_long", "pieces"]

Encode = Callable[[Array, Array], TextEmbeddings]


def pieces(tokenizer: CLIPTokenizer, prompt: str) -> list[list[int]]:
    """Framed ids of a prompt's pieces, at least one."""
    ids, size = tokenizer.encode(prompt), tokenizer.max_length - 2
    starts = range(0, max(len(ids), 1), size)
    return [tokenizer.frame(ids[start : start + size]) for start in starts]


def encode_long(
    encode: Encode, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], prompts: Sequence[str]
) -> TextEmbeddings:
    """Embeddings of prompts of any length: context [batch, pieces * 77, size], pooled [batch, size].

    Args:
        encode: token ids of both tokenizers [batch, 77] to embeddings.
    """
    cut = [[pieces(tokenizer, prompt) for prompt in prompts] for tokenizer in tokenizers]
    # The two vocabularies are one, so that both cut a prompt alike unless "!" is a special token of one of them.
    own = [max(len(pair[0]), len(pair[1])) for pair in zip(*cut, strict=True)]
    count = max(own)
    ids = []
    for tokenizer, rows in zip(tokenizers, cut, strict=True):
        filler = tokenizer.frame([])
        ids.append(np.array([row + [filler] * (count - len(row)) for row in rows], dtype=np.int32))
    embeddings = encode(*(values.reshape(len(prompts) * count, -1) for values in ids))
    last = np.arange(len(prompts)) * count + np.array(own) - 1
    tokens, size = embeddings.context.shape[1:]
    return TextEmbeddings(
        context=embeddings.context.reshape(len(prompts), count * tokens, size),
        pooled=embeddings.pooled[Tensor(last.astype(np.int32))],
    )
