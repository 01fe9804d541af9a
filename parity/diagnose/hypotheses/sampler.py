"""The sampler's step: which noise it takes, and how far it goes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from parity.address import Address
from parity.components import STEP
from parity.diagnose.hypotheses.fitting import EXPLAINED, Fit, fits, multiple, residual_of, values_of
from parity.diagnose.hypothesis import FITTED, Hypothesis
from parity.repair import AttributeEdit, NoiseEdit

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from parity.diagnose.evidence import Evidence, Failure, Suspect

__all__ = ["noise_of_another_step", "scaled_step"]

_SAMPLE: Final = "sample"


class _Taken(NamedTuple):
    """In `step` the candidate's error is `factor` times the noise of step `other` less its own."""

    step: int
    other: int
    factor: float


def noise_of_another_step(suspect: Suspect) -> Iterator[Hypothesis]:
    """The step uses the noise of another step."""
    noises = _noises(suspect.evidence)
    found = fits(suspect, partial(_noise_taken, noises=noises))
    shifts = {(taken.step - taken.other) % len(noises) for taken, _ in found}
    if len(shifts) != 1:
        return
    (shift,) = shifts
    facts = [f"the noise is taken {shift} step{'s' if shift > 1 else ''} late"]
    for (step, other, factor), residual in found:
        formula = f"{factor:.6g} x (noise of step {other} - noise of step {step})"
        facts.append(f"step {step}: candidate - reference = {formula}, residual {residual:.1e} of the difference")
    yield Hypothesis(
        confidence=FITTED,
        evidence=tuple(facts),
        repair="use noise[i] in step i of the sampler (i counts from 0)",
        edits=(NoiseEdit(shift=shift),),
    )


def _noises(evidence: Evidence) -> list[np.ndarray]:
    """Return the noise of each step, up to the first that has none."""
    noises: list[np.ndarray] = []
    while (noise := evidence.recorded(Address(path=STEP, step=len(noises), port="input.noise"))) is not None:
        noises.append(noise)
    return noises


def _noise_taken(failure: Failure, noises: list[np.ndarray]) -> Fit[_Taken] | None:
    """Return which other step's noise explains one step's error best."""
    step = failure.address.step or 0
    if step >= len(noises):
        return None
    difference = failure.candidate - failure.reference
    tried = []
    for other, noise in enumerate(noises):
        factor, residual = multiple(difference, noise - noises[step])
        tried.append(Fit(_Taken(step, other, factor), residual))
    return min(tried, key=lambda fit: fit.residual)


def scaled_step(suspect: Suspect) -> Iterator[Hypothesis]:
    """The sampler moves the latents by a multiple of what it should: its update is applied twice, or scaled."""
    found = fits(suspect, _move, takes=(_SAMPLE,))
    factors = values_of(found)
    if not factors or max(factors) - min(factors) > EXPLAINED * abs(max(factors)):
        return
    factor = max(factors)
    moved = f"the candidate moves the latents by {factor:.9g} times the reference's move"
    facts = [f"in all {len(found)} failing steps {moved}, residual at most {residual_of(found):.1e}"]
    times = round(factor)
    if times > 1 and abs(factor - times) < EXPLAINED:
        facts.append(f"{times} times exactly: the update is added {times} times")
    yield Hypothesis(
        confidence=FITTED,
        evidence=tuple(facts),
        repair="add the update to the latents once in every step",
        edits=(AttributeEdit(path=suspect.path, name="step_factor", value=1.0 / factor),),
    )


def _move(failure: Failure) -> Fit[float]:
    """Return how many times the reference's move the candidate's is, in one step."""
    sample = failure.inputs[_SAMPLE]
    return multiple(failure.candidate - sample, failure.reference - sample)
