"""What one pass over a pair finds, and how sums become distances."""

from __future__ import annotations

import math
from typing import Final

import msgspec

__all__ = ["Measure", "finish"]

_COSINE_BY_ERROR: Final = 1e-3


class Measure(msgspec.Struct, frozen=True, gc=False):
    """What one pass finds. `error_*` is the candidate against the expected tensor, `working_*` the reference's own.

    Attributes:
        size: Elements, or finite ones where some are not.
        scale, largest: rms and largest magnitude of the expected tensor.
        rel_l2, max_rel: error_rms and error_max relative to `scale`; infinite when only `scale` is zero.
        cosine: Known from the error alone where that is small; None where a second look is needed.
        problem: "" or what makes the numbers meaningless: `nan`, `working`, `misplaced`.
        misplaced: Elements that are not finite where the other side's are, or of another sign.
    """

    size: int
    scale: float
    largest: float
    error_rms: float
    error_max: float
    rel_l2: float
    max_rel: float
    working_rms: float = 0.0
    working_max: float = 0.0
    cosine: float | None = None
    problem: str = ""
    misplaced: int = 0


def finish(
    size: int,
    squares: float,
    largest: float,
    error: float,
    error_max: float,
    working_error: float = 0.0,
    working_max: float = 0.0,
) -> Measure:
    """Turn sums over `size` elements into distances.

    Args:
        size: Elements.
        squares: Sum of squares of the expected tensor.
        largest: Its largest magnitude.
        error: Sum of squares of the candidate's error.
        error_max: Its largest magnitude.
        working_error: Sum of squares of the reference's own error.
        working_max: Its largest magnitude.
    """
    scale = math.sqrt(squares / size)
    rms = math.sqrt(error / size)
    rel = _ratio(rms, scale)
    cosine = 1.0 - 0.5 * rel * rel if rel < _COSINE_BY_ERROR else None
    working = math.sqrt(working_error / size)
    return Measure(size, scale, largest, rms, error_max, rel, _ratio(error_max, scale), working, working_max, cosine)


def _ratio(part: float, whole: float) -> float:
    """Return `part / whole`; 0 for nothing of nothing, infinity for something of nothing."""
    if whole:
        return part / whole
    return math.inf if part else 0.0
