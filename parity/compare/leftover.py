"""What lies under the sides of a comparison and was not read.

It is named, and keeps the whole from a match: nobody knows what is in it. Two kinds of it are settled all the same. A file
that both sides have byte for byte, such as a configuration beside weights, cannot make a difference; and a case may exclude
one, with its reason, by a pattern on its name.
"""

from __future__ import annotations

from itertools import filterfalse
from typing import TYPE_CHECKING, Final, NamedTuple

from parity.trace.equal import unread_and_equal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.compare.plan import Excludes
    from parity.trace import Trace

__all__ = ["LeftOver", "left_over"]

_NAMED: Final = 3


class LeftOver(NamedTuple):
    """What was not read, by its path -> why; and sentences about how the rest was."""

    unread: dict[str, str]
    notes: list[str]


def left_over(reference: Trace, candidates: Sequence[Trace], excludes: Excludes) -> LeftOver:
    """Return what was read of neither side, or of one of them."""
    equal = dict.fromkeys(unread_and_equal(reference, candidates))
    unread: dict[str, str] = {}
    notes: list[str] = []
    for trace in (reference, *candidates):
        unsettled = filterfalse(equal.__contains__, trace.unread)
        for name in filterfalse(excludes.reason, unsettled):
            unread[f"{trace.folder}/{name}"] = trace.unread[name]
        notes += map(f"{trace.folder}: ".__add__, trace.notes)
    if equal:
        first = ", ".join(list(equal)[:_NAMED])
        notes.append(f"not read, but equal byte for byte on all sides: {len(equal)}, such as {first}")
    return LeftOver(unread, notes)
