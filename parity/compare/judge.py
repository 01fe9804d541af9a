"""From numbers to verdicts, and from a saved result to another one.

A pair carries what was measured; `decide` holds it against the first limit that applies: a rule, equality,
the float64 limit, the measured floor, the modelled floor. `judge` does the same to every pair of a saved
result, so tolerances may change after the tensors are gone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

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
from parity.compare.rules import RuleBook
from parity.compare.several import join, split
from parity.compare.summary import summarize
from parity.errors import ToleranceError
from parity.result import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.case import ToleranceRule
    from parity.compare.rules import Predicate, Rule
    from parity.result import Number, Pair, Result

__all__ = ["decide", "judge", "limits_of", "plain"]

_FLOAT64_LIMIT: Final = f"rel_l2 <= {SEMANTICS_RMS:g}, max <= {SEMANTICS_MAX:g} of the rms"
_FLOOR_LIMIT: Final = f"rms <= {RMS_FACTOR:g} x %.3g, max <= {MAX_FACTOR:g} x %.3g"
_ISLAND_LIMIT: Final = f"rel_l2 <= {ISLAND_RMS:g}, max <= {ISLAND_MAX:g} of the rms (float32 island)"


def plain(value: Number | None) -> float:
    """Return a number of a result as a float; NaN when it was not measured."""
    return math.nan if value is None else float(value)


def limits_of(pair: Pair) -> tuple[float, float]:
    """Return the limits of the rms error and of the largest error of a pair, without any rule."""
    if pair.ground == "float64":
        scale = plain(pair.scale)
        rms, peak = (ISLAND_RMS, ISLAND_MAX) if "island" in pair.flags else (SEMANTICS_RMS, SEMANTICS_MAX)
        return rms * scale, peak * scale
    return RMS_FACTOR * plain(pair.floor_rms), MAX_FACTOR * plain(pair.floor_max)


def decide(pair: Pair, book: RuleBook) -> None:
    """Set verdict, basis, limit and ratio of a pair that has numbers; others keep theirs."""
    if not pair.ground:
        return
    found = book.find(pair) if book else None
    if found is not None:
        _by_rule(pair, *found)
    elif pair.ground == "exact":
        pair.basis, pair.limit = "exact", "equal"
        pair.verdict = "MISMATCH" if pair.outside else "MATCH"
    else:
        _by_limits(pair)
    if pair.hard:
        pair.verdict = "MISMATCH"
    elif "platform-precision" in pair.flags and pair.ground == "floor":
        pair.verdict = "MATCH"


def _by_limits(pair: Pair) -> None:
    """Judge by the float64 limit or by the floor."""
    pair.basis = pair.ground
    error, peak = plain(pair.error_rms), plain(pair.error_max)
    rms_limit, max_limit = limits_of(pair)
    pair.verdict = "MATCH" if error <= rms_limit and peak <= max_limit else "MISMATCH"
    if pair.ground == "float64":
        pair.limit = _ISLAND_LIMIT if "island" in pair.flags else _FLOAT64_LIMIT
        return
    floor_rms, floor_max = rms_limit / RMS_FACTOR, max_limit / MAX_FACTOR
    pair.limit = _FLOOR_LIMIT % (floor_rms, floor_max)
    pair.ratio_to_floor = number(max(_over(error, floor_rms), _over(peak, floor_max) / BETWEEN_PEAKS))


def _over(part: float, whole: float) -> float:
    """Return a ratio, with 0 of 0 as 0."""
    return part / whole if whole else (math.inf if part else 0.0)


def _by_rule(pair: Pair, rule: Rule, predicate: Predicate) -> None:
    """Judge by a rule of the case or of a file."""
    measures = {
        "rel_l2": plain(pair.rel_l2),
        "max_abs": plain(pair.max_abs),
        "max_rel": _over(plain(pair.error_max), plain(pair.scale)),
        "cosine": plain(pair.cosine),
        "max_ulp": plain(pair.max_ulp),
        "ratio_to_floor": plain(pair.ratio_to_floor),
        "size": float(pair.size),
    }
    unknown = [name for name in sorted(predicate.names) if math.isnan(measures[name]) and pair.error_max != "nan"]
    if unknown:
        message = (
            f"the rule {rule.address!r} asks for {', '.join(unknown)}, which was not measured at {pair.address}; "
            "use rel_l2, max_abs or max_rel, or compare the traces again with this rule"
        )
        raise ToleranceError(message)
    pair.basis, pair.limit = f"case: {rule.reason}", predicate.text
    pair.verdict = "MATCH" if predicate.holds(measures) else "MISMATCH"


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
        relate(view.pairs)
        summarize(view)
    return join(views, before=again)
