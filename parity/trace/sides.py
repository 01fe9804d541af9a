"""Which of some traces is the reference's, and whether any two are one: what cannot be compared is refused by this."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from parity.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.trace.reader import Trace

__all__ = ["check_reference", "check_sides"]


def check_sides(reference: Trace, candidates: Sequence[Trace], command: str = "compare") -> None:
    """Refuse one trace in two places, and a reference in a candidate's.

    Args:
        reference: What is given as the reference.
        candidates: What is given after it.
        command: The command that was asked for, which the message gives in the right order.

    Raises:
        TraceError: two are one folder or file, or the first is the trace of a candidate.
    """
    given = [reference, *candidates]
    for pair in combinations(given, 2):
        _check_apart(*pair)
    if not _is_of_candidate(reference):
        return
    recordings = [str(trace.folder) for trace in candidates if trace.manifest.side == "reference" and not trace.plain]
    first, *_ = (*recordings, "REFERENCE")
    others = [str(trace.folder) for trace in given if str(trace.folder) != first]
    message = (
        f"{reference.folder} is the trace of a candidate, and the reference's comes first; "
        f"`parity {command} {first} {' '.join(others)}`"
    )
    raise TraceError(message)


def _check_apart(trace: Trace, other: Trace) -> None:
    """Refuse two names of one folder or file.

    Raises:
        TraceError: they are.
    """
    first, second = trace.folder, other.folder
    try:
        is_same = first.samefile(second)
    except OSError:
        return  # it was there when it was opened; whoever reads it next says what is wrong
    if is_same:
        both = f"{first} is given twice" if first == second else f"{first} and {second} are the same"
        message = f"{both}; what is compared with itself matches whatever is wrong with it, give the other side"
        raise TraceError(message)


def check_reference(trace: Trace, command: str) -> None:
    """Refuse the trace of a candidate where a reference's is wanted.

    Raises:
        TraceError: it is.
    """
    if _is_of_candidate(trace):
        message = f"{trace.folder} is the trace of a candidate; `parity {command}` takes the reference's, which it was replayed from"
        raise TraceError(message)


def _is_of_candidate(trace: Trace) -> bool:
    """Tell whether a trace was replayed by a candidate, as its manifest says."""
    return not trace.plain and trace.manifest.side == "candidate"
