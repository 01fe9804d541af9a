"""From two traces to a proposed mapping: every output of the reference with its most likely counterpart.

Units (`units`) of both sides are weighed against each other (`likeness`), each of the reference is given one of the
candidate or none (`confidence`), and what was chosen is written down output by output (`counterparts`).
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from parity.address import is_input, place_of
from parity.errors import TraceError
from parity.mapping.confidence import choose
from parity.mapping.counterparts import Chosen, all_outputs
from parity.mapping.likeness import weigh
from parity.mapping.table import Mapping
from parity.mapping.units import fingerprints, no_run, owners, units_of, with_parts

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from parity.choices import RunMode
    from parity.mapping.table import Counterpart
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
    mine = units_of(reference, runs[0])
    theirs = with_parts(mine, units_of(candidate, runs[1]))
    prints = values_of = None
    if values:
        prints = fingerprints(runs[0], mine), fingerprints(runs[1], theirs)
        values_of = runs
    likeness = weigh(mine, theirs, prints, names=names)
    chosen = Chosen(
        mine=mine,
        theirs=theirs,
        likeness=likeness,
        choice=choose(likeness, mine, theirs),
        runs=values_of,
    )
    found = all_outputs(chosen)
    return Mapping(
        counterparts=found,
        not_compared=_reasons(reference, mine, runs[0], found),
        candidate_only=_unused(theirs, found),
    )


def _runs(reference: Trace, candidate: Trace) -> tuple[RunReader, RunReader]:
    """Return the runs to align: the candidate's first free one and the reference's of the same type.

    Raises:
        TraceError: there are none, or the candidate's trace is mapped already.
    """
    if candidate.manifest.alignment is not None:
        message = f"{candidate.folder} has an alignment table already and is under the reference's names; record it under its own (docs/mapping.md)"
        raise TraceError(message)
    free = _some_runs(candidate, "free run", "free", "run")
    whole = _some_runs(reference, "run of the whole model", "run")
    by_type = {run.info.dtype: run for run in reversed(whole)}  # of several of one type, the first
    theirs = next((run for run in free if run.info.dtype in by_type), free[0])
    return by_type.get(theirs.info.dtype, whole[0]), theirs


def _some_runs(trace: Trace, kind: str, *modes: RunMode) -> list[RunReader]:
    """Return the runs of some modes, which a message calls `kind`.

    Raises:
        TraceError: there is none.
    """
    runs = trace.in_modes(*modes)
    if not runs:
        raise TraceError(no_run(trace, kind))
    return runs


def _unused(units: Iterable[Unit], found: Iterable[Counterpart]) -> list[str]:
    """Return the candidate's paths that stand for nothing in the reference, each once."""
    used = {(each.native, each.native_call) for each in found}
    left = [unit.path for unit in units if (unit.path, unit.call) not in used]
    return list(dict.fromkeys(left))


def _reasons(reference: Trace, units: Sequence[Unit], run: RunReader, found: Sequence[Counterpart]) -> dict[str, str]:
    """Return the reasons for not comparing that the reference's trace itself gives.

    An owner of parameters that no call was recorded of was never called; a module without parameters and without a
    counterpart that returns its input is an identity.
    """
    owned = owners(reference)
    called = {unit.path for unit in units}
    paired = {each.path for each in found if each.native}
    may_hand_on = reference.manifest.modules.keys() - owned.keys() - paired
    given = {(place_of(record.address), record.digest) for record in run.records if is_input(record.address)}
    reasons = {path: "never called" for path in owned if path not in called}
    for unit in units:
        if unit.path in may_hand_on and _is_identity(unit, given):
            reasons[unit.path] = "identity"
    return reasons


def _is_identity(unit: Unit, given: Container[tuple[str, str]]) -> bool:
    """Tell whether every call returned an input as it was; `given` has place and digest of all inputs."""
    returned = chain.from_iterable(each.ports.values() for each in unit.occurrences)
    return all((place_of(record.address), record.digest) in given for record in returned)
