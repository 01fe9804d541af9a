"""Processes of this program that another one starts.

They end when the process ends that started them, however that happened: whoever is interrupted ends its children, and a
child whose parent was killed notices. Each leads a process group of its own: Ctrl-C reaches the parent alone, which passes
it on once, and what a library has started in a child ends with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from parity.errors import ChildError, ChildInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["INTERRUPTED", "UNUSABLE", "ending", "run", "start", "stop", "watch_parent"]

INTERRUPTED: Final = 130
"""The exit code of who was asked to end: by Ctrl-C, SIGTERM or SIGHUP."""
UNUSABLE: Final = 2
"""The exit code of who could not use what it was given."""
_STDERR: Final = 2
_GRACE_S: Final = 10.0  # to close files in; what is recorded survives a kill too
_LOOK_S: Final = 0.2


def start(arguments: Sequence[str], *, heard: bool = False) -> subprocess.Popen[str]:
    """Start a command of this program that has no data for stdout.

    Whatever a library writes there goes where progress and errors go: to stderr or, where it shall be `heard`, into the
    pipe `stdout` of the process.
    """
    if heard:
        return _started("parity.cli.child", arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return _started("parity.cli.child", arguments, stdout=_STDERR)


def _started(
    module: str, arguments: Sequence[str], *, stdout: int | None = None, stderr: int | None = None
) -> subprocess.Popen[str]:
    """Start a module of this program; its arguments come after the parent's process id."""
    command = [sys.executable, "-m", module, str(os.getpid()), *arguments]
    return subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True, process_group=0
    )


def run(arguments: Sequence[str], *, module: str | None = None) -> None:
    """Do a command of this program in a process of its own, or another module of it, which may write to stdout.

    Raises:
        ChildInputError: it could not use its input, and has said why.
        ChildError: it failed otherwise.
        KeyboardInterrupt: it was interrupted.
    """
    process = start(arguments) if module is None else _started(module, arguments)
    try:
        code = process.wait()
    except BaseException:
        stop([process])
        raise
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code == UNUSABLE:
        raise ChildInputError(ending(code))
    if code:
        raise ChildError(ending(code))


def stop(processes: Sequence[subprocess.Popen[Any]]) -> None:
    """End processes of `start` and wait until they have: in good order, or at once where that takes too long."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):  # nothing that it has started is left
            os.killpg(process.pid, signal.SIGKILL)


def ending(code: int) -> str:
    """Say how a process ended that failed.

    >>> ending(3), ending(-11)
    ('failed with exit code 3 (see above)', 'was killed by signal 11 (SIGSEGV)')
    """
    if code >= 0:
        return f"failed with exit code {code} (see above)"
    number = -code
    known = {each.value: each.name for each in signal.Signals}
    hint = "; out of memory?" if number == signal.SIGKILL else ""
    return f"was killed by signal {number} ({known.get(number, 'unknown')}){hint}"


def watch_parent(parent: int) -> None:
    """End this process when the one that started it has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_S)
        os.killpg(0, signal.SIGKILL)  # what it computes does not let go

    threading.Thread(target=watch, name="parity parent", daemon=True).start()
