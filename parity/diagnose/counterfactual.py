"""Counterfactual replays: apply the repairs to the candidate, replay what failed, and see what is left.

The comparer imports no framework, so the repairs go into a file and a new process, `parity replay --repair FILE`,
builds the same candidate again, edits it, and replays only the failing addresses (and the end of the free run, for
the price). Its trace lies in `DIR/counterfactual/`.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from parity import children, repair
from parity.address import literal
from parity.compare import compare
from parity.errors import ChildError
from parity.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from parity.repair import Edit
    from parity.result import Result

__all__ = ["replay_with"]

_LONGEST: Final = 100_000
"""Bytes of a pattern that a command line takes; Linux allows 128 KiB. Beyond, everything is replayed."""


def replay_with(
    edits: Sequence[Edit], addresses: Sequence[str], *, reference: Trace, candidate: Trace, folder: Path,
    modes: Sequence[str], dtype: str,
) -> tuple[Result, dict[str, str]]:  # fmt: skip
    """Replay `addresses` with the edits applied; return how they compare now, and the edits (JSON) that were refused.

    Raises:
        ChildError: the replay failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "candidate"
    if out.exists():
        shutil.rmtree(out)
    repair.write(repair.Repairs(edits=tuple(edits), strict=False), folder / "repair.json")
    only = "|".join(map(literal, addresses))
    if len(only) > _LONGEST:
        only = ".*"
    command = [
        "replay", str(reference.folder), f"--out={out}",
        *candidate.manifest.command, f"--repair={folder / 'repair.json'}", f"--dtype={dtype}",
        *(f"--mode={mode}" for mode in modes), f"--only={only}",
    ]  # fmt: skip
    try:
        children.run(command)
    except ChildError as error:
        message = f"the counterfactual replay {error}; run it alone: parity {' '.join(command)}"
        raise type(error)(message) from error
    trace = Trace.open(out)
    return compare(reference, [trace]), trace.manifest.refused
