"""What the command line does for a candidate without an alignment table: record it natively, propose a mapping."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from parity import disk, points
from parity.cli.progress import bar, say
from parity.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from parity.cli.options import Replaying

__all__ = ["native", "propose"]

_SHOWN = 5


def native(trace: Path, out: Path, asked: Replaying) -> None:
    """Run a candidate freely in one type and write every cell's outputs under its own name.

    Raises:
        InputError: several types were asked for, the candidate's system is not made of cells, or it is to be resumed.
    """
    from parity import replay as replayer
    from parity.cli.options import types
    from parity.trace import Trace, place
    from parity.trace.sides import check_reference

    if asked.resume:
        message = "--native writes one run, which cannot be resumed; leave --resume out"
        raise InputError(message)
    reference = Trace.open(trace)
    check_reference(reference, "replay --native")
    chosen = types(asked.dtype) or (reference.manifest.working,)
    if len(chosen) != 1:
        message = f"--native writes a trace of one type and {', '.join(chosen)} were asked for; write one for each"
        raise InputError(message)
    (dtype,) = chosen
    options = replayer.Options(device=asked.device, weights=asked.weights, source=asked.source)
    with place(out), bar("replay") as progress, points.guarded_adapter("candidate", asked.candidate):
        progress(f"load {dtype}", 0, 1)
        side = replayer.find(asked.candidate)
        system = side.build(replayer.request_of(reference, trace, out, options, dtype))
        cells = getattr(system, "cells", None)
        if not cells:
            message = f"{asked.candidate} is not made of cells; --native needs a system with `cells`, path -> cell"
            raise InputError(message)
        from parity.frameworks.mindspore_native_ import record_cell

        progress(f"free {dtype}", 0, 1)
        with record_cell(cells, out, reference=reference, dtype=dtype, name=side.name) as written:
            system.free(replayer.given_of(reference, dtype), written)


def propose(trace: Path, candidate: Path, *, out: Path | None, values: bool, names: bool) -> int:
    """Write the proposed mapping; return 0 if every pair of a parameter owner is above the threshold, else 1."""
    from parity import mapping as mappings
    from parity.mapping.propose import propose as proposed
    from parity.mapping.units import owners
    from parity.trace import Trace
    from parity.trace.sides import check_sides

    if out is not None:
        disk.check_file(out)
    with bar("map"):
        reference, other = Trace.open(trace), Trace.open(candidate)
        check_sides(reference, [other], "map")
        proposal = proposed(reference, other, values=values, names=names)
    text = mappings.encode(proposal, f"Proposed by: parity map {trace} {candidate}")
    if out is None:
        sys.stdout.write(text)
    else:
        disk.write(out, text.encode())
        say(f"wrote {out}")
    doubtful = [
        each for each in proposal.counterparts if not proposal.judged(each) and each.path not in proposal.not_compared
    ]
    say(
        f"{len(proposal.counterparts)} outputs: {sum(map(proposal.judged, proposal.counterparts))} pairs from {proposal.threshold:g} up, "
        f"{sum(bool(each.native) for each in doubtful)} below, {sum(not each.native for each in doubtful)} without a counterpart"
    )
    for each in doubtful[:_SHOWN]:
        say(f"not judged as it stands: {each.path}:{each.port} -> {each.native or 'nothing'} ({each.confidence:g})")
    owned = owners(reference)
    return int(any(each.path in owned for each in doubtful))
