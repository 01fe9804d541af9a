"""Two references of the same weights side by side, for example diffusers and Stability-AI's package.

The second one takes the candidate's place. Only whole runs are compared, since it was replayed from nothing; modules
and functions that only one of them has, or calls at other places of the run, have no counterpart. Case and weights
may be in other files, and the audit of the weights tells whether they are the same.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from parity.address import is_output, path_of

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
    return _whole_runs(trace) if is_reference(trace) else list(trace.runs)


def prepare(reference: Trace, other: Trace) -> None:
    """List the paths of two recordings that have no counterpart, as the second one's reason for not comparing them."""
    mine, theirs = _outputs(reference), _outputs(other)
    lonely = [path for path in (*mine, *theirs) if mine.get(path) != theirs.get(path)]
    owners = {path_of(address) for side in (reference, other) for address in side.manifest.weights}
    unseen = owners - (mine.keys() & theirs.keys())
    other.manifest.not_compared = dict.fromkeys((*lonely, *unseen), "no counterpart")


def of_outputs(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs of outputs: what a module is handed may have another form in another program."""
    return [job for job in jobs if is_output(job.address)]


def _whole_runs(trace: Trace) -> list[str]:
    """Return the runs of a recording that are not made of another one's inputs."""
    return [name for name in trace.runs if trace.run(name).info.mode == "run"]


def _outputs(trace: Trace) -> dict[str, set[str]]:
    """Return path -> the output addresses of the trace's whole runs."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name in _whole_runs(trace):
        for record in trace.run(name).records:
            if record.kind == "tensor" and is_output(record.address):
                found[path_of(record.address)].add(record.address)
    return found
