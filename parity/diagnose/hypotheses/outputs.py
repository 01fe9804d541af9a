"""Outputs: what the output alone shows, whatever the module computes."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from parity.diagnose.hypotheses.fitting import EXPLAINED, IMAGE_AXES, Fit, agreed, fits, multiple, relative
from parity.diagnose.hypothesis import FITTED, UNEXPLAINED, Hypothesis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.diagnose.evidence import Failure, Suspect

__all__ = ["of_another_step", "permuted_channels", "place_alone", "scaled", "shifted"]

_WITH_CHANNELS: Final = 2
_MOST_CHANNELS: Final = 4096  # wider outputs do not occur in SDXL
_NEAR_STEPS: Final = 3


def scaled(suspect: Suspect) -> Iterator[Hypothesis]:
    """A constant factor."""
    found = fits(suspect, lambda failure: multiple(failure.candidate, failure.reference))
    if found:
        factor, residual = found[0]
        said = f"the candidate is the reference times {factor:.9g}, residual {residual:.1e}"
        yield Hypothesis(
            confidence=FITTED,
            evidence=(said,),
            repair=f"divide the output by {factor:.9g}",
        )


def shifted(suspect: Suspect) -> Iterator[Hypothesis]:
    """A constant added."""
    found = fits(suspect, _shift)
    if found:
        offset = found[0].value
        said = f"the candidate is the reference plus {offset:.9g} everywhere"
        yield Hypothesis(
            confidence=FITTED,
            evidence=(said,),
            repair=f"subtract {offset:.9g} from the output",
        )


def _shift(failure: Failure) -> Fit[float] | None:
    """Return the mean difference of one output, and the spread around it."""
    difference = failure.candidate - failure.reference
    mean = float(difference.mean())
    if mean == 0.0:
        return None
    spread = float(np.ptp(difference))
    return Fit(mean, spread / abs(mean))


def permuted_channels(suspect: Suspect) -> Iterator[Hypothesis]:
    """The channels (axis 1 of an image, the last axis of tokens) are in another order."""
    order = agreed(fits(suspect, _order))
    if order is None:
        return
    moved = np.flatnonzero(np.arange(len(order)) != order)
    index = moved[0]
    said = f"{len(moved)} of {len(order)} channels are in another order: channel {index} holds the reference's {order[index]}"
    yield Hypothesis(
        confidence=FITTED,
        evidence=(said,),
        repair="restore the order of the channels",
    )


def _order(failure: Failure) -> Fit[tuple[int, ...]] | None:
    """Return which channel of the reference each channel of the candidate holds; None unless all are there."""
    ours, theirs = _by_channel(failure.candidate), _by_channel(failure.reference)
    if not 1 < len(ours) <= _MOST_CHANNELS:
        return None
    nearest = [int(np.argmin(np.abs(theirs - channel).max(axis=1))) for channel in ours]
    if sorted(nearest) != list(range(len(ours))):
        return None
    return Fit(tuple(nearest), relative(theirs[nearest], ours))


def _by_channel(array: np.ndarray) -> np.ndarray:
    """Return an array as [channels, elements]; one row where it has no channels."""
    if array.ndim < _WITH_CHANNELS:
        return array.reshape(1, -1)
    axis = 1 if array.ndim == IMAGE_AXES else -1
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def of_another_step(suspect: Suspect) -> Iterator[Hypothesis]:
    """The output of another step."""
    shift = agreed(fits(suspect, partial(_steps_late, suspect)))
    if shift is None:
        return
    when = "earlier" if shift > 0 else "later"
    said = f"in every failing step the candidate has the reference's value of {abs(shift)} step(s) {when}"
    yield Hypothesis(
        confidence=FITTED,
        evidence=(said,),
        repair="use the values of the current step",
    )


def _steps_late(suspect: Suspect, failure: Failure) -> Fit[int] | None:
    """Return by how many steps one output is late: the first near step whose reference it is."""
    step = failure.address.step
    if step is None:
        return None
    near = [*range(max(0, step - _NEAR_STEPS), step), *range(step + 1, step + _NEAR_STEPS + 1)]
    for other in near:
        recorded = suspect.evidence.recorded(dataclasses.replace(failure.address, step=other))
        if recorded is not None and relative(recorded, failure.candidate) < EXPLAINED:
            return Fit(step - other, 0.0)
    return None


def place_alone(suspect: Suspect) -> Iterator[Hypothesis]:
    """Nothing is known but where."""
    worst = suspect.worst
    largest = f"{worst.rel_l2:.1e}" if isinstance(worst.rel_l2, float) else str(worst.rel_l2)
    said = f"{len(suspect.pairs)} outputs differ with identical inputs; the largest relative difference is {largest}"
    yield Hypothesis(
        confidence=UNEXPLAINED,
        evidence=(said, worst.detail),
        repair=f"compare how both sides compute {suspect.path}; its inputs match",
    )
