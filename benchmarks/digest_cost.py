"""What comparing digests adds to a comparison: `python benchmarks/digest_cost.py [FOLDER]`.

Three pairs of traces: `small` (4000 tensors of 16 to 63 numbers, three in five failing), `large` (2 x 0.5 GB of float32, nine in
ten failing, so that they are read twice) and `twin` (70 tensors of a million numbers with their float64 run, all matching,
so that they are read once). Each is compared in one thread, with and without digests in turn, in one process; printed
are medians of the CPU's seconds and of the ratio of neighbours. PARITY_COMPILED=0 leaves numba's loops out.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from peers.data import pairs, sets

from parity.compare import compare
from parity.trace import Manifest, Row, Trace, TraceWriter
from parity.trace.stores import files_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Run = tuple[str, str, Iterable[tuple[str, np.ndarray]]]

ROUNDS = {"small": 40, "large": 10, "twin": 10}
NUMBERS = 1 << 20


def traces(name: str) -> tuple[list[Run], list[Run]]:
    """Return the runs of both sides: name, mode, and the tensors with their addresses."""
    if name == "twin":
        return (
            [("float32", "run", twin(3e-8, np.float32)), ("forced", "forced", twin(0, np.float64))],
            [("layers-float32", "layers", twin(5e-8, np.float32))],
        )
    chosen = sets(0.5)[name] if name == "large" else sets()[name]
    return (
        [("float32", "run", ((address, first) for address, first, _ in pairs(chosen)))],
        [("layers-float32", "layers", ((address, second) for address, _, second in pairs(chosen)))],
    )


def twin(error: float, kind: type) -> Iterator[tuple[str, np.ndarray]]:
    """Yield tensors that are off by a relative error."""
    for number in range(70):
        rng = np.random.default_rng(number)
        exact = rng.standard_normal(NUMBERS)
        yield f"unet.block.{number}@step=0:output", (exact * (1 + error * rng.standard_normal(NUMBERS))).astype(kind)


def write(folder: Path, name: str) -> None:
    """Write both traces."""
    reference, candidate = traces(name)
    rows = [Row(path=f"unet.block.{number}", native="-", kind="operator") for number in range(4000)]
    digest = None
    for side, runs in (("reference", reference), ("candidate", candidate)):
        given = {} if digest is None else {"reference_digest": digest, "alignment": rows}
        writer = TraceWriter(folder / side, Manifest(side=side, name=name, case={}, case_digest="", **given))
        for run, mode, tensors in runs:
            with writer.run(run, mode=mode, dtype="float64" if mode == "forced" else "float32") as recording:
                for address, array in tensors:
                    recording.tensor(address, array)
        writer.finish()
        digest = Trace.open(folder / side).digest


def opened(folder: Path, *, digests: bool) -> Trace:
    """Open a trace, on request without what compares digests."""
    trace = Trace.open(folder)
    if digests:
        return trace
    runs = {}
    for name in trace.runs:
        run = trace.run(name)
        runs[name] = run.with_records(run.records, files_of(trace.manifest.store, folder / name, run.records))
    return Trace(folder, trace.manifest, runs, plain=False)


def seconds(folder: Path, *, digests: bool) -> float:
    """Return the CPU's seconds of one comparison; opening does not count."""
    reference, candidate = (opened(folder / side, digests=digests) for side in ("reference", "candidate"))
    start = time.process_time()
    compare(reference, [candidate], jobs=1)
    return time.process_time() - start


def main(root: Path) -> None:
    """Print the table."""
    print("| pairs | without, CPU s | with | ratio |\n|---|---|---|---|")
    for name, rounds in ROUNDS.items():
        folder = Path(tempfile.mkdtemp(dir=root))
        try:
            write(folder, name)
            seconds(folder, digests=True)  # what is loaded and compiled once
            taken = [seconds(folder, digests=bool(number % 2)) for number in range(2 * rounds + 1)]
        finally:
            shutil.rmtree(folder)
        ratios = []
        for number, (first, second) in enumerate(pairwise(taken)):
            ratios.append(first / second if number % 2 else second / first)
        print(f"| {name} | {median(taken[::2]):.3f} | {median(taken[1::2]):.3f} | {median(ratios):.2f} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir()))
