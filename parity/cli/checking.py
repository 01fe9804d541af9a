"""The commands that check the judge itself: `selftest`, and `calibrate`, which proposes limits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from parity import disk
from parity.cli.progress import bar, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from parity.result import Pair
    from parity.selftest import Score

__all__ = ["calibrate", "selftest"]

_SHOWN = 5
_WRONG = ("false_passes", "false_alarms", "silences", "crashes")


def selftest(seed: int, *, json: bool) -> int:
    """Print the score of the corpus of `seed`; return 0 only if nothing was judged wrong."""
    import msgspec
    from rich.console import Console

    from parity.selftest import run

    with bar("selftest"):
        score = run(seed, peers=True)
    if json:
        sys.stdout.write(msgspec.json.encode(score).decode() + "\n")
    else:
        _show(score, seed, Console())
    return int(any(getattr(score, name) for name in _WRONG))


def _show(score: Score, seed: int, console: object) -> None:
    """Print the table of all tools, and what parity got wrong by name."""
    from rich.table import Table

    from parity.report import terminal

    counts = score.pairs
    table = Table(
        title=f"seed {seed}: {counts['fault']} faults, {counts['healthy']} healthy pairs, {counts['flagged']} to be flagged"
    )
    for column in ("", "false passes", "false alarms", "silences", "crashes"):
        table.add_column(column, justify="left" if not column else "right")
    for each in (score, *score.peers):
        table.add_row(each.tool, *(str(len(getattr(each, name))) for name in _WRONG))
    terminal.table(console, table)  # type: ignore[arg-type]
    for name in _WRONG:
        for pair in getattr(score, name):
            sys.stdout.write(f"{name.replace('_', ' ')}: {pair}\n")


def calibrate(trace: Path, candidates: Sequence[Path], *, out: Path | None, headroom: float, jobs: int | None) -> int:
    """Write a tolerance file for what these traces differ by; return 0 only if it makes them match."""
    from parity import compare as comparer
    from parity.compare import calibrate as calibration
    from parity.trace import Trace
    from parity.trace.sides import check_sides

    if out is not None:
        disk.check_file(out)
    with bar("calibrate") as progress:
        reference, opened = Trace.open(trace), [Trace.open(path) for path in candidates]
        check_sides(reference, opened, "calibrate")
        result = comparer.compare(
            reference, opened, jobs=jobs, progress=lambda done, total: progress("pairs", done, total)
        )
    proposal = calibration.propose(result, calibration.kinds_of(opened), headroom)
    title = f"Proposed by: parity calibrate {trace} {' '.join(map(str, candidates))} --headroom {headroom:g}"
    text = calibration.encode(proposal.rules, title)
    if out is None:
        sys.stdout.write(text)
    else:
        disk.write(out, text.encode())
        say(f"wrote {out}: {len(proposal.rules)} rules")
    failed = _failing(result.pairs) - _failing(proposal.left)
    if failed:
        say(f"pairs that fail the default limits and match under these rules: {failed}; their reasons say so")
    _say_left(proposal.left)
    unexplained = result.coverage.unexplained
    if unexplained:
        say(f"{len(unexplained)} paths were not compared for no listed reason, such as {unexplained[0]}")
    unread = result.coverage.unread
    if unread:
        say(f"{len(unread)} files were not read, such as {next(iter(unread))}")
    return int(bool(proposal.left or unexplained or unread))


def _failing(pairs: Sequence[Pair]) -> int:
    """Return how many of these pairs differ by more than they may."""
    return sum(pair.verdict == "MISMATCH" for pair in pairs)


def _say_left(left: Sequence[Pair]) -> None:
    """Name the pairs that no rule excuses."""
    for pair in left[:_SHOWN]:
        why = pair.detail or pair.hard or pair.limit
        say(f"no rule excuses {pair.address}: {pair.verdict} ({pair.mode}); {why}")
    if len(left) > _SHOWN:
        say(f"no rule excuses {len(left) - _SHOWN} more pairs")
