"""Guidance: which half is which, and the scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from parity.diagnose.hypotheses.fitting import Fit, fits, multiple, relative, residual_of
from parity.diagnose.hypothesis import FITTED, Hypothesis

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from parity.diagnose.evidence import Failure, Suspect

__all__ = ["GUIDANCE", "another_scale", "swapped_halves"]

GUIDANCE: Final = "guidance"
_TEXT: Final = "noise_pred_text"
_UNCOND: Final = "noise_pred_uncond"


class _Scales(NamedTuple):
    """The guidance scale of each side."""

    reference: float
    candidate: float


class _Halves(NamedTuple):
    """What guidance took."""

    text: np.ndarray
    uncond: np.ndarray

    @classmethod
    def of(cls, failure: Failure) -> _Halves:
        """Return the halves of one step."""
        return cls(text=failure.inputs[_TEXT], uncond=failure.inputs[_UNCOND])

    def scale_of(self, guided: np.ndarray) -> Fit[float]:
        """Return the scale that makes this of the halves."""
        return multiple(guided - self.uncond, self.text - self.uncond)


def swapped_halves(suspect: Suspect) -> Iterator[Hypothesis]:
    """The two halves are swapped."""
    found = fits(suspect, _exchanged, takes=(_TEXT, _UNCOND))
    if found:
        said = f"the candidate equals the formula with both halves exchanged, residual {residual_of(found):.1e}"
        yield Hypothesis(
            confidence=FITTED,
            evidence=(said,),
            repair="put the unconditional half first",
        )


def _exchanged(failure: Failure) -> Fit[float]:
    """Hold one step against the reference's scale with both halves exchanged."""
    halves = _Halves.of(failure)
    scale, _ = halves.scale_of(failure.reference)
    exchanged = halves.text + scale * (halves.uncond - halves.text)
    return Fit(scale, relative(failure.candidate, exchanged))


def another_scale(suspect: Suspect) -> Iterator[Hypothesis]:
    """The scale is another."""
    found = fits(suspect, _scales, takes=(_TEXT, _UNCOND))
    if found:
        scales = found[0].value
        said = f"the candidate's guidance scale is {scales.candidate:.9g}, the reference's {scales.reference:.9g}"
        yield Hypothesis(
            confidence=FITTED,
            evidence=(said,),
            repair=f"set the guidance scale to {scales.reference:.9g}",
        )


def _scales(failure: Failure) -> Fit[_Scales]:
    """Return the scale of each side in one step."""
    halves = _Halves.of(failure)
    reference, _ = halves.scale_of(failure.reference)
    candidate, residual = halves.scale_of(failure.candidate)
    return Fit(_Scales(reference, candidate), residual)
