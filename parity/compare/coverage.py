"""How much of the reference was compared, and why the rest was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.address import is_output, path_of, pattern
from parity.audit import weight_address
from parity.result import Coverage

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence

    from parity.result import Pair
    from parity.trace import Trace

__all__ = ["coverage_of"]


def coverage_of(
    reference: Trace, candidates: Sequence[Trace], pairs: Sequence[Pair], excluded: Mapping[str, str]
) -> Coverage:
    """Count paths and parameter owners with and without a pair; a partial replay answers for what it was asked."""
    asked = _asked(candidates)
    outputs = _outputs(reference)
    owners = dict.fromkeys(map(path_of, map(weight_address, reference.manifest.weights)))
    if asked is not None:
        outputs = [address for address in outputs if any(only.fullmatch(address) for only in asked)]
        owners = dict.fromkeys(filter(set(map(path_of, outputs)).__contains__, owners))
    paths = dict.fromkeys(map(path_of, outputs))
    measured = [pair for pair in pairs if pair.mode != "audit"]
    compared = {path_of(pair.address) for pair in measured if _is_compared(pair)}
    reasons = _reasons(candidates, excluded, paths)
    explained = compared | reasons.keys()
    return Coverage(
        paths=len(paths),
        compared=len(paths.keys() & compared),
        parameter_owners=len(owners),
        parameter_owners_compared=len(owners.keys() & compared),
        not_compared={path: reason for path, reason in reasons.items() if path not in compared},
        unexplained=[path for path in paths | owners if path not in explained],
        pairs=len(measured),
        excluded=dict(excluded),
    )


def _outputs(reference: Trace) -> list[str]:
    """Return the addresses of the reference's outputs."""
    found: list[str] = []
    for name in reference.runs:
        addresses = (record.address for record in reference.run(name).records)
        found += filter(is_output, addresses)
    return found


def _is_compared(pair: Pair) -> bool:
    """Tell whether a pair is of an output that both sides have."""
    return pair.verdict not in {"MISSING", "UNEXPECTED"} and is_output(pair.address)


def _asked(candidates: Sequence[Trace]) -> list[re.Pattern[str]] | None:
    """Return the patterns of partial replays, or None when some run is a whole one."""
    found: list[re.Pattern[str]] = []
    for trace in candidates:
        for name in trace.runs:
            only = trace.run(name).info.only
            if only is None:
                return None
            found.append(pattern(only))
    return found or None


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
