"""What fits share: a formula is tried on every output of a suspect that differs.

A hypothesis explains an output when what it predicts agrees with the candidate to `EXPLAINED` of the tensor's norm while
the reference does not, and it explains a suspect when it explains all of them:

    >>> import numpy as np
    >>> multiple(np.array([2.0, 4.0]), np.array([1.0, 2.0]))
    Fit(value=2.0, residual=0.0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import numpy as np

from parity.result import ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from parity.diagnose.evidence import Failure, Suspect

__all__ = ["EXPLAINED", "IMAGE_AXES", "Fit", "agreed", "fits", "multiple", "relative", "residual_of", "values_of"]

EXPLAINED: Final = 1e-7
IMAGE_AXES: Final = 4
"""How many axes an image has: [batch, channels, height, width]."""

Value = TypeVar("Value")


class Fit(NamedTuple, Generic[Value]):
    """What explains one output, and what it leaves unexplained, relative to the output."""

    value: Value
    residual: float


def fits(
    suspect: Suspect, fit: Callable[[Failure], Fit[Value] | None], *, takes: Collection[str] = ()
) -> list[Fit[Value]]:
    """Return the fit of every output that differs; nothing unless each is explained.

    No formula explains an output whose candidate, or an input that it `takes`, is of another shape or was not recorded.
    """
    found = []
    for failure in suspect.failures():
        if not failure.is_of_one_shape(takes):
            return []
        fitted = fit(failure)
        if fitted is None or fitted.residual > EXPLAINED:
            return []
        found.append(fitted)
    return found


def values_of(found: Iterable[Fit[Value]]) -> list[Value]:
    """Return what explains each output."""
    return [fit.value for fit in found]


def agreed(found: Iterable[Fit[Value]]) -> Value | None:
    """Return what explains all outputs alike; None where they want several explanations, or have none."""
    values = set(values_of(found))
    return values.pop() if len(values) == 1 else None


def residual_of(found: Iterable[Fit[Value]]) -> float:
    """Return the largest residual."""
    return max(fit.residual for fit in found)


def relative(candidate: np.ndarray, reference: np.ndarray) -> float:
    """Return |candidate - reference| / |reference| in the 2-norm; infinite where shapes differ."""
    if candidate.shape != reference.shape:
        return float("inf")
    scale = float(np.linalg.norm(reference.ravel()))
    distance = float(np.linalg.norm((candidate - reference).ravel()))
    return ratio(distance, scale)


def multiple(y: np.ndarray, x: np.ndarray) -> Fit[float]:
    """Return the least-squares factor of y on x, and the residual relative to y."""
    square = float(np.vdot(x, x))
    if square == 0 or y.shape != x.shape:
        return Fit(0.0, float("inf"))
    factor = float(np.vdot(x, y)) / square
    return Fit(factor, relative(factor * x, y))
