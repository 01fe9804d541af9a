"""Adam with decoupled weight decay, and the moving average of the weights, as operations on lists of parameters.

Moments have the type of their weights. Arithmetic is in float32, or in float64 for float64 weights, and its result is
rounded to the weights' type once: coefficients are 0-d tensors, since a Python number becomes float32.

Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, https://arxiv.org/abs/1711.05101, algorithm 2.
"""

# mypy: no-warn-return-any
from __future__ import annotations

from typing import TYPE_CHECKING

import mindspore
from mindspore import Parameter, Tensor, ops

from mindone_sdxl.layers import DType, scalar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mindone_sdxl.train import recipe

__all__ = ["Adam", "Average", "arithmetic_type", "clip_each", "clip_together", "norm_of", "put"]


def arithmetic_type(dtype: DType) -> DType:
    """The type in which weights of a type are worked on."""
    return mindspore.float64 if dtype == mindspore.float64 else mindspore.float32


class Adam:
    """The moments of some parameters, and their update.

    Args:
        parameters: those that are trained, by name.
        options: coefficients.
    """

    def __init__(self, parameters: Mapping[str, Parameter], options: recipe.Optimizer) -> None:
        self._options = options
        self.parameters = dict(parameters)
        self.first = {name: _zeros(each, f"first.{name}") for name, each in parameters.items()}
        self.second = {name: _zeros(each, f"second.{name}") for name, each in parameters.items()}

    def update(self, gradients: Mapping[str, Tensor], rate: float, number: int) -> None:
        """Change every parameter by its gradient.

        Args:
            gradients: by name, in the type of the arithmetic.
            rate: the learning rate.
            number: of this update, from 1, for the correction of the moments' beginning.
        """
        options = self._options
        lack_1 = 1 - options.beta1**number if options.bias_correction else 1.0
        lack_2 = 1 - options.beta2**number if options.bias_correction else 1.0
        for name, parameter in self.parameters.items():
            kind = arithmetic_type(parameter.dtype)

            def exact(value: float, kind: DType = kind) -> Tensor:
                return scalar(value, kind)

            gradient, weight = gradients[name], parameter.astype(kind)
            first, second = self.first[name].astype(kind), self.second[name].astype(kind)
            first = first + (gradient - first) * exact(1 - options.beta1)
            second = second * exact(options.beta2) + gradient * gradient * exact(1 - options.beta2)
            if options.decays(name, parameter.shape) and options.weight_decay:
                weight = weight * exact(1 - rate * options.weight_decay)
            spread = ops.sqrt(second) / exact(lack_2**0.5) + exact(options.eps)
            weight = weight - first / spread * exact(rate / lack_1)
            for kept, value in ((self.first[name], first), (self.second[name], second), (parameter, weight)):
                put(kept, value)


class Average:
    """A moving average of some parameters, in the type of the arithmetic."""

    def __init__(self, parameters: Mapping[str, Parameter], options: recipe.Ema) -> None:
        self._options = options
        self._parameters = dict(parameters)
        self.values = {
            name: Parameter(each.astype(arithmetic_type(each.dtype)), name=f"ema.{name}")
            for name, each in parameters.items()
        }

    def update(self, number: int) -> None:
        """Move every average towards its parameter, after update number `number`, from 0."""
        kept = self._options.kept(number)
        for name, value in self.values.items():
            current = self._parameters[name].astype(value.dtype)
            put(value, value - (value - current) * scalar(1 - kept, value.dtype))


def put(parameter: Parameter, value: Tensor) -> None:
    """Write a value into a parameter's own memory, in its type: a graph that was compiled with it sees no other."""
    ops.assign(parameter, value.astype(parameter.dtype))


def norm_of(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of all gradients together, 0-d."""
    squares = [(gradient * gradient).sum() for gradient in gradients]
    return ops.sqrt(ops.stack(squares).sum())


def clip_together(gradients: Mapping[str, Tensor], norm: Tensor, limit: recipe.Clip) -> dict[str, Tensor]:
    """Gradients scaled down so that their norm together, which is given, is at most the limit."""
    factor = _factor(norm, limit)
    return {name: gradient * factor for name, gradient in gradients.items()}


def clip_each(gradients: Mapping[str, Tensor], limit: recipe.Clip) -> dict[str, Tensor]:
    """Gradients scaled down so that the norm of each is at most the limit."""
    return {name: gradient * _factor(norm_of([gradient]), limit) for name, gradient in gradients.items()}


def _factor(norm: Tensor, limit: recipe.Clip) -> Tensor:
    """What gradients of a norm are multiplied by."""
    share = scalar(limit.norm, norm.dtype) / (norm + scalar(limit.eps, norm.dtype))
    return ops.minimum(share, scalar(1, norm.dtype))


def _zeros(like: Parameter, name: str) -> Parameter:
    """A parameter of zeros in the shape and type of another."""
    return Parameter(ops.zeros(like.shape, like.dtype), name=name)
