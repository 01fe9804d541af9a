"""A hypothesis: what could be wrong at one place, with what speaks for it and what a person does about it.

A function of `parity.diagnose.hypotheses` looks at something that wants an explanation (`parity.diagnose.evidence`) and
yields hypotheses, the likeliest first; none where it has nothing to say. What kind of cause that is says the row of
`parity.diagnose.kinds` that names the function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from parity.repair import Edit

__all__ = ["FITTED", "PROVEN", "REPORTED", "UNEXPLAINED", "Hypothesis"]

PROVEN: Final = 1.0
"""Confidence in what equal digests or both recordings say."""
FITTED: Final = 0.95
"""Confidence in a formula that gives the candidate's tensors."""
REPORTED: Final = 0.9
"""Confidence in what both sides say of themselves."""
UNEXPLAINED: Final = 0.3
"""Confidence in a place alone."""


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """What could be wrong at one place.

    Attributes:
        confidence: How much the evidence proves, from 0 to 1, before any replay.
        evidence: Facts with numbers, one sentence each.
        repair: The edit that a person makes, in words. Places with the same repair are one cause.
        edits: The same for a replay; empty where none can be made.
    """

    confidence: float
    evidence: tuple[str, ...]
    repair: str
    edits: tuple[Edit, ...] = ()
