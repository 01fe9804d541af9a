"""Padding: only the border of an image differs."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from parity.diagnose.hypotheses.fitting import EXPLAINED, IMAGE_AXES, Fit, fits, values_of
from parity.diagnose.hypothesis import FITTED, Hypothesis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.diagnose.evidence import Failure, Suspect

__all__ = ["another_border"]

_WITH_AN_INSIDE: Final = 3
_SIDES: Final = {
    "top": np.s_[..., 0, :],
    "bottom": np.s_[..., -1, :],
    "left": np.s_[..., 0],
    "right": np.s_[..., -1],
}


class _Border(NamedTuple):
    """Which sides differ, the largest error there and inside, and whether each channel is off by one number."""

    sides: tuple[str, ...]
    most: float
    inside: float
    even: bool

    def with_(self, other: _Border) -> _Border:
        """Return what is true of both."""
        return _Border(
            sides=tuple(dict.fromkeys(self.sides + other.sides)),
            most=max(self.most, other.most),
            inside=max(self.inside, other.inside),
            even=self.even and other.even,
        )


def another_border(suspect: Suspect) -> Iterator[Hypothesis]:
    """Only the border of the image differs: padding."""
    found = fits(suspect, _border)
    if not found:
        return
    border = reduce(_Border.with_, values_of(found))
    sides = ", ".join(border.sides)
    facts = [f"only the border differs ({sides}): by at most {border.most:.3g} there, {border.inside:.1e} inside"]
    if border.even:
        facts.append("along each side a channel is off by one number: another constant is padded there")
    yield Hypothesis(
        confidence=FITTED,
        evidence=tuple(facts),
        repair="pad with zeros, on the sides where the reference pads",
    )


def _border(failure: Failure) -> Fit[_Border] | None:
    """Return how the border of one output differs; nothing where the inside does too."""
    if not _is_image(failure.reference):
        return None
    difference = failure.candidate - failure.reference
    error = np.abs(difference).max(axis=(0, 1))
    limit = EXPLAINED * float(np.abs(failure.reference).max())
    border = _Border((), most=0.0, inside=float(error[1:-1, 1:-1].max()), even=True)
    for side, at in _SIDES.items():
        if np.median(error[at]) > limit:  # and not the largest, since a corner belongs to two sides
            along = _Border(
                sides=(side,),
                most=float(error[at].max()),
                inside=0.0,
                even=_is_even(difference[at], limit),
            )
            border = border.with_(along)
    explains = border.inside <= limit and border.sides
    return Fit(border, 0.0) if explains else None


def _is_image(array: np.ndarray) -> bool:
    """Tell whether an array is [batch, channels, height, width] and has an inside."""
    return array.ndim == IMAGE_AXES and min(array.shape[2:]) >= _WITH_AN_INSIDE


def _is_even(along: np.ndarray, limit: float) -> bool:
    """Tell whether every channel is off by one and the same number along a side, its corners left out."""
    return bool(np.ptp(along[..., 1:-1], axis=-1).max() <= limit)
