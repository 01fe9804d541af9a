"""The command that proposes a mapping for a candidate without an alignment table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from parity.cli.progress import bar, say

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["propose"]

_SHOWN = 5


def propose(trace: Path, candidate: Path, *, out: Path | None, values: bool, names: bool) -> int:
    """Write the proposed mapping; return 0 if every pair of a parameter owner is above the threshold, else 1."""
    from parity import mapping as mappings
    from parity.mapping.units import owners
    from parity.trace import Trace

    with bar("map"):
        reference = Trace.open(trace)
        proposal = mappings.propose(reference, Trace.open(candidate), values=values, names=names)
    text = mappings.encode(proposal, f"Proposed by: parity map {trace} {candidate}")
    if out is None:
        sys.stdout.write(text)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
        say(f"wrote {out}")
    doubtful = [pair for pair in proposal.pairs if not proposal.judged(pair) and pair.path not in proposal.not_compared]
    say(
        f"{len(proposal.pairs)} outputs: {sum(map(proposal.judged, proposal.pairs))} pairs from {proposal.threshold:g} up, "
        f"{sum(bool(pair.native) for pair in doubtful)} below, {sum(not pair.native for pair in doubtful)} without a counterpart"
    )
    for pair in doubtful[:_SHOWN]:
        say(f"not judged as it stands: {pair.path}:{pair.port} -> {pair.native or 'nothing'} ({pair.confidence:g})")
    owned = owners(reference)
    return int(any(pair.path in owned for pair in doubtful))
