"""A pair of tensors with a known right answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from parity.dtypes import narrow, widen

if TYPE_CHECKING:
    from parity.distance.tensor import Array

__all__ = ["Answer", "Specimen", "gelu", "rounded", "specimen"]

Answer = Literal["fault", "healthy", "flagged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Specimen:
    """One pair: arrays in storage form with their true types; None where a side recorded nothing.

    `asked` is the type of the run, `composite` marks a pair that stands for a whole module.
    """

    name: str
    answer: Answer
    reference: Array | None
    reference_type: str
    candidate: Array | None
    candidate_type: str
    asked: str = "float32"
    composite: bool = False

    @property
    def of_reference(self) -> tuple[Array | None, str]:
        """What the reference recorded, and its type."""
        return self.reference, self.reference_type

    @property
    def of_candidate(self) -> tuple[Array | None, str]:
        """What the candidate recorded, and its type."""
        return self.candidate, self.candidate_type


def specimen(
    name: str,
    answer: Answer,
    reference: Array | None,
    candidate: Array | None,
    dtype: str = "float32",
    *,
    delivered: str | None = None,
    composite: bool = False,
) -> Specimen:
    """Make a specimen: floats are rounded to `dtype`, the candidate's to `delivered`; the rest keeps its type."""
    kind, other = _type(reference, dtype), _type(candidate, delivered or dtype)
    return Specimen(
        name=name,
        answer=answer,
        reference=_stored(reference, kind),
        reference_type=kind,
        candidate=_stored(candidate, other),
        candidate_type=other,
        asked=dtype,
        composite=composite,
    )


def _type(array: Array | None, dtype: str) -> str:
    """Return the type in which an array is to be stored."""
    return dtype if array is None or array.dtype.kind == "f" else str(array.dtype.name)


def _stored(array: Array | None, name: str) -> Array | None:
    """Round floats to their type."""
    if array is None or array.dtype.kind != "f":
        return array
    return narrow(array, name)


def rounded(values: Array, name: str) -> Array:
    """Return float64 values as another type would hold them."""
    with np.errstate(over="ignore"):
        return widen(narrow(values, name), name)


def gelu(x: Array) -> Array:
    """GELU by erf."""
    erf: Array = np.vectorize(math.erf)(x / math.sqrt(2))
    return x * 0.5 * (1 + erf)
