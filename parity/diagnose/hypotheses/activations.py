"""Activations: another variant of the same function."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy import special

from parity.diagnose.hypotheses.fitting import Fit, fits, relative, residual_of
from parity.diagnose.hypothesis import FITTED, Hypothesis
from parity.repair import AttributeEdit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parity.diagnose.evidence import Failure, Suspect

    Function = Callable[[np.ndarray], np.ndarray]
    Formula = Callable[[Function], np.ndarray]

__all__ = ["another_variant"]

_VARIANTS: Final[dict[str, Function]] = {
    "gelu (erf)": lambda x: x * special.ndtr(x),
    "gelu (tanh)": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x * special.expit(1.702 * x),
    "silu": lambda x: x * special.expit(x),
    "relu": lambda x: np.maximum(x, 0),
}
# variant -> how a module's attribute says it; the others are said by their own name in `activation`
_ATTRIBUTES: Final = {"gelu (erf)": ("approximate", "none"), "gelu (tanh)": ("approximate", "tanh")}


class _Used(NamedTuple):
    """The variant of each side."""

    reference: str
    candidate: str


def another_variant(suspect: Suspect) -> Iterator[Hypothesis]:
    """The candidate computes another variant than the reference."""
    found = fits(suspect, partial(_used, suspect))
    if len({used.candidate for used, _ in found}) != 1:
        return
    used = found[-1].value
    said = f"the candidate equals {used.candidate} of the recorded input, residual {residual_of(found):.1e}; the reference is {used.reference}"
    name, value = _ATTRIBUTES.get(used.reference, ("activation", used.reference))
    yield Hypothesis(
        confidence=FITTED,
        evidence=(said,),
        repair=f"use {used.reference} here",
        edits=(AttributeEdit(path=suspect.path, name=name, value=value),),
    )


def _used(suspect: Suspect, failure: Failure) -> Fit[_Used] | None:
    """Return which variants explain both outputs best; nothing where they are the same."""
    formula = _formula(suspect, failure)
    if formula is None:
        return None
    reference, _ = _nearest(formula, failure.reference)
    candidate, residual = _nearest(formula, failure.candidate)
    return None if candidate == reference else Fit(_Used(reference, candidate), residual)


def _nearest(formula: Formula, output: np.ndarray) -> Fit[str]:
    """Return the variant with which the formula comes nearest to an output."""
    tried = [Fit(name, relative(formula(function), output)) for name, function in _VARIANTS.items()]
    return min(tried, key=lambda fit: fit.residual)


def _formula(suspect: Suspect, failure: Failure) -> Formula | None:
    """Return a formula from an activation to the module's output, for a gated activation or a plain one."""
    return _gated(suspect, failure) or _plain(failure)


def _gated(suspect: Suspect, failure: Failure) -> Formula | None:
    """Return the formula of a gate: one half of a projection, times the activation of the other half."""
    projection = dataclasses.replace(failure.address, path=f"{failure.address.path}.proj", port="output")
    projected = suspect.evidence.recorded(projection)
    if projected is None or projected.shape[-1] != 2 * failure.reference.shape[-1]:
        return None
    hidden, gate = np.split(projected, 2, axis=-1)
    return lambda function: hidden * function(gate)


def _plain(failure: Failure) -> Formula | None:
    """Return the formula of an activation of the only input; nothing where there are more, or it has another shape."""
    shapes = [array.shape for array in failure.inputs.values()]
    if shapes != [failure.reference.shape]:
        return None
    (x,) = failure.inputs.values()
    return lambda function: function(x)
