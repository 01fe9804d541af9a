"""How much of the reference was compared, and why the rest was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.address import pattern
from parity.compare.plan import path_of, port_of
from parity.result import Coverage

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence

    from parity.result import Pair
    from parity.trace import Trace

__all__ = ["coverage_of", "owner_of"]


def owner_of(parameter: str) -> str:
    """Return the module that owns a parameter, named `PATH:weight` or `PATH.weight`."""
    return parameter.rpartition(":" if ":" in parameter else ".")[0]


def coverage_of(
    reference: Trace, candidates: Sequence[Trace], pairs: Sequence[Pair], excluded: Mapping[str, str]
) -> Coverage:
    """Count paths and parameter owners with and without a pair; a partial replay answers for what it was asked."""
    addresses = [
        record.address
        for name in reference.runs
        for record in reference.run(name).records
        if port_of(record.address).startswith("output")
    ]
    asked = _asked(candidates)
    if asked is not None:
        addresses = [address for address in addresses if any(expression.fullmatch(address) for expression in asked)]
    paths = dict.fromkeys(path_of(address) for address in addresses)
    owners = dict.fromkeys(owner_of(name) for name in reference.manifest.weights)
    if asked is not None:
        owners = {owner: None for owner in owners if owner in paths}
    compared = {
        path_of(pair.address)
        for pair in pairs
        if pair.mode != "audit"
        and pair.verdict not in {"MISSING", "UNEXPECTED"}
        and port_of(pair.address).startswith("output")
    }
    reasons = _reasons(candidates, excluded, paths)
    return Coverage(
        paths=len(paths), compared=sum(path in compared for path in paths),
        parameter_owners=len(owners), parameter_owners_compared=sum(owner in compared for owner in owners),
        not_compared={path: reason for path, reason in reasons.items() if path not in compared},
        unexplained=[path for path in paths | owners if path not in compared and path not in reasons],
        pairs=sum(pair.mode != "audit" for pair in pairs), excluded=dict(excluded),
    )  # fmt: skip


def _asked(candidates: Sequence[Trace]) -> list[re.Pattern[str]] | None:
    """Return the patterns of partial replays, or None when some run is a whole one."""
    only = [trace.run(name).info.only for trace in candidates for name in trace.runs]
    return None if None in only or not only else [pattern(text) for text in only if text is not None]


def _reasons(candidates: Sequence[Trace], excluded: Mapping[str, str], paths: Mapping[str, None]) -> dict[str, str]:
    """Return the candidates' and the case's reasons by path."""
    reasons: dict[str, str] = {}
    for trace in candidates:
        reasons |= trace.manifest.not_compared
    for address, reason in excluded.items():
        if path_of(address) in paths:
            reasons.setdefault(path_of(address), reason)
    return reasons
