"""From two traces to a proposed mapping: every output of the reference with its most likely counterpart.

Units (`units`) of both sides are weighed against each other (`evidence`), each of the reference is given one of the
candidate or none (`confidence`), and what was chosen is written down as pairs (`pairs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.errors import TraceError
from parity.mapping.confidence import choose
from parity.mapping.evidence import weigh
from parity.mapping.pairs import all_ports, first_pairs
from parity.mapping.table import Mapping
from parity.mapping.units import fingerprints, owners, units_of, with_parts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.mapping.table import Pair
    from parity.mapping.units import Unit
    from parity.trace import RunReader, Trace

__all__ = ["propose"]


def propose(reference: Trace, candidate: Trace, *, values: bool = True, names: bool = True) -> Mapping:
    """Return a mapping of the reference's modules and functions to a candidate's under native names.

    Args:
        reference: The recorded reference.
        candidate: A trace whose addresses are the candidate's own paths.
        values: Whether the tensors may be read; without them weights, shapes, order and names remain.
        names: Whether names count.

    Raises:
        TraceError: the traces have no runs that correspond, or the candidate's has an alignment already.
    """
    runs = _runs(reference, candidate)
    mine, theirs = units_of(reference, runs[0]), units_of(candidate, runs[1])
    theirs = with_parts(mine, theirs)
    prints = (fingerprints(runs[0], mine), fingerprints(runs[1], theirs)) if values else None
    evidence = weigh(mine, theirs, prints, names=names)
    choice = choose(evidence, mine, theirs)
    paired = first_pairs(choice, evidence, (mine, theirs), values=values)
    whole = {(unit.path, unit.call): unit for unit in theirs if unit.part is None}
    found = all_ports(mine, paired, whole, runs if values else None)
    used = {(pair.native, pair.native_call) for pair in found}
    left = dict.fromkeys(unit.path for unit in theirs if (unit.path, unit.call) not in used)
    return Mapping(pairs=found, not_compared=_reasons(reference, mine, runs[0], found), candidate_only=list(left))


def _runs(reference: Trace, candidate: Trace) -> tuple[RunReader, RunReader]:
    """Return the runs to align: the candidate's first free one and the reference's of the same type.

    Raises:
        TraceError: there are none, or the candidate's trace is mapped already.
    """
    if candidate.manifest.alignment is not None:
        message = f"{candidate.folder} has an alignment table already and is under the reference's names; record it under its own (docs/mapping.md)"
        raise TraceError(message)
    free = [candidate.run(name) for name in candidate.runs if candidate.run(name).info.mode in {"free", "run"}]
    if not free:
        message = f"{candidate.folder} has no free run; its runs are {', '.join(candidate.runs) or 'none'}"
        raise TraceError(message)
    whole = [reference.run(name) for name in reference.runs if reference.run(name).info.mode == "run"]
    if not whole:
        message = (
            f"{reference.folder} has no run of the whole model; its runs are {', '.join(reference.runs) or 'none'}"
        )
        raise TraceError(message)
    same = [(mine, other) for other in free for mine in whole if mine.info.dtype == other.info.dtype]
    return same[0] if same else (whole[0], free[0])


def _reasons(reference: Trace, units: Iterable[Unit], run: RunReader, pairs: Iterable[Pair]) -> dict[str, str]:
    """Return the reasons for not comparing that the reference's trace itself gives.

    An owner of parameters that no call was recorded of was never called; a module without parameters and without a
    counterpart that returns its input is an identity.
    """
    units = list(units)
    called = {unit.path for unit in units}
    reasons = {path: "never called" for path in owners(reference) if path not in called}
    unpaired = {pair.path for pair in pairs} - {pair.path for pair in pairs if pair.native}
    for unit in units:
        if unit.path in unpaired and not unit.weights and unit.path in reference.manifest.modules:
            reasons |= {unit.path: "identity"} if _is_identity(unit, run) else {}
    return reasons


def _is_identity(unit: Unit, run: RunReader) -> bool:
    """Tell whether every call returned an input as it was."""
    marks = {record.address: record.digest for record in run.records if record.address.startswith(unit.path)}
    for each in unit.occurrences:
        for record in each.ports.values():
            stem = record.address.rpartition(":")[0] + ":input"
            if record.digest not in {mark for address, mark in marks.items() if address.startswith(stem)}:
                return False
    return True
