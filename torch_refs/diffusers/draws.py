"""The random numbers of a pipeline: caught as they are drawn, or given instead of drawn.

diffusers draws through one helper, `randn_tensor`, which each module imports by name. `Draws` stands in for it in the
modules that a text-to-image run and a VAE encoder use, and the module tells what is drawn: the pipeline's is the initial
noise, a scheduler's the noise of a step, the autoencoder's a sample of the posterior. Without `given` the helper draws
and the result is kept; with `given` nothing is drawn and the same numbers come back in the wanted type, so that a
float64 run gets the numbers of a float32 run.

    with Draws() as draws:
        pipeline(..., callback_on_step_end=lambda *_: draws.next_step() or {})
    draws.initial, draws.noise(0), draws.noise(1)

Whoever runs the loop says when a step ends, for a sampler may draw in some steps and not in others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

from diffusers.models.autoencoders import vae
from diffusers.pipelines.stable_diffusion_xl import pipeline_stable_diffusion_xl
from diffusers.utils import torch_utils

from parity.errors import ParityError
from torch_refs.diffusers.samplers import drawing_modules

if TYPE_CHECKING:
    from types import TracebackType

    import torch

__all__ = ["Draw", "Drawn", "Draws"]

Role = Literal["initial", "step", "posterior"]
_SOURCES: Final[tuple[tuple[Any, Role], ...]] = (
    (pipeline_stable_diffusion_xl, "initial"),
    *((module, "step") for module in drawing_modules()),
    (vae, "posterior"),
)


class Draw(NamedTuple):
    """What a draw is for, and the step of the loop if it is one's noise."""

    role: Role
    step: int | None = None

    def __str__(self) -> str:
        """Return how an error names it."""
        return self.role if self.step is None else f"{self.role} {self.step}"


Drawn = Mapping[Draw, "torch.Tensor"]


class Draws:
    """Catches or replaces the draws while its with-block runs."""

    def __init__(self, given: Drawn | None = None, *, initial: torch.Tensor | None = None) -> None:
        """Catch what is drawn, or give what `given` has of it; `initial` is given instead of the initial noise alone."""
        self.seen: dict[Draw, torch.Tensor] = {}
        self._given = given
        self._initial = initial
        self._step = 0
        self._originals: list[Any] = []

    def __enter__(self) -> Self:
        """Stand in for the helper."""
        self._originals = [module.randn_tensor for module, _ in _SOURCES]
        for module, role in _SOURCES:
            module.randn_tensor = partial(self._draw, role)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the helper back."""
        for (module, _), original in zip(_SOURCES, self._originals, strict=True):
            module.randn_tensor = original

    def next_step(self) -> None:
        """Take note that a step of the loop has ended."""
        self._step += 1

    @property
    def initial(self) -> torch.Tensor:
        """The initial noise, of unit variance."""
        return self.seen[Draw("initial")]

    @property
    def posterior(self) -> torch.Tensor:
        """The noise that picked a sample of the posterior."""
        return self.seen[Draw("posterior")]

    def noise(self, step: int) -> torch.Tensor | None:
        """Return the noise of a step; None where it drew none."""
        return self.seen.get(Draw("step", step))

    def _draw(
        self, role: Role, shape: Any, generator: Any = None, device: Any = None, dtype: Any = None, layout: Any = None
    ) -> torch.Tensor:
        """Draw, or give what was drawn for the same.

        Raises:
            ParityError: it was not given, or has another shape.
        """
        draw = Draw(role, self._step if role == "step" else None)
        if self._given is not None:
            drawn = self._same(draw, shape).to(device=device, dtype=dtype)
        elif role == "initial" and self._initial is not None:
            drawn = self._initial.to(device=device, dtype=dtype)
        else:
            drawn = torch_utils.randn_tensor(shape, generator=generator, device=device, dtype=dtype, layout=layout)
        self.seen[draw] = drawn
        return drawn

    def _same(self, draw: Draw, shape: Any) -> torch.Tensor:
        """Return what was given for a draw."""
        found = None if self._given is None else self._given.get(draw)
        if found is None or tuple(found.shape) != tuple(shape):
            drew = "nothing" if found is None else list(found.shape)
            message = f"the draw of {draw} wants shape {list(shape)} and the working run drew {drew}; record both with one version"
            raise ParityError(message)
        return found
