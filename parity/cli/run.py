"""`parity run`: record, replay, compare, diagnose and report, each side in a process of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from parity.cli import flow
from parity.cli.options import named, planted
from parity.errors import ChildError
from parity.replay import modes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from parity.cli.options import Recording
    from parity.result import Result

__all__ = ["run"]

LARGE_MODEL_BYTES: Final = 2**30
_UNUSABLE, _INTERRUPTED = 2, 130


def run(
    asked: Recording, out: Path | None, *, candidate: str, candidate_source: Path | None, plant: str | None,
    weights: Path | None, modes: Sequence[str] | None, tolerances: Path | None, jobs: int | None,
) -> Result:  # fmt: skip
    """Do all four steps and return the result; exit codes are the caller's."""
    case, resolved = asked.case, asked.resolved()
    model = resolved.model_path
    planted(plant, case)
    out = out or Path("reports") / "-".join([case.stem, *([Path(plant).stem] if plant else [])])
    types = list(dict.fromkeys(asked.dtype or ("float64", resolved.case.precision.dtype)))
    trace, replays = out / "reference", _replays(out, types, modes_of(modes), model)
    _remove([trace, *(replay.folder for replay in replays)])
    replaying = named(candidate=candidate, source=candidate_source, weights=weights, plant=plant)
    wall_s = _both_sides(
        ["record", *asked.words(trace)],
        [["replay", str(trace), f"--store={asked.store}", *replaying, *replay.arguments] for replay in replays],
        beside=_is_small(model),
    )
    folders = [replay.folder for replay in replays]
    with _timed(wall_s, "compare"):
        result = flow.compared(trace, folders, out=out, tolerances=tolerances, jobs=jobs)
    chosen = named(
        candidate=candidate, candidate_source=candidate_source, weights=weights, plant=plant, size=asked.size,
        tolerances=tolerances, jobs=jobs, reference=None if asked.reference == "diffusers" else asked.reference,
        reference_source=asked.source, store=None if asked.store == "hdf5" else asked.store, mode=modes,
        dtype=asked.dtype,
    )  # fmt: skip
    result.commands = {
        "repeat": _words(["parity", "run", str(case), f"--out={out}", *chosen]),
        "replay": _words(["parity", "replay", str(trace), f"--out={out}/again", *replaying]),
        "compare": _words(["parity", "compare", str(trace), *map(str, folders), f"--out={out}"]),
    }
    result.wall_s = wall_s
    flow.write(result, out)
    if result.verdict != "MATCH":
        with _timed(wall_s, "diagnose"):
            result = flow.diagnose(out)
    return result


def _words(command: Sequence[str]) -> str:
    """Return a command as a person types it."""
    return shlex.join(part for word in command for part in word.split("=", 1 if word.startswith("--") else 0))


class _Replay(NamedTuple):
    """One process of the candidate: what it writes, in which types and modes."""

    folder: Path
    types: Sequence[str]
    modes: Sequence[str]

    @property
    def arguments(self) -> list[str]:
        """The options of the command."""
        return [
            f"--out={self.folder}", *(f"--dtype={name}" for name in self.types), *(f"--mode={name}" for name in self.modes)
        ]  # fmt: skip


def _replays(out: Path, types: Sequence[str], modes: Sequence[str], model: Path) -> list[_Replay]:
    """Divide the replays over processes: one for each type, or a single one where the model fills the machine."""
    if _is_small(model):
        return [_Replay(out / f"candidate-{name}", [name], modes) for name in types]
    return [_Replay(out / "candidate", types, modes)]


def _is_small(model: Path) -> bool:
    """Tell whether several processes may hold the model at once."""
    files = model.rglob("*") if model.is_dir() else [model]
    return sum(path.stat().st_size for path in files if path.is_file()) <= LARGE_MODEL_BYTES


def _remove(folders: Sequence[Path]) -> None:
    """Remove the traces that an earlier run of this case left in its own folder."""
    for folder in folders:
        if (folder / "manifest.json").exists():
            shutil.rmtree(folder)


@contextmanager
def _timed(wall_s: dict[str, float], name: str) -> Iterator[None]:
    """Note how long a part takes, in seconds."""
    started = time.perf_counter()
    yield
    wall_s[name] = time.perf_counter() - started


def _both_sides(recording: Sequence[str], replaying: Sequence[Sequence[str]], *, beside: bool) -> dict[str, float]:
    """Run the recorder and the replays, and return how long each took, in seconds; a replay's begins where the recorder ends.

    With `beside` the replays start with the recorder: they wait until they have all that they need, and work while
    the recorder works out what only the comparison needs. What they say is heard once the recorder has ended.

    MindSpore's main thread waits for its worker by yielding, so one process keeps two cores busy; two processes on
    two cores are done in about half the time when each stays on its own. On fewer cores than there are processes the
    recorder shares the last one, and the replays wait on the first.

    Raises:
        SystemExit: a child could not use its input; exit code 2.
        ChildError: one failed otherwise.
    """
    wall_s: dict[str, float] = {}
    cores = sorted(os.sched_getaffinity(0)) if beside and hasattr(os, "sched_setaffinity") else []
    waiting: list[_Child] = []
    try:
        with _timed(wall_s, "record"):
            scarce = 0 < len(cores) <= len(replaying)
            recorder = _start(recording, core=cores[-1] if scarce else None)
            for number, each in enumerate(replaying if beside else ()):
                own = cores[number % len(cores)] if cores else ""
                follow = f"--follow={os.getpid()}:{own}"
                waiting.append(_start([*each, follow], core=cores[0] if scarce else None, heard=True))
            _finish([recorder])
        with _timed(wall_s, "replay"):
            _finish(waiting or [_start(each) for each in replaying])
    except BaseException:
        for child in waiting:
            child.process.terminate()
            child.process.wait()
        raise
    return wall_s


class _Child(NamedTuple):
    """A command of this program and the process that does it."""

    command: Sequence[str]
    process: subprocess.Popen[str]


def _start(command: Sequence[str], *, core: int | None = None, heard: bool = False) -> _Child:
    """Start a command of this program, on one core if it is given; its stderr is ours, or waits to be `heard`."""
    piped = subprocess.PIPE if heard else None
    process = subprocess.Popen([sys.executable, "-m", "parity", *command], stderr=piped, text=True)  # noqa: S603 - our own program
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    return _Child(command, process)


def _finish(children: Sequence[_Child]) -> None:
    """Wait for commands and pass on what they say.

    Raises:
        SystemExit: one could not use its input; exit code 2.
        ChildError: one failed otherwise.
    """
    said: set[str] = set()
    heard = [child.process.stderr for child in children if child.process.stderr]
    speakers = [threading.Thread(target=_pass_on, args=(lines, said)) for lines in heard]
    for speaker in speakers:
        speaker.start()
    try:
        codes = [child.process.wait() for child in children]
    except KeyboardInterrupt:
        for child in children:
            child.process.wait()  # the terminal interrupted it too; let it close its files
        raise
    for speaker in speakers:
        speaker.join()
    for child, code in zip(children, codes, strict=True):
        _check(child.command, code)


def _check(command: Sequence[str], code: int) -> None:
    """Raise what a child's exit code says.

    Raises:
        SystemExit: it could not use its input; exit code 2.
        ChildError: it failed otherwise.
    """
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    if code == _UNUSABLE:
        sys.exit(_UNUSABLE)  # the child has said why
    if code:
        message = f"`parity {command[0]}` failed with exit code {code} (see above); run it alone to look closer: parity {' '.join(command)}"
        raise ChildError(message)


def _pass_on(lines: IO[str], said: set[str]) -> None:
    """Write a child's lines to stderr; an error that a child beside it has said already is not said again."""
    for line in lines:
        if not (line.startswith("error: ") and line in said):
            said.add(line)
            sys.stderr.write(line)
            sys.stderr.flush()
