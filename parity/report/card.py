r"""The five lines in which a divergence is told, the same on the terminal, in the report and in pytest.

    unet.mid_block @step=3 output   MISMATCH   torch 2.13 -> mindspore 2.8, float32
      rel_l2 3.1e-02, 41x its floor (tolerance E <= 3 F; basis: float64 twin)
      worst at [0, 17, 4, 9]: ref 1.2043, cand 1.2353; 128 of 4096 outside, all in channels 16-19
      first divergence: yes (precision, layers); the inputs of this module match
      again: parity replay trace/reference ... --only 'unet\.mid_block@step=3:.*'

This is the one place that words a divergence. `lines` needs no more than a pair; `of` fills in what the
whole result knows: the two frameworks, whether it is the first, whether the inputs match, the command.
"""

from __future__ import annotations

import re
import shlex
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from parity.address import Address, literal, place_of
from parity.compare.limits import RMS_FACTOR
from parity.errors import AddressError
from parity.report.grouping import asked, column_of, dtype_of, grouped
from parity.report.verdicts import fails
from parity.report.words import after, apart, as_table, count, joined, largest, number, ratio, visible

if TYPE_CHECKING:
    from parity.result import FirstDivergence, Pair, Result

__all__ = ["again", "first", "first_pair", "inputs_of", "lines", "of", "only", "sides"]

_BASIS: Final = {
    "exact": "exact values",
    "float64": "float64 on both sides",
    "floor": "float64 twin",
    "model": "modelled floor",
}
_FIRST: Final = {True: "yes", False: "no", None: "not asked"}
_PLAIN: Final = {
    "MATCH": "the values are equal",
    "MISMATCH": "the values differ",
    "INCOMPARABLE": "not comparable",
    "MISSING": "the candidate has no record at this address",
    "UNEXPECTED": "the reference has no record at this address",
}


def lines(
    pair: Pair, *, sides: str = "reference -> candidate", first: bool | None = None, inputs: str = "", again: str = ""
) -> list[str]:
    """Return the five lines of one pair; `first` is None where nobody asked which divergence comes first."""
    return [
        _title(pair, sides),
        f"  {_distance(pair)}",
        f"  {_worst(pair)}",
        f"  {_position(pair, first=first, inputs=inputs)}",
        f"  again: {visible(again) or 'this result names no command'}",
    ]


def of(result: Result, pair: Pair) -> list[str]:
    """Return the five lines of a pair of `result`."""
    return lines(
        pair,
        sides=sides(result),
        first=_is_first(result.first_divergence, pair),
        inputs=inputs_of(result, pair),
        again=again(result, pair),
    )


def _is_first(found: FirstDivergence | None, pair: Pair) -> bool:
    """Tell whether a pair is the first divergence that was found."""
    return found is not None and found.address == pair.address and _run(found) == _run(pair)


def _run(place: Pair | FirstDivergence) -> tuple[str, str, str | None]:
    """Return under which question, in which replay and type something stands."""
    return place.question, place.mode, place.dtype


def first_pair(result: Result) -> Pair | None:
    """Return the pair that the first divergence names, or None when there is none.

    A saved result may name a run that it holds no pair of; another pair at the address then stands for it.
    """
    found = result.first_divergence
    if found is None:
        return None
    there = [pair for pair in result.pairs if pair.address == found.address]
    same = [pair for pair in there if found.candidate in {"", pair.candidate}]
    exact = grouped(same, key=_run).get(_run(found), [])
    return next(chain(exact, same), None)


def first(result: Result) -> list[str]:
    """Return the five lines of the first divergence; none where there is none."""
    pair = first_pair(result)
    return [] if pair is None else of(result, pair)


def sides(result: Result) -> str:
    """Return `torch 2.13 -> mindspore 2.8` from the provenance, or the sides' roles where it is silent."""
    return f"{_side(result, 'reference')} -> {_side(result, 'candidate')}"


def _side(result: Result, role: str) -> str:
    """Return a side's framework with its major and minor version."""
    known = as_table(result.provenance.get(role))
    if "framework" not in known:
        return role
    name = str(known["framework"])
    return visible(joined(name, _version(known, name), by=" "))


def _version(known: dict[str, Any], framework: str) -> str:
    """Return major and minor version of a framework, from the first place of the provenance that tells it."""
    versions = as_table(known.get("versions"))
    places = known.get("framework_version"), known.get(framework), versions.get(framework)
    told = str(next(filter(None, places), ""))
    return "".join(re.findall(r"^\d+(?:\.\d+)?", told))


def _title(pair: Pair, sides: str) -> str:
    """Line 1: where, the verdict, between what, in which type."""
    try:
        address = Address.parse(pair.address)
        place = joined(address.path, address.index, address.port, by=" ")
    except AddressError:
        place = pair.address
    return joined(f"{visible(place)}   {pair.verdict}   {sides}", dtype_of(pair))


def _distance(pair: Pair) -> str:
    """Line 2: how far apart, in multiples of the floor, and the limit with its basis."""
    if pair.verdict in {"MISSING", "UNEXPECTED"}:
        return _PLAIN[pair.verdict]
    told = _measured(pair) or _PLAIN[pair.verdict]
    basis = _BASIS.get(pair.basis, pair.basis)
    judged = joined(after("tolerance ", visible(pair.limit)), after("basis: ", visible(basis)), by="; ")
    return f"{told} ({judged})" if judged else told


def _measured(pair: Pair) -> str:
    """Return the relative distance (the absolute one where there is no other) and the multiple of the floor."""
    relative = after("rel_l2 ", number(pair.rel_l2, nothing=""))
    absolute = after("max_abs ", number(pair.max_abs, nothing=""))
    floors = "" if pair.ratio_to_floor is None else f"{ratio(pair.ratio_to_floor, RMS_FACTOR)} its floor"
    return joined(relative or absolute, floors)


def _worst(pair: Pair) -> str:
    """Line 3: the worst element with both values, how many are outside, and where they sit."""
    return joined(_element(pair), _outside(pair), by="; ") or "no element is recorded"


def _element(pair: Pair) -> str:
    """Return the worst element with both values."""
    if pair.worst is None:
        return ""
    reference, candidate = apart(pair.worst.reference, pair.worst.candidate)
    index = ", ".join(map(str, pair.worst.index))
    place = f"at [{index}]" if index else "value"
    return f"worst {place}: ref {reference}, cand {candidate}"


def _outside(pair: Pair) -> str:
    """Return how many elements are outside, unless the detail says it itself, and the detail."""
    detail = visible(pair.detail)
    if pair.outside is None:
        return detail
    amount = f"{pair.outside} of {pair.size} outside"
    return detail if amount in detail else joined(amount, detail)


def _position(pair: Pair, *, first: bool | None, inputs: str) -> str:
    """Line 4: is it the first, under which question, and are its inputs right."""
    place = f"first divergence: {_FIRST[first]} ({asked(pair)})"
    flags = after("flagged ", ", ".join(pair.flags))
    return joined(place, inputs or "its inputs are not recorded", flags, by="; ")


def inputs_of(result: Result, pair: Pair) -> str:
    """Say whether the inputs of this pair's module match, in the mode of the pair."""
    if pair.question == "audit":
        return "an audit has no inputs"
    if pair.mode == "layers":
        return "the inputs of this module match: both sides start from the recorded ones"
    # Only inputs of the same run tell: those of another replay are other tensors.
    prefix = f"{place_of(pair.address)}:input"
    there = [other for other in result.pairs if other.address.startswith(prefix)]
    inputs = grouped(there, key=_run).get(_run(pair))
    if inputs is None:
        return _given_right_inputs(result, pair)
    wrong = list(filter(fails, inputs))
    if not wrong:
        return "the inputs of this module match"
    worst = largest(other.rel_l2 for other in wrong)
    return f"{count(len(wrong), 'input')} of {len(inputs)} differ already (rel_l2 {number(worst)})"


def _given_right_inputs(result: Result, pair: Pair) -> str:
    """Say what the layer replay knows about a module whose inputs are not compared in the pair's mode."""
    there = [other for other in result.pairs if other.address == pair.address]
    local = grouped(there, key=column_of).get((pair.question, "layers"))
    if local is None:
        return "its inputs are not compared in this mode"
    outcome = "fails too" if any(map(fails, local)) else "matches"
    return f"given the reference's inputs this module {outcome}"


def only(address: str) -> str:
    r"""Return the pattern that selects every port of `address`'s module, for `--only`.

    >>> only("unet.mid_block@step=3:output")
    'unet\\.mid_block@step=3:.*'
    """
    return "".join(map(_escaped, place_of(address))) + ":.*"


def _escaped(letter: str) -> str:
    """Return a letter as a pattern that can be typed."""
    return literal(letter) if letter.isprintable() else f"\\x{{{ord(letter):x}}}"


def again(result: Result, pair: Pair) -> str:
    """Return the command that measures this pair alone once more."""
    commands = result.commands
    repeat = commands.get("repeat", "")
    if pair.question == "audit":
        return commands.get("compare", repeat)
    if "replay" not in commands:
        return repeat
    dtype = after(" --dtype ", dtype_of(pair))
    return f"{commands['replay']} --mode {pair.mode}{dtype} --only {shlex.quote(only(pair.address))}"
