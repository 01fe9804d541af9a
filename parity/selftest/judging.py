"""Sending specimens through the whole comparer: written as two traces without a twin, compared, read back."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from parity.address import path_of
from parity.compare import compare
from parity.trace import Manifest, Row, Trace, TraceWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parity.result import Pair
    from parity.selftest.specimen import Specimen

__all__ = ["judged"]


def judged(specimens: Sequence[Specimen]) -> dict[str, Pair]:
    """Write the pairs as two traces, compare them, and return each pair by the specimen's name."""
    by_path = {f"unet.pair_{number}": specimen for number, specimen in enumerate(specimens)}
    with tempfile.TemporaryDirectory() as folder:
        left, right = Path(folder, "reference"), Path(folder, "candidate")
        _write(left, Manifest(side="reference", name="corpus", case={}, case_digest=""), by_path)
        reference = Trace.open(left)
        described = Manifest(
            side="candidate",
            name="corpus",
            case={},
            case_digest="",
            reference_digest=reference.digest,
            alignment=[_row(path, specimen) for path, specimen in by_path.items()],
        )
        _write(right, described, by_path)
        result = compare(reference, [Trace.open(right)])
    return {by_path[path_of(pair.address)].name: pair for pair in result.pairs}


def _row(path: str, specimen: Specimen) -> Row:
    """Return a row of the candidate's table: what has a kind of operator is no composite."""
    return Row(path=path, native=path, kind=None if specimen.composite else "operator")


def _write(folder: Path, manifest: Manifest, by_path: Mapping[str, Specimen]) -> None:
    """Write one side, one run for each type."""
    writer = TraceWriter(folder, manifest)
    candidate = manifest.side == "candidate"
    for dtype in dict.fromkeys(specimen.asked for specimen in by_path.values()):
        if candidate:
            recording = writer.run(f"layers-{dtype}", mode="layers", dtype=dtype)
        else:
            recording = writer.run(dtype, mode="run", dtype=dtype)
        with recording as run:
            for path, specimen in by_path.items():
                array, kind = specimen.of_candidate if candidate else specimen.of_reference
                if specimen.asked == dtype and array is not None:
                    run.tensor(f"{path}@step=0:output", array, dtype=kind)
    writer.finish()
