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
from typing import TYPE_CHECKING, Any, Final

from parity.address import Address, place_of
from parity.compare.limits import RMS_FACTOR
from parity.errors import AddressError
from parity.report.words import apart, count, largest, number, ratio, visible

if TYPE_CHECKING:
    from parity.result import Pair, Result

__all__ = ["again", "first_pair", "inputs_of", "lines", "of", "only", "sides"]

_BASIS: Final = {
    "exact": "exact values",
    "float64": "float64 on both sides",
    "floor": "float64 twin",
    "model": "modelled floor",
}
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
    found = result.first_divergence
    first = found is not None and (found.address, found.question, found.mode, found.dtype) == (
        pair.address,
        pair.question,
        pair.mode,
        pair.dtype,
    )
    return lines(pair, sides=sides(result), first=first, inputs=inputs_of(result, pair), again=again(result, pair))


def first_pair(result: Result) -> Pair | None:
    """Return the pair that the first divergence names, or None when there is none."""
    found = result.first_divergence
    if found is None:
        return None
    same = [pair for pair in result.pairs if pair.address == found.address and found.candidate in {"", pair.candidate}]
    exact = [
        pair for pair in same if (pair.question, pair.mode, pair.dtype) == (found.question, found.mode, found.dtype)
    ]
    return next(iter(exact or same), None)


def sides(result: Result) -> str:
    """Return `torch 2.13 -> mindspore 2.8` from the provenance, or the sides' roles where it is silent."""
    return f"{_side(result.provenance, 'reference')} -> {_side(result.provenance, 'candidate')}"


def _side(provenance: dict[str, Any], role: str) -> str:
    """Return a side's framework with its major and minor version."""
    known = provenance.get(role)
    if not isinstance(known, dict) or "framework" not in known:
        return role
    name = str(known["framework"])
    versions = known.get("versions")
    version = (
        known.get("framework_version")
        or known.get(name)
        or (versions.get(name) if isinstance(versions, dict) else None)
    )
    short = re.match(r"\d+(\.\d+)?", str(version or ""))
    return visible(f"{name} {short[0]}" if short else name)


def _title(pair: Pair, sides: str) -> str:
    """Line 1: where, the verdict, between what, in which type."""
    try:
        address = Address.parse(pair.address)
        place = " ".join(part for part in (address.path, address.index, address.port) if part)
    except AddressError:
        place = pair.address
    dtype = f", {pair.dtype}" if pair.dtype else ""
    return f"{visible(place)}   {pair.verdict}   {sides}{dtype}"


def _distance(pair: Pair) -> str:
    """Line 2: how far apart, in multiples of the floor, and the limit with its basis."""
    if pair.verdict in {"MISSING", "UNEXPECTED"}:
        return _PLAIN[pair.verdict]
    parts = []
    if pair.rel_l2 is not None:
        parts.append(f"rel_l2 {number(pair.rel_l2)}")
    elif pair.max_abs is not None:
        parts.append(f"max_abs {number(pair.max_abs)}")
    if pair.ratio_to_floor is not None:
        parts.append(f"{ratio(pair.ratio_to_floor, RMS_FACTOR)} its floor")
    told = ", ".join(parts) or _PLAIN.get(pair.verdict, "not measured")
    basis = _BASIS.get(pair.basis, visible(pair.basis))
    judged = "; ".join(
        part
        for part in (f"tolerance {visible(pair.limit)}" if pair.limit else "", f"basis: {basis}" if basis else "")
        if part
    )
    return f"{told} ({judged})" if judged else told


def _worst(pair: Pair) -> str:
    """Line 3: the worst element with both values, how many are outside, and where they sit."""
    parts = []
    if pair.worst is not None:
        reference, candidate = apart(pair.worst.reference, pair.worst.candidate)
        place = f"at [{', '.join(map(str, pair.worst.index))}]" if pair.worst.index else "value"
        parts.append(f"worst {place}: ref {reference}, cand {candidate}")
    if pair.outside is not None:
        count, detail = f"{pair.outside} of {pair.size} outside", visible(pair.detail)
        parts.append(detail if count in detail else ", ".join(filter(None, (count, detail))))
    elif pair.detail:
        parts.append(visible(pair.detail))
    return "; ".join(parts) or "no element is recorded"


def _position(pair: Pair, *, first: bool | None, inputs: str) -> str:
    """Line 4: is it the first, under which question, and are its inputs right."""
    answer = {True: "yes", False: "no", None: "not asked"}[first]
    asked = "audit" if pair.question == "audit" else f"{pair.question}, {pair.mode}"
    flags = f"; flagged {', '.join(pair.flags)}" if pair.flags else ""
    return f"first divergence: {answer} ({asked}); {inputs or 'its inputs are not recorded'}{flags}"


def inputs_of(result: Result, pair: Pair) -> str:
    """Say whether the inputs of this pair's module match, in the mode of the pair."""
    if pair.question == "audit":
        return "an audit has no inputs"
    if pair.mode == "layers":
        return "the inputs of this module match: both sides start from the recorded ones"
    prefix = place_of(pair.address) + ":input"
    run = (pair.question, pair.mode, pair.dtype)
    inputs = (other for other in result.pairs if other.address.startswith(prefix))
    found = [other for other in inputs if (other.question, other.mode, other.dtype) == run]
    if not found:
        return _local(result, pair)
    wrong = [other for other in found if other.verdict != "MATCH"]
    if wrong:
        worst = largest(other.rel_l2 for other in wrong)
        return f"{count(len(wrong), 'input')} of {len(found)} differ already (rel_l2 {number(worst)})"
    return "the inputs of this module match"


def _local(result: Result, pair: Pair) -> str:
    """Say what the layer replay knows about a module whose inputs are not compared in the pair's mode."""
    places = (other for other in result.pairs if other.address == pair.address and other.mode == "layers")
    verdicts = {other.verdict for other in places if other.question == pair.question}
    if not verdicts:
        return "its inputs are not compared in this mode"
    return f"given the reference's inputs this module {'matches' if verdicts == {'MATCH'} else 'fails too'}"


def only(address: str) -> str:
    r"""Return the pattern that selects every port of `address`'s module, for `--only`.

    >>> only("unet.mid_block@step=3:output")
    'unet\\.mid_block@step=3:.*'
    """
    return (
        "".join(re.escape(letter) if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in place_of(address))
        + ":.*"
    )


def again(result: Result, pair: Pair) -> str:
    """Return the command that measures this pair alone once more."""
    if pair.question == "audit":
        return result.commands.get("compare") or result.commands.get("repeat", "")
    command = result.commands.get("replay")
    if command is None:
        return result.commands.get("repeat", "")
    dtype = f" --dtype {pair.dtype}" if pair.dtype else ""
    return f"{command} --mode {pair.mode}{dtype} --only {shlex.quote(only(pair.address))}"
