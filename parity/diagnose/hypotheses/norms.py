"""Norms: the epsilon, fitted from a norm's input and both outputs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy import optimize

from parity.diagnose.hypotheses.fitting import Fit, fits, relative, residual_of, values_of
from parity.diagnose.hypothesis import FITTED, Hypothesis
from parity.repair import AttributeEdit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.diagnose.evidence import Failure, Suspect

__all__ = ["another_epsilon"]

_LOGARITHMS: Final = np.arange(-14.0, 0.0, 0.25)
_AROUND: Final = 0.3


def another_epsilon(suspect: Suspect) -> Iterator[Hypothesis]:
    """The candidate's outputs are those of a norm with another epsilon, the same in all calls."""
    eps = suspect.attribute("eps")
    if not isinstance(eps, float):
        return
    found = fits(suspect, partial(_epsilon, eps=eps, groups=suspect.attribute("num_groups")))
    fitted = values_of(found)
    if not fitted or max(fitted) > 1.01 * min(fitted) + 1e-12:
        return
    value = float(np.median(fitted))
    said = (
        f"the candidate's outputs fit eps = {value:.3g}, the reference's is {eps:g}; residual {residual_of(found):.1e}"
    )
    yield Hypothesis(
        confidence=FITTED,
        evidence=(said,),
        repair=f"set eps to {eps:g}",
        edits=(AttributeEdit(path=suspect.path, name="eps", value=eps),),
    )


class _Normal(NamedTuple):
    """What a norm makes of its input before gain and bias, and both outputs; as [rows, channels]."""

    centred: np.ndarray
    variance: np.ndarray
    reference: np.ndarray
    candidate: np.ndarray


def _epsilon(failure: Failure, eps: float, groups: int | None) -> Fit[float] | None:
    """Return the epsilon that explains the candidate's output best.

    With z the centred input and v its variance, the reference is g z / sqrt(v + eps) + b. Per channel g and b follow
    from the reference's own output, so one number is left to fit.
    """
    x = failure.first_input
    if x is None or x.shape != failure.reference.shape:
        return None
    made = _over_channels(x, failure) if groups is None else _over_groups(x, failure, groups)
    normal = made.centred / np.sqrt(made.variance + eps)
    mean = normal.mean(axis=0)
    apart = normal - mean
    gain = (apart * (made.reference - made.reference.mean(axis=0))).sum(axis=0) / (apart**2).sum(axis=0)
    bias = made.reference.mean(axis=0) - gain * mean

    def residual(logarithm: float) -> float:
        return relative(gain * made.centred / np.sqrt(made.variance + 10**logarithm) + bias, made.candidate)

    # The residual has one valley, but far from it no slope: a coarse grid finds the valley, the minimizer its ground.
    start = _LOGARITHMS[int(np.argmin([residual(value) for value in _LOGARITHMS]))]
    bounds = (start - _AROUND, start + _AROUND)
    found = optimize.minimize_scalar(residual, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return Fit(float(10**found.x), float(found.fun))


def _over_channels(x: np.ndarray, failure: Failure) -> _Normal:
    """Normalise over the last axis, as a layer norm does."""
    rows, reference, candidate = (
        array.reshape(-1, array.shape[-1]) for array in (x, failure.reference, failure.candidate)
    )
    centred = rows - rows.mean(axis=1, keepdims=True)
    return _Normal(centred, (centred**2).mean(axis=1, keepdims=True), reference, candidate)


def _over_groups(x: np.ndarray, failure: Failure, groups: int) -> _Normal:
    """Normalise over groups of channels and all places, as a group norm does."""
    grouped = x.reshape(x.shape[0], groups, -1)
    centred = grouped - grouped.mean(axis=2, keepdims=True)
    variance = np.broadcast_to((centred**2).mean(axis=2, keepdims=True), grouped.shape)
    by_place = (centred.reshape(x.shape), variance.reshape(x.shape), failure.reference, failure.candidate)
    return _Normal(*(np.moveaxis(array, 1, -1).reshape(-1, x.shape[1]) for array in by_place))
