"""From numbers to verdicts, and from a saved result to another one.

A pair carries what was measured; `decide` holds it against the first limit that applies: a rule, equality,
the float64 limit, the measured floor, the modelled floor. `judge` does the same to every pair of a saved
result, so tolerances may change after the tensors are gone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from parity.compare.flags import relate
from parity.compare.limits import (
    BETWEEN_PEAKS,
    ISLAND_MAX,
    ISLAND_RMS,
    MAX_FACTOR,
    RMS_FACTOR,
    SEMANTICS_MAX,
    SEMANTICS_RMS,
)
from parity.compare.predicate import BOUNDABLE
from parity.compare.rules import RuleBook
from parity.compare.several import join, split
from parity.compare.summary import summarize
from parity.errors import ToleranceError
from parity.result import OF_REFERENCE, measured, number, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.case import ToleranceRule
    from parity.compare.predicate import Predicate
    from parity.compare.rules import Rule
    from parity.result import Pair, Result, Verdict

__all__ = ["Limits", "decide", "is_within", "judge", "limits_of"]

_FLOOR_LIMIT: Final = f"rms <= {RMS_FACTOR:g} x %.3g, max <= {MAX_FACTOR:g} x %.3g"

_FIRST_PASS: Final = [
    name for name, known in BOUNDABLE.items() if known.source == "first pass" and known.format != "count"
]
_ALWAYS: Final = f"{', '.join(_FIRST_PASS[:-1])} or {_FIRST_PASS[-1]}"


_OF_FLOOR: Final = "ratio_to_floor"
_HAVE_FLOOR: Final = ("floor", "model")

_VERDICT: Final[dict[bool, Verdict]] = {True: "MATCH", False: "MISMATCH"}

_NO_MATCH: Final[dict[Verdict, frozenset[str]]] = {
    "MATCH": frozenset(OF_REFERENCE),
    "MISMATCH": frozenset({"twin-error"}),
}
"""Flags that say that a run of the reference is off, and so make a pair that came out like this INCOMPARABLE."""


class Limits(msgspec.Struct, frozen=True, gc=False):
    """The largest rms error and the largest error of one element that a pair may have."""

    rms: float
    max: float

    def allow(self, rms: float, peak: float, share: float = 1.0) -> bool:
        """Tell whether errors stay within this share of the limits; what is not a number does not."""
        return rms <= share * self.rms and peak <= share * self.max


class _TwinLimit(NamedTuple):
    """The limits of a float64 run relative to the scale, and how a person reads them."""

    rms: float
    max: float
    text: str


_FLOAT64: Final = _TwinLimit(
    SEMANTICS_RMS, SEMANTICS_MAX, f"rel_l2 <= {SEMANTICS_RMS:g}, max <= {SEMANTICS_MAX:g} of the rms"
)
_ISLAND: Final = _TwinLimit(
    ISLAND_RMS, ISLAND_MAX, f"rel_l2 <= {ISLAND_RMS:g}, max <= {ISLAND_MAX:g} of the rms (float32 island)"
)


def limits_of(pair: Pair) -> Limits:
    """Return the limits of the rms error and of the largest error of a pair, without any rule."""
    if pair.ground != "float64":
        return Limits(RMS_FACTOR * measured(pair.floor_rms), MAX_FACTOR * measured(pair.floor_max))
    limit = _twin_limit(pair)
    scale = measured(pair.scale)
    return Limits(limit.rms * scale, limit.max * scale)


def _twin_limit(pair: Pair) -> _TwinLimit:
    """Return the limit of a pair of float64 runs."""
    return _ISLAND if "island" in pair.flags else _FLOAT64


def is_within(pair: Pair, share: float = 1.0) -> bool:
    """Tell whether the errors of a pair stay within this share of its limits."""
    return limits_of(pair).allow(measured(pair.error_rms), measured(pair.error_max), share)


def decide(pair: Pair, book: RuleBook) -> None:
    """Set verdict, basis, limit and ratio of a pair that has numbers; others keep theirs.

    Where the reference's working run is off, what agrees with float64 is INCOMPARABLE, and what does not a MISMATCH;
    where its float64 run is off nothing is a match, and no rule changes that.
    """
    if not pair.ground:
        return
    found = book.find(pair)
    if found is not None:
        _by_rule(pair, *found)
    else:
        _JUDGES[pair.ground](pair)
    if pair.hard:
        pair.verdict = "MISMATCH"
        return
    if "platform-precision" in pair.flags and pair.ground == "floor":
        pair.verdict = "MATCH"
    if not _NO_MATCH[pair.verdict].isdisjoint(pair.flags):
        pair.verdict = "INCOMPARABLE"


def _by_equality(pair: Pair) -> None:
    """Judge what has to be equal."""
    pair.basis = "exact"
    pair.limit = "equal"
    pair.verdict = _VERDICT[not pair.outside]


def _by_twin(pair: Pair) -> None:
    """Judge float64 against float64."""
    pair.basis = "float64"
    pair.limit = _twin_limit(pair).text
    pair.verdict = _VERDICT[is_within(pair)]


def _by_floor(pair: Pair) -> None:
    """Judge by the floor, measured or modelled."""
    error, peak = measured(pair.error_rms), measured(pair.error_max)
    limits = limits_of(pair)
    floor_rms, floor_max = limits.rms / RMS_FACTOR, limits.max / MAX_FACTOR
    pair.basis = pair.ground
    pair.limit = _FLOOR_LIMIT % (floor_rms, floor_max)
    pair.verdict = _VERDICT[limits.allow(error, peak)]
    pair.ratio_to_floor = number(_multiple_of_floor(pair))


def _multiple_of_floor(pair: Pair) -> float:
    """Return how many times its floor a pair errs by; NaN where it has none."""
    if pair.ground not in _HAVE_FLOOR:
        return math.nan
    of_rms = ratio(measured(pair.error_rms), measured(pair.floor_rms))
    of_max = ratio(measured(pair.error_max), measured(pair.floor_max))
    return max(of_rms, of_max / BETWEEN_PEAKS)


_JUDGES: Final = {"exact": _by_equality, "float64": _by_twin, "floor": _by_floor, "model": _by_floor}
"""How a pair is judged, by its ground, where no rule does."""


def _by_rule(pair: Pair, rule: Rule, predicate: Predicate) -> None:
    """Judge by a rule of the case or of a file."""
    values = {name: _value(pair, name) for name in sorted(predicate.names)}
    unknown = [name for name, value in values.items() if math.isnan(value)]
    # Where the error itself is no number, neither is what follows from it: that fails its rule and misses nothing.
    if unknown and pair.error_max != "nan":
        way_out = f"use {_ALWAYS}, or compare the traces again with this rule"
        if _OF_FLOOR in unknown:
            way_out = f'pairs of float64 runs and of integers have no floor: use {_ALWAYS}, or give the rule question = "precision"'
        message = f"the rule {rule.address!r} asks for {', '.join(unknown)}, which was not measured at {pair.address}; {way_out}"
        raise ToleranceError(message)
    pair.basis = f"case: {rule.reason}"
    pair.limit = predicate.text
    pair.verdict = _VERDICT[predicate.holds(values)]


def _value(pair: Pair, name: str) -> float:
    """Return the number of a pair that a rule names; what the judge works out himself may not stand in the pair yet."""
    if name == _OF_FLOOR:
        return _multiple_of_floor(pair)
    return measured(BOUNDABLE[name].read(pair))


def judge(result: Result, tolerances: Sequence[Rule | ToleranceRule]) -> Result:
    """Judge a saved result again, by these rules alone; the result given is left as it is.

    Raises:
        ToleranceError: a rule is malformed, matches no pair, or asks for a number that was not measured.
    """
    book = RuleBook(tolerances)
    again = msgspec.json.decode(msgspec.json.encode(result), type=type(result))
    for pair in again.pairs:
        decide(pair, book)
    book.refuse_unused()
    views = split(again)
    for view in views.values():
        relate(view.pairs, again.program)
        summarize(view)
    return join(views, before=again)
