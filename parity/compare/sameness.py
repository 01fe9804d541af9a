"""Whether both sides are one: said in the first line, since such a match proves nothing of a port."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from parity.compare.references import is_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.result import Pair
    from parity.trace import Trace

__all__ = ["sameness"]


def sameness(reference: Trace, candidates: Sequence[Trace], pairs: Sequence[Pair]) -> str:
    """Say how the sides are the same, or nothing."""
    recordings = list(filter(is_reference, candidates))
    if recordings:
        return _of_recordings(reference, recordings[0])
    if reference.plain:
        are_equal = all(map(_has_equal_values, pairs))
        return "all values that were read are equal" if are_equal else ""
    made = frozenset[str]().union(*map(attrgetter("output_digests"), candidates))
    if frozenset() < made <= reference.output_digests:
        return "all tensors are equal bit for bit, as those of one program are"
    return ""


def _of_recordings(reference: Trace, other: Trace) -> str:
    """Say how two recordings are the same."""
    name = reference.manifest.name
    told = ""
    if other.manifest.name == name:
        told = f"both sides are recordings by {name}, which says that it repeats itself"
    if other.digest == reference.digest:
        told = f"{other.folder} holds the same as {reference.folder}, which says nothing of another program"
    return told


def _has_equal_values(pair: Pair) -> bool:
    """Tell whether both sides of a pair have the same values in the same type."""
    distances = {pair.outside, pair.max_abs, 0, None}
    return (pair.verdict, distances, "mixed-dtype" in pair.flags) == ("MATCH", {0, None}, False)
