"""Two references of the same weights side by side, for example diffusers and Stability-AI's package.

The second one takes the candidate's place. Only whole runs are compared, since it was replayed from nothing; modules
and functions that only one of them has, or calls at other places of the run, have no counterpart. Case and weights
may be in other files, and the audit of the weights tells whether they are the same.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from parity.address import Address
from parity.compare.plan import port_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.compare.plan import Job
    from parity.trace import Trace

__all__ = ["is_reference", "of_outputs", "prepare", "runs_of"]


def is_reference(trace: Trace) -> bool:
    """Tell whether a trace in the candidate's place is a recording and no replay."""
    return not trace.plain and trace.manifest.side == "reference"


def runs_of(trace: Trace) -> list[str]:
    """Return the runs that are compared: all of a replay, the whole runs of a recording."""
    names = list(trace.runs)
    return [name for name in names if trace.run(name).info.mode == "run"] if is_reference(trace) else names


def prepare(reference: Trace, other: Trace) -> None:
    """List the paths of two recordings that have no counterpart, as the second one's reason for not comparing them."""
    mine, theirs = _outputs(reference), _outputs(other)
    paths = [path for path in (*mine, *theirs) if mine.get(path) != theirs.get(path)]
    owners = {address.partition(":")[0] for side in (reference, other) for address in side.manifest.weights}
    unseen = [owner for owner in owners if owner not in mine or owner not in theirs]
    other.manifest.not_compared = dict.fromkeys((*paths, *unseen), "no counterpart")


def of_outputs(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs of outputs: what a module is handed may have another form in another program."""
    return [job for job in jobs if port_of(job.address).startswith("output")]


def _outputs(trace: Trace) -> dict[str, frozenset[str]]:
    """Return path -> the output addresses of the trace's whole runs."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in trace.runs:
        if trace.run(name).info.mode == "run":
            for record in trace.run(name).records:
                address = Address.parse(record.address)
                if record.kind == "tensor" and address.port.startswith("output"):
                    found[address.path].add(record.address)
    return {path: frozenset(addresses) for path, addresses in found.items()}
