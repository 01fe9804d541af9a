"""How the commands of this package end: what they say, and the exit status."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from mindone_sdxl.errors import SDXLError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["ended"]


def ended(work: Callable[[], Iterable[object]]) -> int:
    """Do the work of a command and print its results, a line each; return the exit status.

    It is 2 for input that cannot be used, of which one line says why, and 130 for an interruption: SIGTERM and SIGHUP
    interrupt as Ctrl-C does. A reader of the results that has left changes nothing.
    """
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    for each, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(each, signal.default_int_handler)
    try:
        for result in work():
            _print(result)
    except SDXLError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    return 0


def _print(result: object) -> None:
    """Write a line to stdout as long as someone reads it."""
    try:
        sys.stdout.write(f"{result}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
