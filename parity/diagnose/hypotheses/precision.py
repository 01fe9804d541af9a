"""Precision: a half type where a wider one was asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from parity.diagnose.hypotheses.fitting import Fit, fits
from parity.diagnose.hypothesis import FITTED, Hypothesis
from parity.dtypes import bits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.diagnose.evidence import Failure, Suspect

__all__ = ["half_grid"]

_HALF_TYPES: Final = ("bfloat16", "float16")
"""The coarser first: its numbers lie on the grid of the other too."""


def half_grid(suspect: Suspect) -> Iterator[Hypothesis]:
    """Every value lies on the grid of a half type."""
    for name in _HALF_TYPES:
        if fits(suspect, partial(_only_candidate_on, kept=bits(name))):
            said = f"every value of the candidate is a {name} number; the reference's are not"
            yield Hypothesis(
                confidence=FITTED,
                evidence=(said,),
                repair="compute this module in the type that was asked for",
            )


def _only_candidate_on(failure: Failure, kept: int) -> Fit[None] | None:
    """Tell whether the candidate's output alone lies on the grid of `kept` mantissa bits."""
    alone = _on_grid(failure.candidate, kept) and not _on_grid(failure.reference, kept)
    return Fit(None, 0.0) if alone else None


def _on_grid(array: np.ndarray, kept: int) -> bool:
    """Tell whether every value has at most `kept` mantissa bits."""
    mantissa, _ = np.frexp(array[np.isfinite(array)])
    scaled_up = mantissa * 2.0 ** (kept + 1)
    return bool(np.all(scaled_up == np.rint(scaled_up)))
