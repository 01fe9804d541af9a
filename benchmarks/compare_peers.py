"""parity's comparer beside others, on the same files: `python benchmarks/compare_peers.py --work DIR [--install]`.

Sets: `large` (2 x 1 GB of float32 in SDXL's shape mix), `small` (4000 tensors of 16 to 63 numbers) and `large` in
float16 and bfloat16; see `peers/data.py`. They are made in DIR once (8 GB) and read from the page cache. With
`--install` every peer gets an environment of its own in DIR, by pip; without, those that are there are used.
Every run is a new process; tools take turns, each run waits for idle cores, and medians are printed, with the
fastest run beside them. Importing and starting do not count; opening files does, but for `parity` and `scan`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peers.data import Set
    from peers.measuring import Run

PEERS = {
    "troubleshooter": ("troubleshooter==1.0.18",),
    "msprobe": ("mindstudio-probe==26.2.0", "mindspore==2.8.0"),  # its MindSpore side imports mindspore
    "polygraphy": ("polygraphy==0.53.6",),
    "reprod_log": ("reprod_log==1.0.1",),
}
NUMPY = "numpy==1.26.4"
OURS = ("scan", "allclose", "parity", "parity_npy")
TIMEOUT_S = 300.0
ATTEMPTS = 5


def install(folder: Path) -> None:
    """Make an environment for each peer that has none."""
    for name, packages in PEERS.items():
        python = folder / "venvs" / name / "bin" / "python"
        if python.exists():
            continue
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", NUMPY, *packages], check=False)
        print(f"{packages[0]}: {'installed' if done.returncode == 0 else 'pip failed'}", file=sys.stderr)


def tools_for(name: str, folder: Path) -> dict[str, Path]:
    """Return the tools that can read a set, with their interpreters."""
    if name == "large-bfloat16":
        return {"parity": Path(sys.executable)}
    found = dict.fromkeys(OURS, Path(sys.executable))
    for peer in PEERS:
        python = folder / "venvs" / peer / "bin" / "python"
        if python.exists():
            found[peer] = python
    return found


def undisturbed(python: Path, tool: str, folder: Path) -> Run:
    """Measure a tool; again where the machine stood still meanwhile.

    Raises:
        RuntimeError: the tool failed, or nothing ran undisturbed.
    """
    from peers.measuring import StandstillError, measure, wait_until_idle

    for _ in range(ATTEMPTS - 1):
        wait_until_idle()
        with contextlib.suppress(StandstillError):
            return measure(python, tool, folder, TIMEOUT_S)
    wait_until_idle()
    return measure(python, tool, folder, TIMEOUT_S)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder for data and environments")
    parser.add_argument("--install", action="store_true", help="make the peers' environments with pip")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--once", default="polygraphy", help="tools to run only once, separated by commas")
    parser.add_argument("--tools", help="only these, separated by commas")
    parser.add_argument("--sets", default="large,small,large-float16,large-bfloat16")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1: fewer tensors, for a trial")
    arguments = parser.parse_args()
    from peers import data

    if arguments.install:
        install(arguments.work)
    once = set(arguments.once.split(","))
    for name in arguments.sets.split(","):
        folder = (arguments.work / f"{name}-{arguments.scale:g}").resolve()
        chosen = data.sets(arguments.scale)[name]
        if not (folder / "made").exists():
            data.make(folder, chosen)
            (folder / "made").touch()
        tools = tools_for(name, arguments.work.resolve())
        if arguments.tools:
            tools = {tool: tools[tool] for tool in arguments.tools.split(",") if tool in tools}
        runs: dict[str, list[Run]] = {tool: [] for tool in tools}
        for turn in range(arguments.runs):
            for tool, python in list(tools.items()):
                if tool in once and turn:
                    continue
                try:
                    runs[tool].append(undisturbed(python, tool, folder))
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    print(f"{name} {tool}: {error}", file=sys.stderr)
                    del tools[tool]
            file = arguments.work / f"{name}.json"
            kept = {tool: [run._asdict() for run in found] for tool, found in runs.items()}
            file.write_text(json.dumps(kept, indent=1))
        report(chosen, runs)


def report(chosen: Set, runs: dict[str, list[Run]]) -> None:
    """Print the table of a set."""
    sizes = [math.prod(shape) for shape in chosen.shapes]
    width = {"float32": 4, "float16": 2, "bfloat16": 2}[chosen.dtype]
    gigabytes = 2 * sum(sizes) * width / 1e9
    print(f"\n{chosen.name}: {len(sizes)} pairs, {gigabytes:.3f} GB of {chosen.dtype} on both sides\n")
    print("| tool | runs | seconds, median | fastest | CPU s | GB/s | pairs/s | peak MB | above start MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for tool, found in runs.items():
        if found:
            wall, cpu, peak, before = (median(run[place] for run in found) for place in range(4))
            fastest = min(run.wall_s for run in found)
            print(
                f"| {tool} | {len(found)} | {wall:.3f} | {fastest:.3f} | {cpu:.2f} | {gigabytes / wall:.2f} "
                f"| {len(sizes) / wall:.0f} | {peak / 1e6:.0f} | {(peak - before) / 1e6:.0f} |"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        from peers.measuring import work

        work(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
