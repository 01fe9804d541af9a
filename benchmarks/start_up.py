"""How long a small command takes beside importing numpy: `python benchmarks/start_up.py [RUNS]`.

Two folders with five small `.npy` files each are compared, without and with reports, and a list of the commands is
printed. Each is a whole process; they take turns, each run waits for idle cores, and medians are printed: wall seconds,
seconds of CPU, and the first as multiples of importing numpy, without which nothing can be compared. The goal for
a comparison is five.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from peers.measuring import wait_until_idle

COMMANDS = {
    "python": ("-c", "pass"),
    "import numpy": ("-c", "import numpy"),
    "parity --help": ("-m", "parity", "--help"),
    "parity compare": ("-m", "parity", "compare", "reference", "candidate"),
    "parity compare --out": ("-m", "parity", "compare", "reference", "candidate", "--out", "out"),
}
FILES = 5
SHAPE = (4, 8)
RUNS = 11


class Took(NamedTuple):
    """Seconds of one process."""

    wall_s: float
    cpu_s: float


def write(folder: Path) -> None:
    """Write both sides; the candidate is off by rounding."""
    rng = np.random.default_rng(0)
    for side in ("reference", "candidate"):
        (folder / side).mkdir()
    for number in range(FILES):
        values = rng.standard_normal(SHAPE, np.float32)
        np.save(folder / "reference" / f"layer{number}.npy", values)
        np.save(folder / "candidate" / f"layer{number}.npy", values * np.float32(1 + 1e-7))


def took(arguments: tuple[str, ...], folder: Path) -> Took:
    """Run Python once."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True)
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main(runs: int) -> None:
    """Measure and print."""
    found: dict[str, list[Took]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory(prefix="start_up_") as folder:
        write(Path(folder))
        for arguments in COMMANDS.values():
            took(arguments, Path(folder))  # the first run reads files from the disk and writes compiled modules
        for _ in range(runs):
            for name, arguments in COMMANDS.items():
                wait_until_idle()
                found[name].append(took(arguments, Path(folder)))
    unit_s = median(run.wall_s for run in found["import numpy"])
    print(f"medians of {runs} runs\n\n| command | wall s | CPU s | times importing numpy |\n|---|---|---|---|")
    for name, each in found.items():
        wall_s, cpu_s = median(run.wall_s for run in each), median(run.cpu_s for run in each)
        print(f"| {name} | {wall_s:.3f} | {cpu_s:.3f} | {wall_s / unit_s:.1f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
