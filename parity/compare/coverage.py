"""How much of the reference was compared, and why the rest was not."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from parity.address import is_output, path_of, pattern
from parity.audit import weight_address
from parity.compare.leftover import left_over
from parity.result import Coverage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from parity.compare.plan import Excludes
    from parity.result import Pair
    from parity.trace import Trace

__all__ = ["coverage_of"]

_ONE_SIDED: Final = frozenset({"MISSING", "UNEXPECTED"})


def coverage_of(reference: Trace, candidates: Sequence[Trace], pairs: Sequence[Pair], excludes: Excludes) -> Coverage:
    """Count paths and parameter owners with and without a pair; a partial replay answers for what it was asked."""
    asked = _asked(candidates)
    outputs = _outputs(reference)
    owners = dict.fromkeys(map(path_of, map(weight_address, reference.manifest.weights)))
    if asked:
        outputs = _matching(outputs, asked)
        reached = set(map(path_of, outputs))
        owners = dict.fromkeys(filter(reached.__contains__, owners))
    paths = dict.fromkeys(map(path_of, outputs))
    measured = [pair for pair in pairs if pair.mode != "audit"]
    on_both_sides = [pair.address for pair in measured if pair.verdict not in _ONE_SIDED]
    compared = set(map(path_of, filter(is_output, on_both_sides)))
    rest = left_over(reference, candidates, excludes)
    reasons = _reasons(candidates, excludes.found, paths)
    explained = compared | reasons.keys()
    return Coverage(
        paths=len(paths),
        compared=len(paths.keys() & compared),
        parameter_owners=len(owners),
        parameter_owners_compared=len(owners.keys() & compared),
        not_compared={path: reason for path, reason in reasons.items() if path not in compared},
        unexplained=[path for path in paths | owners if path not in explained],
        pairs=len(measured),
        excluded=dict(excludes.found),
        unread=rest.unread,
        notes=rest.notes,
    )


def _outputs(reference: Trace) -> list[str]:
    """Return the addresses of the reference's outputs."""
    found: list[str] = []
    for run in reference.readers:
        found += filter(is_output, run)
    return found


def _asked(candidates: Sequence[Trace]) -> set[str | tuple[str, ...]]:
    """Return the patterns of partial replays; none where some run is a whole one."""
    found: set[str | tuple[str, ...]] = set()
    for run in chain.from_iterable(trace.readers for trace in candidates):
        if run.info.only is None:
            return set()
        found.add(run.info.only)
    return found


def _matching(addresses: Sequence[str], patterns: Iterable[str | tuple[str, ...]]) -> list[str]:
    """Return the addresses that one of the patterns matches, in their order."""
    matched: set[str] = set()
    for text in patterns:
        matched.update(filter(pattern(text).matches, addresses))
    return list(filter(matched.__contains__, addresses))


def _reasons(candidates: Sequence[Trace], excluded: Mapping[str, str], paths: Mapping[str, None]) -> dict[str, str]:
    """Return the candidates' and the case's reasons by path."""
    reasons: dict[str, str] = {}
    for trace in candidates:
        reasons |= trace.manifest.not_compared
    for address, reason in excluded.items():
        path = path_of(address)
        if path in paths:
            reasons.setdefault(path, reason)
    return reasons
