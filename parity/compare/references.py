"""Two references of the same weights side by side, for example diffusers and Stability-AI's package.

The second one takes the candidate's place. Only whole runs are compared, since it was replayed from nothing; modules
and functions that only one of them has, or calls at other places of the run, have no counterpart. Case and weights
may be in other files, and the audit of the weights tells whether they are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.address import is_output, path_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.compare.plan import Job
    from parity.trace import RunReader, Trace

__all__ = ["is_reference", "of_outputs", "prepare", "runs_of"]


def is_reference(trace: Trace) -> bool:
    """Tell whether a trace in the candidate's place is a recording and no replay."""
    return not trace.plain and trace.manifest.side == "reference"


def runs_of(trace: Trace) -> Sequence[RunReader]:
    """Return the runs that are compared: all of a replay, the whole runs of a recording."""
    return trace.in_modes("run") if is_reference(trace) else trace.readers


def prepare(reference: Trace, other: Trace) -> None:
    """List the paths of two recordings that have no counterpart, as the second one's reason for not comparing them."""
    mine, theirs = _outputs(reference), _outputs(other)
    recorded = dict.fromkeys(map(path_of, mine | theirs))
    # A path that both have, but that one of them calls at other places of the run, is no counterpart either.
    one_sided = set(map(path_of, mine.keys() ^ theirs.keys()))
    lonely = filter(one_sided.__contains__, recorded)
    owners = map(path_of, (*reference.manifest.weights, *other.manifest.weights))
    never_called = sorted(set(owners) - recorded.keys())
    other.manifest.not_compared = dict.fromkeys((*lonely, *never_called), "no counterpart")


def of_outputs(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs of outputs: what a module is handed may have another form in another program."""
    return [job for job in jobs if is_output(job.address)]


def _outputs(trace: Trace) -> dict[str, None]:
    """Return the output addresses of the trace's whole runs, each once, in order of completion."""
    found: dict[str, None] = {}
    for run in trace.in_modes("run"):
        found |= dict.fromkeys(run.output_tensors)
    return found
