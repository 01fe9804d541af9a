"""What reading a trace costs: `python benchmarks/trace_read.py [FOLDER]`.

Ten thousand tensors of 160 bytes: opening (decoding and checking every record), reading each one, through the
mapped file and through h5py, and comparing all digests. Then sixteen of 16 MB: reading views and verifying.
Medians of five runs.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import h5py
import numpy as np

from parity.trace import Manifest, Trace, TraceWriter
from parity.trace.names import tree_name

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = 10_000
LARGE = 16
REPEATS = 5


def written(folder: Path, arrays: list[np.ndarray], store: str) -> Path:
    """Write a trace of the arrays."""
    writer = TraceWriter(folder, Manifest(side="reference", name="b", case={}, case_digest="", store=store))
    with writer.run("r", mode="run", dtype="float32") as run:
        for number, array in enumerate(arrays):
            run.tensor(f"unet.down_blocks.{number % 3}.attn1.to_q@step={number // 210},call={number}:output", array)
    writer.finish()
    return folder


def timed(run: Callable[[], object]) -> float:
    """Return the median seconds of runs."""
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return median(found)


def read(trace: Trace) -> None:
    """Read every tensor."""
    run = trace.run("r")
    for address in run:
        run.tensor(address)


def read_h5py(folder: Path) -> None:
    """Read every tensor by its name through h5py's usual interface."""
    names = [tree_name(address) for address in Trace.open(folder).run("r")]
    with h5py.File(folder / "r" / "tensors-0000.h5") as file:
        for group, name in names:
            file[group][name][()]


def main(root: Path) -> None:
    """Print the table."""
    base = Path(tempfile.mkdtemp(dir=root))
    generator = np.random.default_rng(0)
    small = [np.full(40, number, np.float32) for number in range(SMALL)]
    large = [generator.standard_normal(1 << 22, np.float32) for _ in range(LARGE)]
    try:
        for store in ("hdf5", "npy"):
            folder = written(base / f"small-{store}", small, store)
            trace = Trace.open(folder)
            opened, views = timed(lambda folder=folder: Trace.open(folder)), timed(lambda trace=trace: read(trace))
            print(f"{store:4} open {SMALL} records   {opened:6.3f} s")
            print(f"{store:4} read each            {views:6.3f} s, {1e6 * views / SMALL:.2f} us each")
            print(f"{store:4} verify               {timed(trace.verify):6.3f} s")
        print(f"h5py open and read each   {timed(lambda: read_h5py(base / 'small-hdf5')):6.3f} s")
        for store in ("hdf5", "npy"):
            trace = Trace.open(written(base / f"large-{store}", large, store))
            size = LARGE * large[0].nbytes / 1e9
            seconds = timed(trace.verify)
            print(f"{store:4} verify 16 MB tensors {seconds:6.3f} s, {size / seconds:.1f} GB/s")
            print(f"{store:4} read 16 MB tensors   {1e6 * timed(lambda trace=trace: read(trace)) / LARGE:6.1f} us each")
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir()))
