"""`parity run`: record, replay, compare, diagnose and report, each side in a process of its own."""

from __future__ import annotations

import shlex
import shutil
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from parity import disk
from parity.cli import flow
from parity.cli.options import named, planted
from parity.cli.processes import Child, finish, start, start_beside, stop
from parity.cli.progress import say
from parity.errors import ChildError, TraceError
from parity.replay import modes_of
from parity.trace.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from parity.cli.options import Recording, Replaying
    from parity.result import Result

__all__ = ["run"]

LARGE_MODEL_BYTES: Final = 2**30
"""From here on a model fills the machine, and a single process replays all types after the recorder."""


def run(
    recording: Recording, replaying: Replaying, out: Path | None, *, tolerances: Path | None, jobs: int | None
) -> Result:
    """Do all four steps and return the result; exit codes are the caller's.

    Raises:
        TraceError: the folder holds someone's own files.
        OutputError: it cannot be written to, or another process writes there.
        ChildError: a side failed.
    """
    case, resolved = recording.case, recording.resolved()
    planted(replaying.plant, case)
    out = out or Path("reports") / _title(case, replaying.plant)
    types = list(dict.fromkeys(recording.dtype or ("float64", resolved.case.precision.dtype)))
    whole = replace(replaying, dtype=types, mode=modes_of(replaying.mode))
    beside = _is_small(resolved.model_path)
    trace, replays = out / "reference", _divided(whole, out) if beside else {out / "candidate": whole}
    with disk.claimed(out):
        _take_over(out, resume=recording.resume)
        with _resumable(out):
            wall_s = _both_sides(
                trace,
                ["record", *recording.words(trace)],
                [["replay", *part.words(trace, folder)] for folder, part in replays.items()],
                beside=beside,
            )
        with _timed(wall_s, "compare"):
            result = flow.compared(trace, list(replays), out=out, tolerances=tolerances, jobs=jobs)
        chosen = _chosen(recording, replaying, tolerances, jobs)
        result.commands = {
            "repeat": _words(["parity", "run", str(case), f"--out={out}", *chosen]),
            "replay": _words(["parity", "replay", str(trace), f"--out={out}/again", *replaying.side()]),
            "compare": _words(["parity", "compare", str(trace), *map(str, replays), f"--out={out}"]),
        }
        result.wall_s = wall_s
        flow.write(result, out)
        if result.verdict != "MATCH":
            with _timed(wall_s, "diagnose"):
                result = flow.diagnose(out)
    return result


def _title(case: Path, plant: str | None) -> str:
    """Return the name of a run's folder."""
    return case.stem if plant is None else f"{case.stem}-{Path(plant).stem}"


def _divided(replaying: Replaying, out: Path) -> dict[Path, Replaying]:
    """Return a replay for each type by its folder: processes of a small model that work at the same time."""
    return {out / f"candidate-{name}": replace(replaying, dtype=[name]) for name in replaying.dtype or ()}


def _chosen(recording: Recording, replaying: Replaying, tolerances: Path | None, jobs: int | None) -> list[str]:
    """Return the options of a run as a person would give them: none that has its default."""
    return named(
        candidate=replaying.candidate, candidate_source=replaying.source, weights=replaying.weights,
        plant=replaying.plant, size=recording.size, tolerances=tolerances, jobs=jobs,
        reference=recording.reference if recording.reference != "diffusers" else None,
        reference_source=recording.source, store=recording.store if recording.store != "hdf5" else None,
        mode=replaying.mode, dtype=recording.dtype,
    )  # fmt: skip


def _words(command: Sequence[str]) -> str:
    """Return a command as a person types it."""
    parts: list[str] = []
    for word in command:
        parts += word.split("=", 1) if word.startswith("--") else [word]
    return shlex.join(parts)


def _is_small(model: Path) -> bool:
    """Tell whether several processes may hold the model at once."""
    files = model.rglob("*") if model.is_dir() else [model]
    return sum(path.stat().st_size for path in files if path.is_file()) <= LARGE_MODEL_BYTES


@contextmanager
def _resumable(out: Path) -> Iterator[None]:
    """Say how a run is continued whose block fails."""
    try:
        yield
    except BaseException:
        if _traces(out):
            say(f"{out} keeps what is complete; the same command with --resume goes on from there")
        if (out / "result.json").exists():
            say(f"{out / 'result.json'} and its report are an earlier run's")
        raise


def _traces(out: Path) -> list[Path]:
    """Return the folders of the traces that a run has left in its folder."""
    return [path.parent for name in ("reference", "candidate*") for path in sorted(out.glob(f"{name}/manifest.json"))]


def _take_over(out: Path, *, resume: bool) -> None:
    """Remove the traces that an earlier run left in its folder, unless they are to be continued.

    Raises:
        TraceError: it is the folder of no run, or what looks like a trace is none.
    """
    traces = _traces(out)
    others = [path.name for path in sorted(out.iterdir()) if not _is_vacant(path)]
    if others and not traces and not (out / "result.json").exists():
        message = f"{out} holds {others[0]!r} and no run; give a folder that is new, empty, or an earlier run's"
        raise TraceError(message)
    for trace in traces:
        read_manifest(trace)
        if not resume:
            shutil.rmtree(trace)


def _is_vacant(path: Path) -> bool:
    """Tell whether an entry of a run's folder is what a process left that was killed before it wrote anything."""
    if path.is_dir() and not path.is_symlink():
        return all(map(_is_vacant, path.iterdir()))
    return disk.is_partial(path)


@contextmanager
def _timed(wall_s: dict[str, float], name: str) -> Iterator[None]:
    """Note how long a part takes, in seconds."""
    started = time.perf_counter()
    yield
    wall_s[name] = time.perf_counter() - started


def _both_sides(
    trace: Path, recording: Sequence[str], replaying: Sequence[Sequence[str]], *, beside: bool
) -> dict[str, float]:
    """Run the recorder and the replays, and return how long each took, in seconds; a replay's begins where the recorder ends.

    With `beside` the replays start with the recorder: they wait until they have all that they need, and work while
    the recorder works out what only the comparison needs. What they say is heard once the recorder has ended.

    Raises:
        SystemExit: a child could not use its input; exit code 2.
        ChildError: one failed otherwise.
    """
    wall_s: dict[str, float] = {}
    waiting: list[Child] = []
    try:
        with _timed(wall_s, "record"):
            finish([start_beside(recording, replaying, waiting) if beside else start(recording)])
        _check_recorded(trace)
        with _timed(wall_s, "replay"):
            finish(waiting or [start(each) for each in replaying])
    except BaseException:
        stop(waiting)
        raise
    return wall_s


def _check_recorded(trace: Path) -> None:
    """Refuse to go on without a whole trace, for which the replays would wait for ever.

    Raises:
        ChildError: the recorder ended well and left none, as one does whose reference leaves the process.
    """
    if (trace / "manifest.json").exists() and read_manifest(trace).status == "complete":
        return
    message = f"`parity record` ended with exit code 0 and no whole trace is in {trace}; something in the reference ends the process"
    raise ChildError(message)
