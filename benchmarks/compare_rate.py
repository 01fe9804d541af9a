"""The comparer's rate and memory against number and size of tensors: `python benchmarks/compare_rate.py [PICTURE.svg]`.

Two sweeps of float32 pairs without a float64 run, on two threads: 10 to 100 000 tensors of 64 numbers, and tensors of
16 B to 1 GB, as many as make 256 MB on a side but at most 4000 and at least one. A point for which the disk has no
room is left out. Every point is the fastest of three
comparisons, each in a new process; the memory is what the process held at most beyond what it held before it
compared, both traces being open.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from peers.measuring import measure, wait_until_idle
from peers.picture import Panel, draw

COUNTS = (10, 100, 1000, 10_000, 100_000)
SIZES = (16, 256, 4096, 65_536, 2**20, 2**24, 2**28, 2**30)
NUMBERS = 64
SIDE_BYTES = 2**28
MOST = 4000
REPEATS = 3


def write(folder: Path, count: int, numbers: int) -> None:
    """Write two traces of `count` tensors; candidates are off by rounding."""
    from parity.trace import Manifest, Row, Trace, TraceWriter

    rng = np.random.default_rng(count)
    base = rng.standard_normal(numbers, np.float32)
    rows = [Row(path=f"unet.block.{number}", native="-", kind="operator") for number in range(count)]
    digest = None
    for side, run, mode in (("reference", "float32", "run"), ("candidate", "layers-float32", "layers")):
        given = {"reference_digest": digest, "alignment": rows} if digest else {}
        writer = TraceWriter(
            folder / "trace" / side, Manifest(side=side, name="rate", case={}, case_digest="", **given)
        )
        with writer.run(run, mode=mode, dtype="float32") as recording:
            for number in range(count):
                array = (
                    base * np.float32(1 + number)
                    if side == "reference"
                    else base * np.float32((1 + number) * (1 + 1e-7))
                )
                recording.tensor(f"unet.block.{number}@step=0:output", array)
        writer.finish()
        digest = Trace.open(folder / "trace" / side).digest


def point(count: int, numbers: int) -> tuple[float, float] | None:
    """Return seconds and bytes of memory of one comparison, or None where there is no room for it."""
    folder = Path(tempfile.mkdtemp(prefix="compare_rate_"))
    if shutil.disk_usage(folder).free < 3 * 2 * 4 * count * numbers:
        folder.rmdir()
        return None
    try:
        subprocess.run([sys.executable, __file__, "--write", str(folder), str(count), str(numbers)], check=True)
        runs = []
        for _ in range(REPEATS):
            wait_until_idle()
            try:
                runs.append(measure(Path(sys.executable), "parity", folder, 300.0))
            except RuntimeError as error:
                print(f"{count} tensors of {numbers}: {error}", file=sys.stderr)
        return min(run.wall_s for run in runs), min(float(run.peak_bytes - run.before_bytes) for run in runs)
    finally:
        shutil.rmtree(folder)


def main(picture: Path) -> None:
    """Measure, print and draw."""
    by_count, by_size = [], []
    print("| tensors | bytes each | pairs/s | GB/s of both sides | memory MB |\n|---|---|---|---|---|")
    for places, shapes in (
        (by_count, [(count, 4 * NUMBERS) for count in COUNTS]),
        (by_size, [(max(1, min(MOST, SIDE_BYTES // size)), size) for size in SIZES]),
    ):
        for count, size in shapes:
            found = point(count, size // 4)
            if found is not None:
                places.append((count, size, *found))
                print(line(*places[-1]), flush=True)
    draw(
        picture,
        [
            Panel("pairs a second", "tensors of 256 B", [(count, count / wall) for count, _, wall, _ in by_count]),
            Panel(
                "GB a second",
                "bytes in a tensor",
                [(size, 2e-9 * count * size / wall) for count, size, wall, _ in by_size],
            ),
            Panel("memory, MB", "tensors of 256 B", [(count, max(0.1, peak / 1e6)) for count, _, _, peak in by_count]),
            Panel("memory, MB", "bytes in a tensor", [(size, max(0.1, peak / 1e6)) for _, size, _, peak in by_size]),
        ],
    )


def line(count: int, size: int, wall: float, peak: float) -> str:
    """Return a row of the table."""
    return f"| {count} | {size} | {count / wall:.0f} | {2e-9 * count * size / wall:.3f} | {peak / 1e6:.0f} |"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(os.curdir) / "compare_rate.svg")
