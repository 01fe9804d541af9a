"""The command line: `parity`, or `python -m parity`.

Every command imports what it needs when it runs, so `--help` answers at once. Data go to stdout, progress and
errors to stderr. Exit codes: 0 MATCH (or done), 1 MISMATCH or INCOMPLETE, 2 unusable input or usage, 3 failure
of the tool or of a child process, 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback

from parity.cli.commands import app
from parity.errors import InputError, ParityError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app()
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except ParityError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(3)
    except Exception:  # noqa: BLE001 - Python would leave with 1, which says MISMATCH
        traceback.print_exc()
        sys.exit(3)
