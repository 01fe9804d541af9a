"""Running a tool in a process of its own: seconds, CPU seconds of the tree, and its peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

PAGE = os.sysconf("SC_PAGE_SIZE")
INTERVAL_S = 0.004
STANDSTILL_S = 0.5
PURE_PROTOBUF = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}  # mindspore and onnx disagree about its version
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class StandstillError(RuntimeError):
    """The machine stood still during a run, so that its seconds mean nothing."""


class Run(NamedTuple):
    """One run: wall and CPU seconds of the comparison; bytes resident in the whole tree, at most and before it."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    before_bytes: int


def tree_bytes(root: int) -> int:
    """Return the resident bytes of a process and all its descendants; pages that two of them share count twice."""
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        try:
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
            for thread in Path(f"/proc/{process}/task").iterdir():
                waiting += [int(child) for child in (thread / "children").read_text().split()]
        except (OSError, IndexError):
            continue
    return total


def idle_share(seconds: float = 0.5) -> float:
    """Return the share of all cores' time that nobody used during `seconds`."""

    def times() -> tuple[int, int]:
        numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        return numbers[3] + numbers[4], sum(numbers[:8])

    before = times()
    time.sleep(seconds)
    after = times()
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def wait_until_idle(share: float = 0.9, at_most_s: float = 8.0) -> None:
    """Wait until the cores are idle; measure in spite of it when they do not become so."""
    until = time.monotonic() + at_most_s
    while time.monotonic() < until and idle_share() < share:
        pass


def measure(python: Path, tool: str, folder: Path, timeout_s: float) -> Run:
    """Run `tool` once.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
        StandstillError: this process was not run for a while, so neither was the tool.
        subprocess.TimeoutExpired: it took longer than `timeout_s`.
    """
    here = Path(__file__).parents[1]
    command = [str(python), str(here / "compare_peers.py"), "--worker", tool, str(folder)]
    paths = [str(here.parent), os.environ.get("PYTHONPATH", "")] if tool.startswith("parity") else [""]
    environment = {**os.environ, **ONE_THREAD, **PURE_PROTOBUF, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder
    )
    peak, longest_s, done = 0, 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak, longest_s
        last = time.monotonic()
        while not done.wait(INTERVAL_S):
            peak, now = max(peak, tree_bytes(child.pid)), time.monotonic()
            longest_s, last = max(longest_s, now - last), now

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        said, complained = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise
    finally:
        done.set()
        watcher.join()
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if child.returncode or not lines:
        message = (complained.strip() or said.strip() or f"exit code {child.returncode}").splitlines()[-1]
        raise RuntimeError(message)
    if longest_s > STANDSTILL_S:
        message = f"nothing ran for {longest_s:.1f} s"
        raise StandstillError(message)
    found = json.loads(lines[-1])
    return Run(found["wall_s"], found["cpu_s"], peak, found["before_bytes"])


def work(tool: str, folder: Path) -> None:
    """Be the process of a tool: prepare, compare, and print what it took as JSON."""
    from peers.tools import TOOLS

    run = TOOLS[tool](folder)
    before_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    cpu, wall = os.times(), time.perf_counter()
    run()
    wall_s = time.perf_counter() - wall
    now = os.times()
    cpu_s = sum(now[:4]) - sum(cpu[:4])
    sys.stdout.write("\n" + json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "before_bytes": before_bytes}) + "\n")
