"""One update of the weights: gradients of some batches, their mean, clipping, the optimizer, the average.

Weights are kept in one type and used in another, as the recipe says: kept and used in float32; kept in float32 and used
in float16; or kept and used in float16, with or without the norms. Gradients are summed in float32, or in float64.
"""

# mypy: no-warn-return-any
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, ops

from mindone_sdxl.layers import GroupNorm, LayerNorm, new_parameter, numpy_type, scalar
from mindone_sdxl.train.optimizer import Adam, Average, arithmetic_type, clip_each, clip_together, norm_of, put
from mindone_sdxl.train.scaling import Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mindone_sdxl.arrays import Array
    from mindone_sdxl.train.objective import Problem
    from mindone_sdxl.train.recipe import Recipe
    from mindone_sdxl.unet import UNet

__all__ = ["Example", "Outcome", "Trainer", "widen_norms"]


class Example(NamedTuple):
    """What the network is asked in one gradient.

    Args:
        problem: noisy latents and targets.
        timesteps: what it is told [batch].
        context: text embeddings [batch, tokens, size].
        vector: pooled embedding and sizes [batch, size].
    """

    problem: Problem
    timesteps: Array
    context: Array
    vector: Array


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an update has come to.

    Args:
        loss: mean over its images.
        norm: of all gradients together, before clipping.
        rate: the learning rate.
        scale: the loss scale with which gradients were taken.
        updated: whether weights were changed, which an overflow prevents.
    """

    loss: float
    norm: float
    rate: float
    scale: float
    updated: bool


def widen_norms(unet: UNet) -> None:
    """Keep gamma and beta of every norm in float32, whatever the network's type; values are not kept."""
    for _, cell in unet.cells_and_names():
        if isinstance(cell, GroupNorm | LayerNorm):
            for name in ("gamma", "beta"):
                parameter = getattr(cell, name)
                setattr(cell, name, new_parameter(parameter.shape, mindspore.float32, parameter.name))


class Trainer:
    """A network in training.

    `rounds` counts calls of `update`, and `updates` those that changed the weights.

    Args:
        unet: with its weights, in the type in which they are used.
        recipe: what decides the numbers.
        masters: the weights as they are kept, float32, where they are used in another type, by name.
        compiled: whether the gradient runs as a graph.
        watch: is told every quantity of an update by its name, each a mapping by parameter or with one entry.
    """

    def __init__(
        self,
        unet: UNet,
        recipe: Recipe,
        *,
        masters: Mapping[str, Array] | None = None,
        compiled: bool = False,
        watch: Callable[[str, Mapping[str, Tensor]], None] | None = None,
    ) -> None:
        self.recipe = recipe
        self._unet, self._watch = unet, watch
        self.used: dict[str, Parameter] = dict(unet.parameters_and_names())
        for parameter in self.used.values():
            # Loaded weights may share the memory of a file; a parameter's own `copy` forgets them.
            parameter.set_data(parameter.value().copy())
        self.kept = self.used if masters is None else {name: _master(masters[name], name) for name in self.used}
        self.type = arithmetic_type(unet.dtype)
        self.adam = Adam(self.kept, recipe.optimizer)
        self.average = None if recipe.ema is None else Average(self.kept, recipe.ema)
        self.scale = Scale(recipe.loss_scale)
        self.rounds = self.updates = 0
        gradient = mindspore.value_and_grad(self._forward, None, list(self.used.values()), has_aux=True)
        self._gradient = mindspore.jit(gradient) if compiled else gradient
        if masters is not None:
            self.hand_out()

    def _forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        context: Tensor,
        vector: Tensor,
        target: Tensor,
        weight: Tensor,
        scale: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        prediction = self._unet(noisy, timesteps, context, vector).astype(target.dtype)
        off = prediction - target
        size = off * off if self.recipe.loss == "l2" else ops.abs(off)
        each = size.reshape(size.shape[0], -1).mean(1) * weight
        return each.mean() * scale, each, prediction

    def update(self, examples: Sequence[Example]) -> Outcome:
        """Change the weights by the mean gradient of some examples."""
        share = self.scale.value / len(examples)
        losses: list[Tensor] = []
        total: dict[str, Tensor] = {}
        for example in examples:
            arguments = self._arguments(example)
            (_, each, prediction), gradients = self._gradient(*arguments, scalar(share, self.type))
            self._tell("loss", {"each": each, "prediction": prediction, "target": arguments[4]})
            losses.append(each.mean())
            _add(total, dict(zip(self.used, gradients, strict=True)), self.type)
        unscale = scalar(1 / self.scale.value, self.type)
        total = {name: gradient * unscale for name, gradient in total.items()}
        norm = norm_of(list(total.values()))
        self._tell("gradients", total)
        loss, size = float(ops.stack(losses).mean().asnumpy()), float(norm.asnumpy())
        return self._apply(total, norm, loss, size)

    def _apply(self, gradients: dict[str, Tensor], norm: Tensor, loss: float, size: float) -> Outcome:
        """Clip and apply gradients, unless they overflowed."""
        rate, scale = self.recipe.rate.at(self.updates), self.scale.value
        overflows = not np.isfinite(size)
        updated = not overflows or self.recipe.loss_scale.update_anyway
        if updated:
            clipped = self._clip(gradients, norm)
            self._tell("clipped", clipped)
            before = self._copies()
            self.adam.update(clipped, rate, self.updates + 1)
            self._tell_change(before)
            self.hand_out()
            if self.average is not None:
                self.average.update(self.updates)
                self._tell("ema", self.average.values)
            self.updates += 1
        self.rounds += 1
        self.scale.note(overflows=overflows)
        return Outcome(loss=loss, norm=size, rate=rate, scale=scale, updated=updated)

    def _clip(self, gradients: dict[str, Tensor], norm: Tensor) -> dict[str, Tensor]:
        clip = self.recipe.clip
        if clip is None:
            return gradients
        return clip_each(gradients, clip) if clip.each else clip_together(gradients, norm, clip)

    def _arguments(self, example: Example) -> tuple[Tensor, ...]:
        """What the gradient is taken of, but for the scale."""
        used, whole = self._unet.dtype, self.type
        problem = example.problem
        given = (
            (problem.noisy, used),
            (example.timesteps, whole),
            (example.context, used),
            (example.vector, used),
            (problem.target, whole),
            (problem.weight, whole),
        )
        return tuple(Tensor(np.ascontiguousarray(array, numpy_type(kind)), kind) for array, kind in given)

    def hand_out(self) -> None:
        """Give the network its weights in the type in which it uses them."""
        if self.kept is not self.used:
            for name, parameter in self.used.items():
                put(parameter, self.kept[name])

    def _tell(self, name: str, values: Mapping[str, Tensor]) -> None:
        if self._watch is not None:
            self._watch(name, values)

    def _copies(self) -> dict[str, Array]:
        """The weights before an update, where somebody wants to know by how much they change."""
        return {} if self._watch is None else {name: each.asnumpy().copy() for name, each in self.kept.items()}

    def _tell_change(self, before: Mapping[str, Array]) -> None:
        if self._watch is not None:
            changes = {name: each - Tensor(before[name], each.dtype) for name, each in self.kept.items()}
            self._tell("update", changes)


def _master(value: Array, name: str) -> Parameter:
    """Weights in float32, whatever they are used in."""
    return Parameter(Tensor(np.array(value, np.float32)), name=name)


def _add(total: dict[str, Tensor], gradients: Mapping[str, Tensor], kind: Any) -> None:
    """Add gradients to their sums so far."""
    for name, gradient in gradients.items():
        widened = gradient.astype(kind)
        total[name] = total[name] + widened if name in total else widened
