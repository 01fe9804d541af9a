"""The pairs of a proposal as a person reads them: layout, parameters, evidence in words, and all further outputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from parity.align import transformed
from parity.mapping.confidence import ORDER_ALONE
from parity.mapping.evidence import distance, parameter_of
from parity.mapping.table import Pair
from parity.mapping.units import LAYOUTS, fingerprint, marks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.mapping.confidence import Choice
    from parity.mapping.evidence import Evidence
    from parity.mapping.units import Unit
    from parity.trace import RunReader, WeightDigests

__all__ = ["all_ports", "first_pairs"]

_NEAR: Final = 0.5
_AGREE: Final = 1e-2
_IMAGE: Final = 4


def no_pair(unit: Unit, port: str) -> Pair:
    """Return the pair of an output without a counterpart."""
    return Pair(
        path=unit.path, port=port, call=unit.call, native="", confidence=0.0, evidence="no counterpart was found"
    )


def first_pairs(
    choice: Choice, evidence: Evidence, units: tuple[Sequence[Unit], Sequence[Unit]], *, values: bool
) -> list[Pair]:
    """Return the proposed pair of each unit's first output with what speaks for it."""
    apart = [row for row, column in sorted(choice.columns.items()) if not evidence.distance[row, column] < _NEAR]
    first = apart[0] if apart else -1
    return [
        _first_pair(row, choice, evidence, units, values=values, first=row == first) for row in range(len(units[0]))
    ]


def _first_pair(
    row: int, choice: Choice, evidence: Evidence, units: tuple[Sequence[Unit], Sequence[Unit]], *, values: bool,
    first: bool,
) -> Pair:  # fmt: skip
    """Return one unit's pair; `first` says that it is the first in the order whose values do not agree."""
    if row not in choice.columns:
        return no_pair(units[0][row], units[0][row].port)
    column = choice.columns[row]
    unit, other = units[0][row], units[1][column]
    far = float(evidence.distance[row, column])
    layouts, words = _weights(unit, other, agree=far < _NEAR, first=first)
    said = [words] if words else []
    if values:
        said.append("values cannot be compared" if math.isnan(far) else f"values differ by {far:.1e}")
    confidence = float(choice.confidence[row])
    if unit.shape != other.shape:
        said.append(f"shape {list(other.shape)} for {list(unit.shape)}")
        if not far < _NEAR:  # nothing tells the layout, so nothing could be judged
            confidence = min(confidence, ORDER_ALONE)
    if len(unit.occurrences) != len(other.occurrences):
        said.append(f"{len(other.occurrences)} calls for {len(unit.occurrences)}")
    said.append(f"names {evidence.names[row, column]:.2f}")
    said.append(f"content {choice.content[row, column]:.3f}, order {choice.order[row, column]:.3f}")
    return Pair(
        path=unit.path, port=unit.port, call=unit.call, native=other.path, take=other.port, native_call=other.call,
        confidence=confidence, weights=layouts,
        transform=_transform(unit, other, LAYOUTS[evidence.layout[row, column]] if far < _NEAR else None),
        evidence="; ".join(said),
    )  # fmt: skip


def _weights(unit: Unit, other: Unit, *, agree: bool, first: bool) -> tuple[dict[str, str], str]:
    """Return which parameter holds which and in what layout, and the same in words.

    A square matrix that equals the reference's transpose may be stored so or loaded wrong. Values that agree say stored;
    the first ones that do not say wrong; those after them may be inherited, and the parameter is left to a person.
    """
    part = "" if other.part is None else "part{}of{}".format(*other.part)
    found: dict[str, str] = {}
    said: list[str] = []
    for name, wanted in unit.weights.items():
        native, layout = parameter_of(wanted, other.weights, part)
        square = len(set(wanted.shape)) == 1 and len(wanted.shape) > 1
        if native and layout != "identity" and square and not agree:
            said.append(f"{name} equals the {layout}, and the values do not agree")
            found |= {name: native} if first else {}
        elif native:
            found[name] = native if layout == "identity" else f"{native} {layout}"
            said.append(f"{name} {'equal' if layout == 'identity' else f'equal to the {layout}'}")
        elif other.weights:
            native = _by_shape(wanted, name, other)
            found |= {name: native} if native else {}
            said.append(f"{name} differs")
    if unit.weights and not other.weights:
        said.append("no weights on the candidate's side")
    return found, ", ".join(said)


def _by_shape(wanted: WeightDigests, name: str, other: Unit) -> str:
    """Return the candidate's parameter of the same name or else the only one of that size."""
    if name in other.weights:
        return name
    same = [each for each, digests in other.weights.items() if math.prod(digests.shape) == math.prod(wanted.shape)]
    return same[0] if len(same) == 1 else ""


def _transform(unit: Unit, other: Unit, layout: str | None) -> str | None:
    """Return the layout transform from the candidate's output to the reference's: `layout`, else what the shapes say."""
    if other.part is not None:
        return "slice:{}/{}".format(*other.part)
    if layout is not None:
        return layout
    mine, theirs = unit.record.dtype, other.record.dtype
    if unit.shape == other.shape:
        return "integer-width" if mine != theirs and {mine[:3], theirs[:3]} <= {"int", "uin"} else None
    if math.prod(unit.shape) != math.prod(other.shape):
        return None
    if len(other.shape) == _IMAGE and transformed("nchw-to-tokens", other.shape, unit.shape) == unit.shape:
        return "nchw-to-tokens"
    return "tokens-to-nchw" if len(unit.shape) == _IMAGE and len(other.shape) == _IMAGE - 1 else "reshape"


def all_ports(
    units: Sequence[Unit],
    paired: Sequence[Pair],
    theirs: dict[tuple[str, int | None], Unit],
    runs: tuple[RunReader, RunReader] | None,
) -> list[Pair]:
    """Return the pairs of all outputs: the first ones as they are, and what follows from them for the others.

    An output that is the very tensor of another module, in every call, has that module's counterpart (a block hands on
    what its last layer returned). Else it is the candidate's output at the same place, which a person has to confirm.
    """
    holders: dict[tuple[str, ...], int] = {}
    for row, unit in enumerate(units):
        marks = marks_of(unit, unit.port)
        best = holders.get(marks)
        if marks and paired[row].native and (best is None or paired[row].confidence > paired[best].confidence):
            holders[marks] = row
    found = []
    for row, unit in enumerate(units):
        other = theirs.get((paired[row].native, paired[row].native_call))
        for place, port in enumerate(unit.occurrences[0].ports):
            pair = paired[row]
            holder = holders.get(marks_of(unit, port))
            if port == unit.port and (pair.native or holder is None):
                found.append(pair)
            elif holder is not None:
                said = f"the same tensor as {units[holder].path}:{units[holder].port}"
                found.append(
                    msgspec.structs.replace(
                        paired[holder], path=unit.path, port=port, call=unit.call, weights={}, evidence=said
                    )
                )
            elif other is None or place >= len(other.occurrences[0].ports):
                found.append(no_pair(unit, port))
            else:
                found.append(_at_place(unit, other, (port, place), pair, runs))
    return found


def _at_place(
    unit: Unit, other: Unit, at: tuple[str, int], pair: Pair, runs: tuple[RunReader, RunReader] | None
) -> Pair:
    """Return the pair of a further output: the candidate's of the same name or place, as sure as its values agree."""
    port, place = at
    ports = other.occurrences[0].ports
    take = port if port in ports else list(ports)[place]
    mine, theirs = unit.occurrences[0].ports[port].shape, ports[take].shape
    said, confidence = f"output {take} of {pair.native}, shape {list(theirs)} for {list(mine)}", 0.0
    if mine == theirs:
        confidence = min(pair.confidence, ORDER_ALONE)
    if mine == theirs and runs is not None:
        far = distance(fingerprint(runs[0], unit, port), fingerprint(runs[1], other, take))
        said += f", values differ by {far:.1e}"
        confidence = pair.confidence if far < _AGREE else confidence
    return msgspec.structs.replace(
        pair, port=port, take=take, weights={}, transform=None, confidence=confidence, evidence=said
    )
