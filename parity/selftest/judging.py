"""Sending specimens through the whole comparer: written as two traces without a twin, compared, read back."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from parity.compare import compare
from parity.trace import Manifest, Row, Trace, TraceWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.distance.tensor import Array
    from parity.result import Pair
    from parity.selftest.specimen import Specimen

__all__ = ["judged"]


def judged(specimens: Sequence[Specimen]) -> dict[str, Pair]:
    """Write the pairs as two traces, compare them, and return each pair by the specimen's name."""
    addresses = {_path(number): specimen.name for number, specimen in enumerate(specimens)}
    with tempfile.TemporaryDirectory() as folder:
        left, right = Path(folder, "reference"), Path(folder, "candidate")
        _write(left, Manifest(side="reference", name="corpus", case={}, case_digest="0"), specimens, candidate=False)
        reference = Trace.open(left)
        rows = [
            Row(path=_path(number), native=_path(number), kind=None if specimen.composite else "operator")
            for number, specimen in enumerate(specimens)
        ]
        described = Manifest(
            side="candidate", name="corpus", case={}, case_digest="0", reference_digest=reference.digest, alignment=rows
        )
        _write(right, described, specimens, candidate=True)
        result = compare(reference, [Trace.open(right)])
    return {addresses[pair.address.partition("@")[0]]: pair for pair in result.pairs}


def _path(number: int) -> str:
    """Return the path under which a pair is recorded."""
    return f"unet.pair_{number}"


def _write(folder: Path, manifest: Manifest, specimens: Sequence[Specimen], *, candidate: bool) -> None:
    """Write one side, one run for each type."""
    writer = TraceWriter(folder, manifest)
    for dtype in dict.fromkeys(specimen.asked for specimen in specimens):
        name, mode = (f"layers-{dtype}", "layers") if candidate else (dtype, "run")
        with writer.run(name, mode=mode, dtype=dtype) as run:  # type: ignore[arg-type]
            for number, specimen in enumerate(specimens):
                array: Array | None = specimen.candidate if candidate else specimen.reference
                if specimen.asked == dtype and array is not None:
                    kind = specimen.candidate_type if candidate else specimen.reference_type
                    run.tensor(f"{_path(number)}@step=0:output", array, dtype=kind)
    writer.finish()
