"""The table of stages: the verdict of each, and under every question and replay how many of its pairs fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

import msgspec

from parity.report.grouping import COLUMNS, column_of, grouped, in_order
from parity.report.verdicts import Shown, excused, fails_alone, gravest, shown, worst
from parity.report.words import visible

if TYPE_CHECKING:
    from parity.result import Pair, Result

__all__ = ["Cell", "StageRow", "stages"]

_STAGE_WORDS: Final[dict[str, Shown]] = {word: word for word in get_args(Shown)} | {"INHERITED": "inherited"}


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One stage under one question and mode: the verdict, how many pairs, how many fail, the worst number.

    `failed` counts those that fail by themselves, `explained` those that fail only because of others.
    """

    verdict: Shown
    total: int
    failed: int
    explained: int
    worst: str

    @property
    def wrong(self) -> int:
        """How many fail by themselves or, without those, only because of others."""
        return self.failed or self.explained


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stage: its verdict, its pairs, and a cell for each question and replay under which it has any."""

    stage: str
    verdict: Shown
    pairs: int
    cells: dict[tuple[str, str], Cell]

    @property
    def local(self) -> list[str]:
        """The worst errors that modules make by themselves, of each question that measured one."""
        return [cell.worst for (_, mode), cell in self.cells.items() if mode == "layers"]


def stages(result: Result) -> list[StageRow]:
    """Return the stages in order: those with pairs, and those that the result names."""
    by_stage = grouped(result.pairs, key=lambda pair: pair.stage)
    names = in_order([*by_stage, *result.stages])
    return [_row(name, by_stage.get(name, []), result.stages.get(name, "")) for name in names]


def _row(name: str, pairs: list[Pair], told: str) -> StageRow:
    """Return one row; the result's own word for the stage stands where it is a verdict, else the pairs decide."""
    # The result may know more than its pairs, such as a stage that was asked for and not measured.
    verdict = _STAGE_WORDS.get(told) or gravest(map(shown, pairs))
    by_column = grouped(pairs, key=column_of)
    cells = {column: _cell(by_column[column]) for column in COLUMNS if column in by_column}
    return StageRow(stage=visible(name), verdict=verdict, pairs=len(pairs), cells=cells)


def _cell(pairs: list[Pair]) -> Cell:
    """Summarise the pairs of one stage, question and mode."""
    return Cell(
        verdict=gravest(map(shown, pairs)),
        total=len(pairs),
        failed=sum(map(fails_alone, pairs)),
        explained=sum(map(excused, pairs)),
        worst=worst(pairs),
    )
