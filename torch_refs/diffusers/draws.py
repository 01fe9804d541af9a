"""The random numbers of a pipeline: caught as they are drawn, or given instead of drawn.

diffusers draws through one helper, `randn_tensor`, which each module imports by name. `Draws` stands in for
it in the three modules that a text-to-image run and a VAE encoder use. Without `given` the helper draws and
the result is kept; with `given` nothing is drawn and the tensors come back one by one in the wanted type,
so that a float64 run gets the numbers of a float32 run.

    with Draws() as draws:
        pipeline(...)
    draws.seen   # [initial noise, noise of step 0, noise of step 1, …]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from diffusers.models.autoencoders import vae
from diffusers.pipelines.stable_diffusion_xl import pipeline_stable_diffusion_xl
from diffusers.schedulers import scheduling_euler_ancestral_discrete

from parity.errors import ParityError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import torch

__all__ = ["Draws"]

_MODULES = (pipeline_stable_diffusion_xl, scheduling_euler_ancestral_discrete, vae)


class Draws:
    """Catches or replaces the draws while its with-block runs."""

    def __init__(self, given: Sequence[torch.Tensor] | None = None, *, first: torch.Tensor | None = None) -> None:
        """Catch what is drawn, or give the tensors of `given` in order; `first` is given instead of the first draw."""
        self.seen: list[torch.Tensor] = []
        self._given = given
        self._first = first
        self._originals: list[Any] = []

    def __enter__(self) -> Self:
        """Stand in for the helper."""
        self._originals = [module.randn_tensor for module in _MODULES]
        for module in _MODULES:
            module.randn_tensor = self._draw
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the helper back."""
        for module, original in zip(_MODULES, self._originals, strict=True):
            module.randn_tensor = original

    def _draw(
        self, shape: Any, generator: Any = None, device: Any = None, dtype: Any = None, layout: Any = None
    ) -> torch.Tensor:
        """Draw, or give the next tensor.

        Raises:
            ParityError: more is drawn than was given, or in another shape.
        """
        if self._given is None and self._first is not None and not self.seen:
            drawn = self._first.to(device=device, dtype=dtype)
        elif self._given is None:
            drawn = self._originals[0](shape, generator=generator, device=device, dtype=dtype, layout=layout)
        else:
            number = len(self.seen)
            if number >= len(self._given) or tuple(self._given[number].shape) != tuple(shape):
                found = list(self._given[number].shape) if number < len(self._given) else "nothing"
                message = f"draw {number} wants shape {list(shape)} and the working run drew {found}; record both with one version"
                raise ParityError(message)
            drawn = self._given[number].to(device=device, dtype=dtype)
        self.seen.append(drawn)
        return drawn
