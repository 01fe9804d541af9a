"""Progress on stderr: a bar on a terminal, one line per stage elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from parity.errors import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["bar", "say"]


def say(text: str) -> None:
    """Write one line to stderr; what is no text for a terminal, as in the names of files, is written as an escape."""
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()


@contextmanager
def bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield `progress(stage, done, total)`, which shows where `title` is."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _terminal(title, console) as progress:
            yield progress
        return
    started, shown = time.perf_counter(), {""}

    def line(stage: str, _done: int, _total: int) -> None:
        if stage not in shown:
            shown.add(stage)
            say(f"[{title}] {time.perf_counter() - started:5.1f} s  {stage}")

    yield line
    say(f"[{title}] {time.perf_counter() - started:5.1f} s  done")


@contextmanager
def _terminal(title: str, console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Yield the same for a terminal, as one moving bar per stage."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn(f"[bold]{title}[/] {{task.description}}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as display:
        tasks: dict[str, int] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = display.add_task(stage, total=total)
            display.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield update
