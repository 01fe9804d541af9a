"""The command line: `parity`, or `python -m parity`.

Every command imports what it needs when it runs, so `--help` answers at once. Data go to stdout, progress and
errors to stderr. Exit codes: 0 MATCH (or done), 1 MISMATCH or INCOMPLETE, 2 unusable input or usage, 3 failure
of the tool or of a child process, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from parity.cli.commands import app

__all__ = ["app", "main"]


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    from parity.errors import InputError, ParityError  # noqa: PLC0415 - keeps --help fast

    code: object = 0
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 2
    except ParityError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 3
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; finished shards and files are intact\n")
        code = 130
    sys.exit(code if isinstance(code, int) else 0)
