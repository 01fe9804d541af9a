"""A recorder in a process of its own, to be killed: `python -m tests.parity.trace.recorder FOLDER STORE`.

It records (or resumes) the same run every time, slowly, and says `ready` once it begins.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from parity.trace import TraceWriter

from .helpers import manifest

COUNT = 240


def address(number: int) -> str:
    """Return the address of a record."""
    return f"unet.block.{number % 12}@step={number // 12}:output"


def array(number: int) -> np.ndarray:
    """Return the tensor of a record; every fifth one repeats an earlier one."""
    return np.random.default_rng(number - 4 if number % 5 == 4 else number).standard_normal(40)


def record(folder: str, store: str, pause_s: float) -> None:
    """Record or resume, pausing before each tensor that is new."""
    writer = TraceWriter(folder, manifest(store), resume=True, shard_bytes=3000)
    with writer.run("float64", mode="run", dtype="float64") as run:
        print("ready", flush=True)  # noqa: T201 - the parent waits for it
        for number in range(COUNT):
            if pause_s and address(number) not in run:
                time.sleep(pause_s)
            run.tensor(address(number), array(number))
            if number % 10 == 0:
                run.value(address(number).replace(":output", ":input.scale"), number / 10)
    writer.finish()


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2], 0.001)
