"""Every kind of cause, one row each; the order of rows is the order in which hypotheses are tried.

A row names what it looks at and the function that looks; docs/causes/SLUG.md explains it. What else there is to know of
kinds (the order of trial, the stage that a cause stands under, which pages there must be) is read from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from parity.components import STEP
from parity.diagnose import platform
from parity.diagnose.hypotheses import (
    activations,
    guidance,
    norms,
    outputs,
    padding,
    precision,
    references,
    sampler,
    weights,
)
from parity.result import OF_REFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parity.diagnose.evidence import Recordings, Suspect, Weight
    from parity.diagnose.hypothesis import Hypothesis

__all__ = ["BY_SLUG", "KINDS", "OTHER_SETTING", "Kind"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of cause. A column that is filled in says what it looks at.

    Attributes:
        weight: Asked about each parameter that differs.
        settings: Names of the attributes whose difference is this cause.
        tensors: Asked about each module that is wrong by itself.
        recordings: Asked about two references of the same weights.
        at: The one place that `tensors` or `recordings` is about; empty for any.
        together: What several parameters of this kind are called; they are one cause. Empty where each is its own.
    """

    slug: str
    weight: Callable[[Weight], Iterator[Hypothesis]] | None = None
    settings: tuple[str, ...] = ()
    tensors: Callable[[Suspect], Iterator[Hypothesis]] | None = None
    recordings: Callable[[Recordings], Iterator[Hypothesis]] | None = None
    at: str = ""
    together: str = ""


KINDS: Final = (
    # what became of a parameter
    Kind(slug="weight-not-loaded", weight=weights.not_loaded, together="parameters never loaded"),
    Kind(slug="weight-missing", weight=weights.missing, together="parameters that one side lacks"),
    Kind(slug="transposed-weight", weight=weights.transposed),
    Kind(slug="flipped-weight", weight=weights.flipped),
    Kind(slug="half-precision-weight", weight=weights.rounded),
    Kind(slug="swapped-weight", weight=weights.another_parameter),
    Kind(slug="different-weight", weight=weights.different),  # explains any
    # what a module is set to, and what it computes
    Kind(slug="noise-step-shifted", tensors=sampler.noise_of_another_step, at=STEP),
    Kind(slug="sampler-step-scaled", tensors=sampler.scaled_step, at=STEP),
    Kind(slug="guidance-halves-swapped", tensors=guidance.swapped_halves, at=guidance.GUIDANCE),
    Kind(slug="guidance-scale", tensors=guidance.another_scale, at=guidance.GUIDANCE),
    Kind(slug="activation-variant", settings=("approximate", "activation"), tensors=activations.another_variant),
    Kind(slug="norm-epsilon", settings=("eps",), tensors=norms.another_epsilon),
    Kind(slug="norm-groups", settings=("num_groups",)),
    Kind(slug="attention-scale", settings=("scale",)),
    Kind(slug="attention-heads", settings=("heads",)),
    Kind(slug="half-precision-grid", tensors=precision.half_grid),
    Kind(slug="scaled-output", tensors=outputs.scaled),
    Kind(slug="shifted-output", tensors=outputs.shifted),
    Kind(slug="padding", settings=("pad", "pad_value"), tensors=padding.another_border),
    Kind(slug="step-shifted", tensors=outputs.of_another_step),
    Kind(slug="permuted-channels", tensors=outputs.permuted_channels),
    Kind(slug="unknown", tensors=outputs.place_alone),  # explains any
    Kind(slug="attribute-differs"),  # any other setting
    # what replays with operators in float64 show (`parity.diagnose.platform`)
    Kind(slug=platform.SLUG),
    # what is no fault of the candidate (`parity.compare.findings`)
    *(Kind(slug=flag) for flag in OF_REFERENCE),
    # what two references chose
    Kind(slug="padding-token-in-prompt", recordings=references.padding_token, at=references.SECOND_TOKENIZER),
    Kind(slug="negative-conditioning", recordings=references.negative_prompt, at=references.CONDITIONING),
    Kind(slug="timestep-spacing", recordings=references.timesteps, at=references.SCHEDULE),
)
BY_SLUG: Final = {kind.slug: kind for kind in KINDS}
OTHER_SETTING: Final = BY_SLUG["attribute-differs"]
