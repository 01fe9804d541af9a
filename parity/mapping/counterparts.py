"""What a proposal says of each output, as a person reads it: layout, parameters, and what speaks for it in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from parity.align import transformed
from parity.mapping.confidence import ORDER_ALONE
from parity.mapping.likeness import distance, parameter_of
from parity.mapping.table import Counterpart
from parity.mapping.units import LAYOUTS, WHOLE, are_integers, fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.mapping.confidence import Choice
    from parity.mapping.likeness import Likeness
    from parity.mapping.units import Unit
    from parity.trace import RunReader, WeightDigests

__all__ = ["Chosen", "all_outputs", "first_outputs"]

_NEAR: Final = 0.5
_AGREE: Final = 1e-2

_TURNED: Final = {(4, 3): "nchw-to-tokens", (3, 4): "tokens-to-nchw"}
"""Numbers of axes, the candidate's and the reference's -> the layout that such an output may be in."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Both sides' units, which of them belong together, and why.

    Attributes:
        mine: The units of the reference, the rows of the matrices.
        theirs: Those of the candidate, the columns.
        likeness: What speaks for each pair of them.
        choice: Which were chosen.
        runs: Both sides' runs; None where values do not count.
    """

    mine: Sequence[Unit]
    theirs: Sequence[Unit]
    likeness: Likeness
    choice: Choice
    runs: tuple[RunReader, RunReader] | None

    def are_near(self, row: int, column: int) -> bool:
        """Tell whether the values of two units agree at least so far that a layout is seen; never where none tell."""
        return bool(self.likeness.distance[row, column] < _NEAR)

    def layout(self, row: int, column: int) -> str | None:
        """Return the layout in which the values of two units agree; None as they lie, or where none is seen."""
        if not self.are_near(row, column):
            return None
        return LAYOUTS[self.likeness.layout[row, column]]


def without(unit: Unit, port: str) -> Counterpart:
    """Return what is said of an output that has no counterpart."""
    return Counterpart(
        path=unit.path,
        port=port,
        call=unit.call,
        native="",
        confidence=0.0,
        evidence="no counterpart was found",
    )


def first_outputs(chosen: Chosen) -> list[Counterpart]:
    """Return the proposed counterpart of each unit's first output with what speaks for it."""
    apart = [row for row, column in chosen.choice.columns.items() if not chosen.are_near(row, column)]
    first_apart = min(apart, default=None)
    found = []
    for row, unit in enumerate(chosen.mine):
        if row in chosen.choice.columns:
            found.append(_first_output(chosen, row, is_first_apart=row == first_apart))
        else:
            found.append(without(unit, unit.port))
    return found


def _first_output(chosen: Chosen, row: int, *, is_first_apart: bool) -> Counterpart:
    """Return one unit's counterpart; the first in the order whose values do not agree is told so."""
    column = chosen.choice.columns[row]
    unit, other = chosen.mine[row], chosen.theirs[column]
    likeness, choice, near = chosen.likeness, chosen.choice, chosen.are_near(row, column)
    weights = _weights(unit, other, agree=near, first=is_first_apart)
    confidence = float(choice.confidence[row])
    said = [weights.said]
    if chosen.runs is not None:
        said.append(_apart(float(likeness.distance[row, column])))
    if unit.shape != other.shape:
        said.append(f"shape {list(other.shape)} for {list(unit.shape)}")
        if not near:  # nothing tells the layout, so nothing could be judged
            confidence = min(confidence, ORDER_ALONE)
    if len(unit.occurrences) != len(other.occurrences):
        said.append(f"{len(other.occurrences)} calls for {len(unit.occurrences)}")
    said.append(f"names {likeness.names[row, column]:.2f}")
    said.append(f"content {choice.content[row, column]:.3f}, order {choice.order[row, column]:.3f}")
    return Counterpart(
        path=unit.path,
        port=unit.port,
        call=unit.call,
        native=other.path,
        take=other.port,
        native_call=other.call,
        confidence=confidence,
        weights=weights.held_by,
        transform=_transform(unit, other, chosen.layout(row, column)),
        evidence="; ".join(filter(None, said)),
    )


def _apart(far: float) -> str:
    """Return a distance of values in words."""
    if math.isnan(far):
        return "values cannot be compared"
    return f"values differ by {far:.1e}"


class _Weights(NamedTuple):
    """The reference's parameter -> the candidate's, followed by its layout where it is another one; and in words."""

    held_by: dict[str, str]
    said: str


def _weights(unit: Unit, other: Unit, *, agree: bool, first: bool) -> _Weights:
    """Return which parameter holds which and in what layout.

    A square matrix that equals the reference's transpose may be stored so or loaded wrong. Values that agree say stored;
    the first ones that do not say wrong; those after them may be inherited, and the parameter is left to a person.
    """
    if unit.weights and not other.weights:
        return _Weights({}, "no weights on the candidate's side")
    held_by: dict[str, str] = {}
    said: list[str] = []
    for name, wanted in unit.weights.items():
        native, layout = parameter_of(wanted, other.weights, other.part.layout)
        if not native:
            native = _by_shape(wanted, name, other)
            said.append(f"{name} differs")
        elif layout == "identity":
            said.append(f"{name} equal")
        elif agree or not _is_square(wanted):
            native = f"{native} {layout}"
            said.append(f"{name} equal to the {layout}")
        else:
            native = native if first else ""
            said.append(f"{name} equals the {layout}, and the values do not agree")
        if native:
            held_by[name] = native
    return _Weights(held_by, ", ".join(said))


def _is_square(parameter: WeightDigests) -> bool:
    """Tell whether a parameter keeps its shape whichever way it is turned."""
    return len(parameter.shape) > 1 and len(set(parameter.shape)) == 1


def _by_shape(wanted: WeightDigests, name: str, other: Unit) -> str:
    """Return the candidate's parameter of the same name or else the only one of that size."""
    if name in other.weights:
        return name
    size = math.prod(wanted.shape)
    same_size = [each for each, digests in other.weights.items() if math.prod(digests.shape) == size]
    if len(same_size) == 1:
        return same_size[0]
    return ""


def _transform(unit: Unit, other: Unit, layout: str | None) -> str | None:
    """Return the layout transform from the candidate's output to the reference's: `layout`, else what the shapes say."""
    if other.part is not WHOLE:
        return other.part.transform
    if layout is not None:
        return layout
    if unit.shape == other.shape:
        return _other_width(unit.record.dtype, other.record.dtype)
    if math.prod(unit.shape) != math.prod(other.shape):
        return None
    turned = _TURNED.get((len(other.shape), len(unit.shape)))
    if turned is not None and transformed(turned, other.shape, unit.shape) == unit.shape:
        return turned
    return "reshape"


def _other_width(mine: str, theirs: str) -> str | None:
    """Return the transform between two types in one shape: only that of integers is a matter of layout."""
    if mine != theirs and are_integers(mine, theirs):
        return "integer-width"
    return None


def all_outputs(chosen: Chosen) -> list[Counterpart]:
    """Return the counterparts of all outputs: the first ones as proposed, and what follows from them for the others.

    An output that is the very tensor of another module, in every call, has that module's counterpart (a block hands on
    what its last layer returned). Else it is the candidate's output at the same place, which a person has to confirm.
    """
    firsts = first_outputs(chosen)
    holders = _holders(chosen.mine, firsts)
    units = {(unit.path, unit.call): unit for unit in chosen.theirs if unit.part is WHOLE}
    found = []
    for unit, first in zip(chosen.mine, firsts, strict=True):
        other = units.get((first.native, first.native_call))
        for port in unit.ports:
            holder = holders.get(unit.marks(port))
            if port == unit.port and first.native:
                found.append(first)
            elif holder is not None:
                found.append(_handed_on(unit, port, holder))
            elif other is not None:
                found.append(_at_place(chosen, unit, port, first, other))
            else:
                found.append(without(unit, port))
    return found


def _holders(units: Sequence[Unit], firsts: Sequence[Counterpart]) -> dict[tuple[str, ...], Counterpart]:
    """Return the digests of an output in all calls -> its surest counterpart."""
    found: dict[tuple[str, ...], Counterpart] = {}
    surest_first = sorted(zip(units, firsts, strict=True), key=lambda told: -told[1].confidence)
    for unit, first in surest_first:
        if first.native:
            found.setdefault(unit.marks(unit.port), first)
    found.pop((), None)  # of whose digests nothing is known, nothing is the same tensor
    return found


def _handed_on(unit: Unit, port: str, holder: Counterpart) -> Counterpart:
    """Return the counterpart of an output that is the tensor of another output."""
    return msgspec.structs.replace(
        holder,
        path=unit.path,
        port=port,
        call=unit.call,
        weights={},
        evidence=f"the same tensor as {holder.output}",
    )


def _at_place(chosen: Chosen, unit: Unit, port: str, first: Counterpart, other: Unit) -> Counterpart:
    """Return the counterpart of a further output: the candidate's of the same name or place, as sure as values agree."""
    take = dict(zip(unit.ports, other.ports, strict=False)).get(port)
    if take is None:
        return without(unit, port)
    if port in other.ports:
        take = port
    mine, theirs = unit.ports[port].shape, other.ports[take].shape
    said = f"output {take} of {first.native}, shape {list(theirs)} for {list(mine)}"
    confidence = 0.0
    if mine == theirs:
        confidence = min(first.confidence, ORDER_ALONE)
        if chosen.runs is not None:
            sample = fingerprint(chosen.runs[0], unit, port)
            taken = fingerprint(chosen.runs[1], other, take)
            far = distance(sample, taken)
            said += f", values differ by {far:.1e}"
            if far < _AGREE:
                confidence = first.confidence
    return msgspec.structs.replace(
        first,
        port=port,
        take=take,
        weights={},
        transform=None,
        confidence=confidence,
        evidence=said,
    )
