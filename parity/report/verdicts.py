"""How one pair reads: the verdict as it is shown, by how much it is over its limit, and the worst of several.

A pair that fails only because of another one reads as its excuse, such as `inherited`: the verdict that it has
in the result would point at a place where nothing is wrong.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

from parity.compare.judge import limits_of
from parity.compare.limits import RMS_FACTOR, SEMANTICS_RMS
from parity.compare.summary import failing, is_about_reference, is_excused
from parity.report.grouping import column_of, grouped
from parity.report.words import largest, number, ratio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.result import Number, Pair

__all__ = [
    "FAILING",
    "GRAVITY",
    "Shown",
    "excess",
    "excused",
    "fails",
    "fails_alone",
    "gravest",
    "shown",
    "worst",
    "worst_local",
]

Shown = Literal[
    "MATCH", "MISMATCH", "INCOMPARABLE", "MISSING", "UNEXPECTED", "INCOMPLETE",
    "reference off", "undecided", "inherited", "contains", "equivalent", "not measured",
]  # fmt: skip

FAILING: Final[frozenset[Shown]] = frozenset({"MISMATCH", "INCOMPARABLE", "MISSING", "UNEXPECTED"})
GRAVITY: Final[tuple[Shown, ...]] = (
    "MISMATCH", "INCOMPARABLE", "MISSING", "UNEXPECTED", "reference off", "undecided", "inherited", "contains",
    "equivalent", "MATCH",
)  # fmt: skip
"""What a pair can read, the gravest first."""

_EXCUSES: Final[dict[str, Shown]] = {
    "inherited": "inherited",
    "contains": "contains",
    "equivalent": "equivalent",
    "unbounded-depth": "undecided",
    "platform-undecided": "undecided",
}
_LIMITED: Final = frozenset({"float64", "floor", "model"})


def excused(pair: Pair) -> bool:
    """Tell whether a failing pair is explained by another one and does not count against the whole."""
    return failing(pair) and is_excused(pair)


def fails(pair: Pair) -> bool:
    """Tell whether a pair fails, by itself or because of another one."""
    return pair.verdict in FAILING


def fails_alone(pair: Pair) -> bool:
    """Tell whether a pair fails by itself."""
    return fails(pair) and not excused(pair)


def shown(pair: Pair) -> Shown:
    """Return the verdict as it is shown: an excused failure reads as its excuse, such as `inherited`."""
    if not excused(pair):
        return pair.verdict
    if is_about_reference(pair):
        return "reference off"
    return next(word for flag, word in _EXCUSES.items() if flag in pair.flags)


def gravest(verdicts: Iterable[Shown]) -> Shown:
    """Return the gravest of several shown verdicts."""
    found = set(verdicts)
    return next((verdict for verdict in GRAVITY if verdict in found), "not measured")


def excess(pair: Pair) -> float | None:
    """Return how many times over its limit a pair is (1 is the limit), or None; no number counts as infinite."""
    if pair.ground in _LIMITED:
        limits = limits_of(pair)
        return largest([_times(pair.error_rms, limits.rms), _times(pair.error_max, limits.max)])
    # Compared by equality, or without any number: there is no limit but the one of its question.
    if pair.question == "precision":
        return _times(pair.ratio_to_floor, RMS_FACTOR)
    if pair.question == "semantics":
        return _times(pair.rel_l2, SEMANTICS_RMS)
    return None


def _times(value: Number | None, limit: float) -> float | None:
    """Return a stored number in multiples of a limit; None where there is no number, or no limit above zero."""
    if value is None or not limit > 0:
        return None
    found = float(value) / limit
    if math.isnan(found):
        return math.inf
    return found


def worst(pairs: Iterable[Pair]) -> str:
    """Return the largest distance of these pairs, in the unit that judges them."""
    pairs = list(pairs)
    # A working type has its own rounding, so an error says something only in multiples of the floor.
    over_floor = largest(pair.ratio_to_floor for pair in pairs if pair.question == "precision")
    if over_floor is not None:
        return ratio(over_floor, RMS_FACTOR)
    return number(largest(pair.rel_l2 for pair in pairs), nothing="")


def worst_local(pairs: Iterable[Pair], question: str) -> str:
    """Return the largest distance of the layer replay under a question: errors that modules make by themselves."""
    by_column = grouped(pairs, key=column_of)
    return worst(by_column.get((question, "layers"), []))
