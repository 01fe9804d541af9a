"""Padding: only the border of an image differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from parity.diagnose.hypotheses.fitting import EXPLAINED, IMAGE_AXES, Fit, fits
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
    """The largest error of each side that differs and of the inside, and whether each channel is off by one number."""

    sides: dict[str, float]
    inside: float
    even: bool


def another_border(suspect: Suspect) -> Iterator[Hypothesis]:
    """Only the border of the image differs: padding."""
    borders = [fit.value for fit in fits(suspect, _border)]
    if not borders:
        return
    sides = dict.fromkeys(side for border in borders for side in border.sides)
    outside = max(max(border.sides.values()) for border in borders)
    inside = max(border.inside for border in borders)
    facts = [f"only the border differs ({', '.join(sides)}): by at most {outside:.3g} there, {inside:.1e} inside"]
    if all(border.even for border in borders):
        facts.append("along each side a channel is off by one number: another constant is padded there")
    repair = "pad with zeros, on the sides where the reference pads"
    yield Hypothesis(confidence=FITTED, evidence=tuple(facts), repair=repair)


def _border(failure: Failure) -> Fit[_Border] | None:
    """Return how the border of one output differs; nothing where the inside does too."""
    reference = failure.reference
    is_image = reference.ndim == IMAGE_AXES and min(reference.shape[2:]) >= _WITH_AN_INSIDE
    if not is_image or failure.candidate.shape != reference.shape:
        return None
    difference = failure.candidate - reference
    error = np.abs(difference).max(axis=(0, 1))
    limit = EXPLAINED * float(np.abs(reference).max())
    inside = float(error[1:-1, 1:-1].max())
    # The median of a side, since a corner belongs to two of them.
    wrong = [side for side, at in _SIDES.items() if np.median(error[at]) > limit]
    if inside > limit or not wrong:
        return None
    sides = {side: float(error[_SIDES[side]].max()) for side in wrong}
    even = all(_is_even(difference[_SIDES[side]], limit) for side in wrong)
    return Fit(_Border(sides, inside, even), 0.0)


def _is_even(along: np.ndarray, limit: float) -> bool:
    """Tell whether every channel is off by one and the same number along a side, its corners left out."""
    return bool(np.ptp(along[..., 1:-1], axis=-1).max() <= limit)
