"""How large a recording will be, and how large it has become."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from parity import points
from parity.cli.progress import bar, say

if TYPE_CHECKING:
    from pathlib import Path

    from parity.cli.options import Recording
    from parity.trace import Trace

__all__ = ["estimate", "saved"]


def estimate(asked: Recording, out: Path) -> None:
    """Run two steps of a case and print the size of its recording; nothing is written.

    Raises:
        InputError: the case cannot be recorded like this.
    """
    from parity import record, sizing

    resolved, options = asked.resolved(), asked.options()
    record.check(resolved, out, options)
    loop = resolved.case.sampling.steps
    short = asked.resolved(**{"sampling.steps": min(loop, sizing.SHORT)})
    with bar("estimate") as progress, points.guarded_adapter("reference", asked.reference):
        progress("two steps", 0, 1)
        runs = sizing.predict(short, record.find(asked.reference), options, loop=loop)
    for name, size_of in runs.items():
        sys.stdout.write(
            f"{name:9} {size_of.records:8,} records  {_bytes(size_of.bytes_recorded):>9} recorded  "
            f"at most {_bytes(size_of.bytes_stored):>9} stored\n"
        )
    total = sum(size_of.bytes_on_disk for size_of in runs.values())
    folder = next(path for path in (out.absolute(), *out.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    sys.stdout.write(f"{'all':9} at most {_bytes(total)} on disk; {_bytes(free)} are free in {folder}\n")
    if total > free:
        say("this may not fit; record fewer addresses (--taps), fewer steps (--steps) or a smaller picture (--size)")


def saved(trace: Trace) -> str:
    """Return in words what was recorded and how much of it was stored once only."""
    runs = trace.manifest.runs.values()
    recorded, stored = sum(run.bytes_recorded for run in runs), sum(run.bytes_stored for run in runs)
    share = f", {stored / recorded:.0%}: equal tensors are stored once" if recorded else ""
    return f"{trace.folder}: {_bytes(recorded)} recorded, {_bytes(stored)} stored{share}"


def _bytes(count: int) -> str:
    """Return a number of bytes as a person reads it."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:  # noqa: PLR2004 - one unit is a thousand of the one before
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"
