"""A line on a terminal that says how far a run has come.

>>> import io
>>> stream = io.StringIO()
>>> bar = Progress(4, stream=stream)
>>> for _ in range(4):
...     bar.advance()
>>> stream.getvalue().splitlines()[-1].startswith("[####################] 4/4 steps")
True
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["Progress"]

_WIDTH = 20


class Progress:
    """Counts steps and rewrites its line after each; the last one ends the line.

    Args:
        total: number of steps.
        stream: where it is written, by default standard error.
    """

    def __init__(self, total: int, *, stream: TextIO | None = None) -> None:
        self._total, self._done, self._started = total, 0, time.perf_counter()
        self._stream = sys.stderr if stream is None else stream

    def advance(self, note: str = "") -> None:
        """Count one step, and say something of it."""
        self._done += 1
        seconds = (time.perf_counter() - self._started) / self._done
        bar = "#" * (_WIDTH * self._done // self._total)
        left = f"{seconds * (self._total - self._done):.0f} s left"
        end = "\n" if self._done == self._total else ""
        self._stream.write(
            f"\r[{bar:<{_WIDTH}}] {self._done}/{self._total} steps, {seconds:.2f} s/step, {left} {note}{end}"
        )
        self._stream.flush()
