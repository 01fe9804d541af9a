"""The processes of `parity run`: one records, others replay beside it or after it, and all are heard in good order.

MindSpore's main thread waits for its worker by yielding, so one process keeps two cores busy; two processes on two
cores are done in about half the time when each stays on its own.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from parity import children
from parity.errors import ChildError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

__all__ = ["Child", "finish", "start", "start_beside", "stop"]

_LAST_WORDS_S: Final = 5.0  # what a library has started in a child may hold the pipe for longer than the child


class Child(NamedTuple):
    """A command of this program and the process that does it."""

    command: Sequence[str]
    process: subprocess.Popen[str]


def start(command: Sequence[str], *, core: int | None = None, heard: bool = False) -> Child:
    """Start a command of this program, on one core if it is given; what it says goes to our stderr, or waits to be `heard`."""
    process = children.start(command, heard=heard)
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    return Child(command, process)


def start_beside(recording: Sequence[str], replaying: Sequence[Sequence[str]], waiting: list[Child]) -> Child:
    """Start the recorder and, with it, the replays, which follow its trace; these go into `waiting`.

    On fewer cores than there are processes the recorder shares the last one, and the replays wait on the first.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    scarce = 0 < len(cores) <= len(replaying)
    first, last = (cores[0], cores[-1]) if scarce else (None, None)
    recorder = start(recording, core=last)
    for number, each in enumerate(replaying):
        own = cores[number % len(cores)] if cores else ""
        follow = f"--follow={os.getpid()}:{own}"
        waiting.append(start([*each, follow], core=first, heard=True))
    return recorder


def finish(started: Sequence[Child]) -> None:
    """Wait for commands and pass on what they say; an interruption ends them.

    Raises:
        SystemExit: one could not use its input; exit code 2.
        ChildError: one failed otherwise.
    """
    with _heard(started):
        try:
            codes = [child.process.wait() for child in started]
        except BaseException:
            stop(started)
            raise
    for child, code in zip(started, codes, strict=True):
        _check(child.command, code)


def stop(started: Sequence[Child]) -> None:
    """End commands and wait until they have ended."""
    children.stop([child.process for child in started])


@contextmanager
def _heard(started: Sequence[Child]) -> Iterator[None]:
    """Pass on what children say that wait to be heard, to the end of it where the block ends well."""
    said: set[str] = set()
    speakers = []
    for child in started:
        if child.process.stdout is not None:
            speakers.append(threading.Thread(target=_pass_on, args=(child.process.stdout, said), daemon=True))
            speakers[-1].start()
    yield
    for speaker in speakers:
        speaker.join(_LAST_WORDS_S)


def _check(command: Sequence[str], code: int) -> None:
    """Raise what a child's exit code says.

    Raises:
        SystemExit: it could not use its input; exit code 2.
        ChildError: it failed otherwise.
    """
    if code == children.INTERRUPTED:
        raise KeyboardInterrupt
    if code == children.UNUSABLE:
        sys.exit(children.UNUSABLE)  # the child has said why
    if code:
        message = (
            f"`parity {command[0]}` {children.ending(code)}; run it alone to look closer: parity {' '.join(command)}"
        )
        raise ChildError(message)


def _pass_on(lines: IO[str], said: set[str]) -> None:
    """Write a child's lines to stderr; an error that a child beside it has said already is not said again."""
    for line in lines:
        if not (line.startswith("error: ") and line in said):
            said.add(line)
            sys.stderr.write(line)
            sys.stderr.flush()
