"""The command line: `parity`, or `python -m parity`.

Every command imports what it needs when it runs, so `--help` answers at once. Data go to stdout, progress and
errors to stderr. Exit codes: 0 MATCH (or done), 1 MISMATCH or INCOMPLETE, 2 unusable input or usage, 3 failure
of the tool or of a child process, 4 undecided, 130 interrupted, by Ctrl-C, SIGTERM or SIGHUP alike.
"""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Final

from parity.children import INTERRUPTED
from parity.cli import signals, streams
from parity.cli.commands import app
from parity.errors import InputError, ParityError

__all__ = ["app", "main"]

_FAILURES: Final = (2, 3, INTERRUPTED)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def main(*, quiet: bool = False) -> None:
    """Run the command line and exit with its code; `quiet` leaves it to the parent to say that it was interrupted."""
    streams.install()
    signals.listen()
    code = _run()
    if code == INTERRUPTED and not quiet:
        sys.stderr.write("interrupted\n")
    lost = streams.finish()
    if lost is not None and code not in _FAILURES:
        sys.stderr.write(f"error: stdout cannot be written: {lost.strerror}; give it another place\n")
        code = 2
    sys.exit(code)


def _run() -> int:
    """Run the command line and return its exit code; every error has been said."""
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - Python would leave with 1, which says MISMATCH
        return _failed(error)
    return 0


def _failed(error: Exception) -> int:
    """Say why a command failed and return its exit code."""
    code = 2 if isinstance(error, InputError) else 3
    if isinstance(error, ParityError):
        sys.stderr.write(f"error: {error}\n")
    elif isinstance(error, OSError) and error.errno in _NO_ROOM:
        code = 2
        place = error.filename or "the disk"
        sys.stderr.write(f"error: {place} cannot be written: {error.strerror}; make room there\n")
    else:
        traceback.print_exc()
    return code
