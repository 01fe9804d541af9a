"""What writing a trace costs: `python benchmarks/trace_write.py [FOLDER]`.

Small tensors (160 bytes) are compared with h5py's low-level create and write, the floor of any store that makes
a dataset of each. Large ones (16 MB) are compared with `np.save` and hashing of the distinct bytes, with and
without bringing them to the disk, which a trace always does. Medians of seven runs, taken in turns.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import xxhash
from h5py import h5d, h5f, h5p, h5s, h5t

from parity.trace import Manifest, TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = 10_000
LARGE = 16
REPEATS = 7


def address(number: int) -> str:
    """Return an address as long as a real one."""
    return f"unet.down_blocks.{number % 3}.attentions.{number % 7}.attn1.to_q@step={number // 210},call={number}:output"


def record(folder: Path, arrays: list[np.ndarray], store: str) -> tuple[float, float]:
    """Write a trace; return the seconds of all and those that the caller waited before the end."""
    writer = TraceWriter(folder, Manifest(side="reference", name="b", case={}, case_digest="", store=store))
    start = time.perf_counter()
    with writer.run("r", mode="run", dtype="float32") as run:
        for number, array in enumerate(arrays):
            run.tensor(address(number), array)
        called = time.perf_counter() - start
    return time.perf_counter() - start, called


def low_level(folder: Path, arrays: list[np.ndarray]) -> float:
    """Create and write the datasets with h5py's low-level interface."""
    start = time.perf_counter()
    file = h5f.create(os.fsencode(folder / "x.h5"))
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5d.FILL_TIME_NEVER)
    kind, space = h5t.py_create(arrays[0].dtype), h5s.create_simple(arrays[0].shape)
    for number, array in enumerate(arrays):
        dataset = h5d.create(file, address(number).encode(), kind, space, dcpl=properties)
        dataset.write(h5s.ALL, h5s.ALL, array)
    file.close()
    return time.perf_counter() - start


def saved(folder: Path, arrays: list[np.ndarray], *, synced: bool) -> float:
    """Hash and `np.save` each array."""
    start = time.perf_counter()
    for number, array in enumerate(arrays):
        xxhash.xxh3_128_hexdigest(array)
        with (folder / f"{number}.npy").open("wb") as file:
            np.save(file, array)
            if synced:
                file.flush()
                os.fsync(file.fileno())
    return time.perf_counter() - start


def timed(root: Path, contenders: dict[str, Callable[[Path], float]]) -> dict[str, float]:
    """Return the median seconds of each contender; they take turns, so that a busy moment of the machine hits all."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(REPEATS):
        for name, run in contenders.items():
            os.sync()  # or the next one to sync would wait for the blocks that the one before gave back
            folder = Path(tempfile.mkdtemp(dir=root))
            found[name].append(run(folder))
            shutil.rmtree(folder)
    return {name: median(seconds) for name, seconds in found.items()}


def main(root: Path) -> None:
    """Print the tables."""
    small = [np.full(40, number, np.float32) for number in range(SMALL)]
    repeated = [small[number % 100] for number in range(SMALL)]
    seconds = timed(
        root,
        {
            "h5py's low level": lambda folder: low_level(folder, small),
            "trace, hdf5": lambda folder: record(folder / "t", small, "hdf5")[0],
            "trace, hdf5, the caller's part": lambda folder: record(folder / "t", small, "hdf5")[1],
            "trace, hdf5, bytes seen before": lambda folder: record(folder / "t", repeated, "hdf5")[0],
            "trace, npy": lambda folder: record(folder / "t", small, "npy")[0],
        },
    )
    print(f"{SMALL} tensors of 160 bytes, microseconds each")
    for name, value in seconds.items():
        print(f"  {name:32} {1e6 * value / SMALL:7.1f}")

    generator = np.random.default_rng(0)
    large = [generator.standard_normal(1 << 22, np.float32) for _ in range(LARGE)]
    size = LARGE * large[0].nbytes / 1e9
    seconds = timed(
        root,
        {
            "np.save and hash": lambda folder: saved(folder, large, synced=False),
            "np.save and hash, synced": lambda folder: saved(folder, large, synced=True),
            "trace, hdf5": lambda folder: record(folder / "t", large, "hdf5")[0],
            "trace, hdf5, the caller's part": lambda folder: record(folder / "t", large, "hdf5")[1],
            "trace, npy": lambda folder: record(folder / "t", large, "npy")[0],
        },
    )
    print(f"{LARGE} tensors of 16 MB, seconds (a trace is always synced)")
    for name, value in seconds.items():
        print(f"  {name:32} {value:7.3f}   {size / value:.2f} GB/s")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir()))
