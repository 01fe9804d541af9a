"""Classifier-free guidance: from a prediction without and one with the prompt to one prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mindone_sdxl.arrays import scalar_like

if TYPE_CHECKING:
    from mindspore import Tensor

__all__ = ["Guider", "Identity", "VanillaCFG"]


@dataclass(frozen=True)
class VanillaCFG:
    """Moves from the unconditional prediction towards the conditional one, `scale` times as far.

    The batch holds the unconditional half first.
    """

    scale: float
    halves: int = 2

    def combine(self, unconditional: Tensor, conditional: Tensor) -> Tensor:
        """The guided prediction."""
        return unconditional + (conditional - unconditional) * scalar_like(self.scale, conditional)

    def __call__(self, output: Tensor) -> Tensor:
        """The guided prediction of a batch [2 * n, ...]: [n, ...]."""
        half = output.shape[0] // 2
        return self.combine(output[:half], output[half:])


@dataclass(frozen=True)
class Identity:
    """No guidance: the batch holds the conditional half alone."""

    halves: int = 1

    def __call__(self, output: Tensor) -> Tensor:
        """The prediction itself."""
        return output


Guider = VanillaCFG | Identity
