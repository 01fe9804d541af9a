"""The leaves: linear, convolution, norms, embedding, activations, sinusoid.

Every leaf is a cell, so that hooks see it, and every attribute that decides its numbers (`eps`, `num_groups`,
`stride`, `approximate`...) is read when it is called, so that it can be inspected and changed.

Two ways to compute, chosen by the parameters' type. float64 is composed from operators that are exact on CPU: there
the convolution has no float64 kernel, the layer norm kernel computes in float32, the group norm holds its epsilon in
float32, and a Python number beside a float64 tensor is rounded to float32 (hence `Exact`). The other types use the
primitives, with norms in float32 whatever the type.

    >>> cell = GroupNorm(8, 2, eps=1e-5, dtype=mindspore.float32)
    >>> cell.eps
    1e-05

Parameters are created without memory and without values; `weights.load` gives them both.
"""

# mypy: allow-subclassing-any, no-warn-return-any
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import initializer
from mindspore.nn.utils import no_init_parameters

from mindone_sdxl.cpu import convolution_is_slow
from mindone_sdxl.graphs import made_once
from mindone_sdxl.kernels import add_channels, add_rows, on_cpu

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mindone_sdxl.arrays import Number

__all__ = [
    "GELU",
    "Conv2d",
    "Embedding",
    "Exact",
    "GroupNorm",
    "Identity",
    "LayerNorm",
    "Linear",
    "Pointwise",
    "Projection",
    "QuickGELU",
    "SiLU",
    "Sinusoid",
    "new_parameter",
    "numpy_type",
    "scalar",
]

# MindSpore publishes no types; its own type of types is one of them.
DType = Any
_NUMPY_TYPES: Mapping[Any, np.dtype[Any]] = {
    mindspore.float64: np.dtype(np.float64),
    mindspore.float32: np.dtype(np.float32),
    mindspore.float16: np.dtype(np.float16),
    mindspore.bfloat16: np.dtype(np.float32),
}
_matmul = ops.MatMul()
_matmul_transposed = ops.MatMul(transpose_b=True)
_batch_matmul_transposed = ops.BatchMatMul(transpose_b=True)


def numpy_type(dtype: DType) -> np.dtype[Any]:
    """The numpy type that holds values of a MindSpore type; float32 for bfloat16, which numpy lacks."""
    return _NUMPY_TYPES[dtype]


def scalar(value: Number, dtype: DType) -> Tensor:
    """A 0-d tensor with exactly this value in this type."""
    return Tensor(np.array(value, numpy_type(dtype)), dtype)


class Exact:
    """A number of a cell, such as an epsilon; beside `cell.NAME` stands `cell.exact_NAME`, a 0-d tensor of the cell's type.

    `construct` reads the tensor: numbers become float32 in a graph, and beside float64 tensors.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn the attribute's name."""
        self.name = name

    def __get__(self, cell: nn.Cell, owner: type) -> float:
        """The number."""
        return cell.__dict__[self.name]

    def __set__(self, cell: nn.Cell, value: float) -> None:
        """Change the number and the tensor."""
        cell.__dict__[self.name] = value
        setattr(cell, f"exact_{self.name}", scalar(value, cell.dtype))


@made_once
def _share(count: int, dtype: DType) -> Tensor:
    return scalar(1 / count, dtype)


def new_parameter(shape: tuple[int, ...], dtype: DType, name: str) -> Parameter:
    """A parameter that has a shape and a type but neither memory nor values yet."""
    with no_init_parameters():
        return Parameter(initializer("zeros", shape, dtype), name=name)


class Linear(nn.Cell):
    """`x @ weight.T + bias` on the last axis; weight is [out, in]."""

    def __init__(self, in_size: int, out_size: int, *, dtype: DType, bias: bool = True) -> None:
        super().__init__()
        self.weight = new_parameter((out_size, in_size), dtype, "weight")
        self.bias = new_parameter((out_size,), dtype, "bias") if bias else None

    def construct(self, x: Tensor) -> Tensor:
        out_size, in_size = self.weight.shape
        out = _matmul_transposed(x.reshape(-1, in_size), self.weight)
        if self.bias is not None:
            out = add_rows(out, self.bias)
        return out.reshape(*x.shape[:-1], out_size)


class Projection(nn.Cell):
    """`x @ weight` on the last axis; weight is [in, out], and there is no bias."""

    def __init__(self, in_size: int, out_size: int, *, dtype: DType) -> None:
        super().__init__()
        self.weight = new_parameter((in_size, out_size), dtype, "weight")

    def construct(self, x: Tensor) -> Tensor:
        in_size, out_size = self.weight.shape
        return _matmul(x.reshape(-1, in_size), self.weight).reshape(*x.shape[:-1], out_size)


class Pointwise(nn.Cell):
    """A 1x1 convolution applied to tokens [batch, tokens, channels]; weight is [out, in, 1, 1]."""

    def __init__(self, in_size: int, out_size: int, *, dtype: DType) -> None:
        super().__init__()
        self.weight = new_parameter((out_size, in_size, 1, 1), dtype, "weight")
        self.bias = new_parameter((out_size,), dtype, "bias")

    def construct(self, x: Tensor) -> Tensor:
        out_size, in_size = self.weight.shape[:2]
        out = _matmul_transposed(x.reshape(-1, in_size), self.weight.reshape(out_size, in_size))
        return add_rows(out, self.bias).reshape(*x.shape[:-1], out_size)


class Conv2d(nn.Cell):
    """A convolution of [batch, channels, height, width] with zero padding on all sides."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, dtype: DType, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.weight = new_parameter((out_channels, in_channels, kernel_size, kernel_size), dtype, "weight")
        self.bias = new_parameter((out_channels,), dtype, "bias")
        self.stride = stride
        self.padding = padding

    def construct(self, x: Tensor) -> Tensor:
        out_channels, _, size, _ = self.weight.shape
        if size == 1 and self.stride == 1 and self.padding == 0:
            out = self._images(x.reshape(x.shape[0], x.shape[1], -1))
            return out.reshape(x.shape[0], out_channels, *x.shape[2:])
        if self._by_matmul(x.dtype):
            columns = ops.unfold(x, size, 1, self.padding, self.stride)
            height, width = [(n + 2 * self.padding - size) // self.stride + 1 for n in x.shape[2:]]
            return self._images(columns).reshape(x.shape[0], out_channels, height, width)
        convolution = _convolution(out_channels, size, self.stride, self.padding)
        return add_channels(convolution(x, self.weight), self.bias)

    def _images(self, columns: Tensor) -> Tensor:
        """The weight times the columns [batch, values under the kernel, places], one image at a time."""
        weight = self.weight.reshape(self.weight.shape[0], -1)
        images = [_matmul(weight, columns[index]) for index in range(columns.shape[0])]
        stacked = ops.stack(images) if len(images) > 1 else images[0].reshape(1, *images[0].shape)
        return add_channels(stacked, self.bias)

    @staticmethod
    def _by_matmul(dtype: DType) -> bool:
        return on_cpu() and (dtype == mindspore.float64 or convolution_is_slow())


@made_once
def _convolution(out_channels: int, size: int, stride: int, padding: int) -> ops.Conv2D:
    return ops.Conv2D(out_channels, size, pad_mode="pad", pad=padding, stride=stride)


class GroupNorm(nn.Cell):
    """Group normalisation of [batch, channels, ...]."""

    eps = Exact()

    def __init__(self, channels: int, num_groups: int, *, eps: float, dtype: DType) -> None:
        super().__init__()
        self.dtype = dtype
        self.gamma = new_parameter((channels,), dtype, "gamma")
        self.beta = new_parameter((channels,), dtype, "beta")
        self.num_groups = num_groups
        self.eps = eps

    def construct(self, x: Tensor) -> Tensor:
        if x.dtype == mindspore.float64:
            batch, channels, groups = x.shape[0], x.shape[1], self.num_groups
            centred, factor = _centred(x.reshape(batch * groups, -1), self.exact_eps)
            factor = factor.reshape(batch, groups, 1) * self.gamma.reshape(1, groups, -1)
            out = centred.reshape(batch, channels, -1) * factor.reshape(batch, channels, 1)
            return (out + self.beta.reshape(1, channels, 1)).reshape(x.shape)
        gamma, beta = self.gamma.astype(mindspore.float32), self.beta.astype(mindspore.float32)
        out = ops.group_norm(x.astype(mindspore.float32), self.num_groups, gamma, beta, self.eps)
        return out.astype(x.dtype)


class LayerNorm(nn.Cell):
    """Layer normalisation of the last axis."""

    eps = Exact()

    def __init__(self, size: int, *, eps: float, dtype: DType) -> None:
        super().__init__()
        self.dtype = dtype
        self.gamma = new_parameter((size,), dtype, "gamma")
        self.beta = new_parameter((size,), dtype, "beta")
        self.eps = eps

    def construct(self, x: Tensor) -> Tensor:
        if x.dtype == mindspore.float64:
            centred = x - x.mean(-1, keep_dims=True)
            variance = (centred * centred).mean(-1, keep_dims=True)
            return centred * ops.rsqrt(variance + self.exact_eps) * self.gamma + self.beta
        gamma, beta = self.gamma.astype(mindspore.float32), self.beta.astype(mindspore.float32)
        return _layer_norm(self.eps)(x.astype(mindspore.float32), gamma, beta)[0].astype(x.dtype)


@made_once
def _layer_norm(eps: float) -> ops.LayerNorm:
    return ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=eps)


def _centred(rows: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [n, length] without their mean, and the factor [n, 1] that brings each to variance 1; keeps float64.

    Sums are products with a vector: on CPU that takes a quarter of the time of an elementwise pass.
    """
    count, length = rows.shape
    share = _share(length, rows.dtype)
    centred = rows - _matmul(rows, _ones(length, rows.dtype)) * share
    square = _batch_matmul_transposed(centred.reshape(count, 1, length), centred.reshape(count, 1, length))
    return centred, ops.rsqrt(square.reshape(count, 1) * share + eps)


@made_once
def _ones(length: int, dtype: DType) -> Tensor:
    return Tensor(np.ones((length, 1), numpy_type(dtype)), dtype)


class Embedding(nn.Cell):
    """Rows of a table by integer ids [...]."""

    def __init__(self, rows: int, size: int, *, dtype: DType) -> None:
        super().__init__()
        self.embedding_table = new_parameter((rows, size), dtype, "embedding_table")

    def construct(self, ids: Tensor) -> Tensor:
        return ops.gather(self.embedding_table, ids, 0)


class SiLU(nn.Cell):
    """`x * sigmoid(x)`."""

    def construct(self, x: Tensor) -> Tensor:
        return ops.silu(x)


class GELU(nn.Cell):
    """The Gaussian error linear unit; `approximate` is "none" (by erf) or "tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def construct(self, x: Tensor) -> Tensor:
        return gelu(x, self.approximate)


class QuickGELU(nn.Cell):
    """`x * sigmoid(slope * x)`, CLIP's first activation."""

    slope = Exact()

    def __init__(self, *, dtype: DType, slope: float = 1.702) -> None:
        super().__init__()
        self.dtype = dtype
        self.slope = slope

    def construct(self, x: Tensor) -> Tensor:
        return x * ops.sigmoid(x * self.exact_slope)


def gelu(x: Tensor, approximate: str) -> Tensor:
    """The Gaussian error linear unit, exact for "none" and by tanh for "tanh"."""
    one, half, root, cubic, steep = _gelu_constants(x.dtype)
    if approximate == "none":
        return x * half * (one + ops.erf(x * root))
    return x * half * (one + ops.tanh((x + x * x * x * cubic) * steep))


@made_once
def _gelu_constants(dtype: DType) -> tuple[Tensor, ...]:
    return tuple(scalar(value, dtype) for value in (1, 0.5, 0.5**0.5, 0.044715, (2 / np.pi) ** 0.5))


class Identity(nn.Cell):
    """Gives back what it is given; stands where training has dropout."""

    def construct(self, x: Tensor) -> Tensor:
        return x


class Sinusoid(nn.Cell):
    """Numbers [n] to their embedding [n, size]: cosines, then sines, at frequencies from 1 down to 1 / max_period.

    Angles go up to about 1000, so that a float32 holds them to 3e-5 only, and for SDXL's UNet that weighs more than every
    other rounding together. So each frequency is the sum of a coarse one of 12 bits, whose product with a whole number up
    to 4096 is exact, and a fine rest, and the angles' cosines and sines are put together from those of the two products.
    Computed in float32 or better, whatever the model's type, from numpy's frequencies: the exponential on CPU is coarse.
    """

    def __init__(self, size: int, *, dtype: DType, max_period: float = 10000.0) -> None:
        super().__init__()
        self.size = size
        self.max_period = max_period
        self.dtype = dtype
        half = size // 2
        frequencies = np.exp(-np.log(max_period) * np.arange(half, dtype=np.float64) / half)
        fraction, exponent = np.frexp(frequencies)
        coarse = np.ldexp(np.rint(np.ldexp(fraction, 12)), exponent - 12)
        self.angle_dtype = mindspore.float64 if dtype == mindspore.float64 else mindspore.float32
        kind = numpy_type(self.angle_dtype)
        self.coarse, self.fine = Tensor(coarse.astype(kind)), Tensor((frequencies - coarse).astype(kind))

    def construct(self, timesteps: Tensor) -> Tensor:
        timesteps = timesteps.reshape(-1, 1).astype(self.angle_dtype)
        coarse, fine = timesteps * self.coarse, timesteps * self.fine
        cosines = ops.cos(coarse) * ops.cos(fine) - ops.sin(coarse) * ops.sin(fine)
        sines = ops.sin(coarse) * ops.cos(fine) + ops.cos(coarse) * ops.sin(fine)
        return ops.cat((cosines, sines), axis=1).astype(self.dtype)
