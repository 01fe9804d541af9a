"""The command line: `parity`, or `python -m parity`.

Every command imports what it needs when it runs, so `--help` answers at once. Data go to stdout, progress and
errors to stderr, an error on one line. Exit codes: 0 MATCH (or done), 1 MISMATCH or INCOMPLETE, 2 unusable input or
usage, 3 failure of the tool or of a child process, 4 undecided, 130 interrupted, by Ctrl-C, SIGTERM or SIGHUP alike.

`PARITY_TRACEBACK=1` shows every call that led to an error, for whoever writes an adapter.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import TYPE_CHECKING, Final, cast

import typer

from parity.children import INTERRUPTED, UNUSABLE
from parity.cli import signals, streams
from parity.cli.commands import app
from parity.errors import ChildInputError, InputError, ParityError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["app", "main"]

_FAILED: Final = 3
_FAILURES: Final = (UNUSABLE, _FAILED, INTERRUPTED)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_UsageError: Final = cast("type[typer.BadParameter]", typer.BadParameter.__base__)  # only its subclass is published


def main(*, quiet: bool = False) -> None:
    """Run the command line and exit with its code; `quiet` leaves it to the parent to say that it was interrupted."""
    streams.install()
    code = _run(signals.listen())
    if code == INTERRUPTED and not quiet:
        sys.stderr.write("interrupted\n")
    lost = streams.finish()
    if lost is not None and code not in _FAILURES:
        _say(f"stdout cannot be written: {lost.strerror}; give it another place")
        code = UNUSABLE
    sys.exit(code)


def _run(was_interrupted: Callable[[], bool]) -> int:
    """Run the command line and return its exit code; every error has been said.

    A library may raise an error of its own where it is interrupted: that is an interruption all the same.
    """
    try:
        _refuse_empty(sys.argv[1:])
        return int(app(standalone_mode=False) or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as ended:
        return INTERRUPTED if was_interrupted() else _left(ended)
    except Exception as error:  # noqa: BLE001 - Python would leave with 1, which says MISMATCH
        return INTERRUPTED if was_interrupted() else _failed(error)


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an argument without text: as a path it would be the folder in which the command runs.

    Raises:
        InputError: there is one; it is named by what stands before it.
    """
    before = "parity"
    for argument in arguments:
        option, is_given, value = argument.partition("=")
        if not argument or (is_given and not value and option.startswith("--")):
            after = option if is_given else before
            message = f"there is an empty argument after {after}; is a variable of the shell unset?"
            raise InputError(message)
        before = argument


def _left(ended: SystemExit) -> int:
    """Return the exit code of who left the interpreter: a child that has said why, or anything else, which ends nothing well."""
    if ended.code != UNUSABLE:
        _say(f"something left the interpreter with {ended.code!r}; nothing is known of how it ended")
        return _FAILED
    return UNUSABLE


def _failed(error: Exception) -> int:
    """Say why a command failed and return its exit code."""
    code = _FAILED
    if isinstance(error, _UsageError):
        code = UNUSABLE
        _say_usage(error)
    elif isinstance(error, ParityError):
        code = UNUSABLE if isinstance(error, InputError) else _FAILED
        if isinstance(error, ChildInputError):
            sys.stderr.write(f"{one_line(error)}\n")  # the child's own error is above
        else:
            _say(error)
    elif isinstance(error, OSError) and error.errno in _NO_ROOM:
        code = UNUSABLE
        _say(f"{error.filename or 'the disk'} cannot be written: {error.strerror}; make room there")
    elif isinstance(error, OSError) and error.filename is not None:
        code = UNUSABLE
        _say(f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}; give another path")
    elif isinstance(error, MemoryError):
        _say("there is not enough memory; give smaller tensors, or --jobs 1")
    else:
        traceback.print_exc()
    return code


def _say(error: object) -> None:
    """Say on one line what is wrong."""
    if os.environ.get("PARITY_TRACEBACK") and sys.exc_info()[0] is not None:
        traceback.print_exc()
    sys.stderr.write(f"error: {one_line(error)}\n")


def _say_usage(error: typer.BadParameter) -> None:
    """Say what is wrong with the arguments and where the right ones are listed; without any, what there is."""
    if not sys.argv[1:]:
        error.show()
        return
    command = error.ctx.command_path if error.ctx else "parity"
    _say(f"{error.format_message().rstrip('.')}; `{command} --help` lists what there is")
