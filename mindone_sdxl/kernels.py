"""Moves and additions spelled so that they are fast on CPU; the numbers are those of the plain spelling.

Adding a vector to the rows or to the channels of a tensor by broadcasting takes ten times as long there as `BiasAdd`,
and a transposed or sliced view is copied number by number where it is next used, fifteen times slower than `gather`
copies whole rows. Other devices, and bfloat16, which neither operator takes, use the plain spelling.

    >>> halves(Tensor(np.arange(8.0).reshape(1, 2, 4)))[1].asnumpy().tolist()
    [[[2.0, 3.0], [6.0, 7.0]]]
"""

# mypy: no-warn-return-any
from __future__ import annotations

import mindspore
import numpy as np
from mindspore import Tensor, ops

from mindone_sdxl.graphs import made_once

__all__ = ["add_channels", "add_rows", "halves", "join_heads", "on_cpu", "split_heads"]

_bias_add = ops.BiasAdd()
_bias_add_channels = ops.BiasAdd(data_format="NCHW")


@made_once
def on_cpu() -> bool:
    """Whether operators run on the CPU."""
    return mindspore.get_context("device_target") == "CPU"


def _plain(x: Tensor) -> bool:
    return x.dtype == mindspore.bfloat16 or not on_cpu()


def add_rows(x: Tensor, vector: Tensor) -> Tensor:
    """A matrix [rows, size] with a vector [size] added to every row."""
    return x + vector if _plain(x) else _bias_add(x, vector)


def add_channels(x: Tensor, values: Tensor) -> Tensor:
    """Images [batch, channels, ...] with a number added to each channel: values [channels] or [batch, channels]."""
    batch, channels = x.shape[:2]
    if _plain(x):
        return x + values.reshape(*values.shape, *(1,) * (len(x.shape) - 2))
    if len(values.shape) == 1:
        return _bias_add_channels(x.reshape(batch, channels, -1), values).reshape(x.shape)
    return _bias_add_channels(x.reshape(1, batch * channels, -1), values.reshape(-1)).reshape(x.shape)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[batch, tokens, heads * size] as [batch, heads, tokens, size]."""
    batch, tokens, width = x.shape
    if heads == 1:
        return x.reshape(batch, 1, tokens, width)
    if _plain(x):
        return x.reshape(batch, tokens, heads, width // heads).swapaxes(1, 2)
    rows = ops.gather(x.reshape(-1, width // heads), _order(batch, tokens, heads), 0)
    return rows.reshape(batch, heads, tokens, width // heads)


def join_heads(x: Tensor) -> Tensor:
    """[batch, heads, tokens, size] as [batch, tokens, heads * size]."""
    batch, heads, tokens, size = x.shape
    if heads == 1:
        return x.reshape(batch, tokens, size)
    if _plain(x):
        return x.swapaxes(1, 2).reshape(batch, tokens, heads * size)
    return ops.gather(x.reshape(-1, size), _order(batch, heads, tokens), 0).reshape(batch, tokens, heads * size)


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """The two halves of the last axis."""
    size = x.shape[-1] // 2
    if _plain(x):
        return x[..., :size], x[..., size:]
    rows, shape = x.reshape(-1, size), (*x.shape[:-1], size)
    first = ops.gather(rows, _every_second(rows.shape[0], 0), 0)
    second = ops.gather(rows, _every_second(rows.shape[0], 1), 0)
    return first.reshape(shape), second.reshape(shape)


@made_once
def _order(batch: int, first: int, second: int) -> Tensor:
    """Where each row of [batch, second, first] is in [batch, first, second]."""
    numbers = np.arange(batch * first * second, dtype=np.int32).reshape(batch, first, second)
    return Tensor(np.ascontiguousarray(numbers.swapaxes(1, 2)).reshape(-1))


@made_once
def _every_second(count: int, start: int) -> Tensor:
    return Tensor(np.arange(start, count, 2, dtype=np.int32))
