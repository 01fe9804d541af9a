"""What the platforms cost: the error of each operator by itself, side by side, and the pairs that it explains.

>>> costs({"torch": {"exp": {"float32": {"rel_l2": 2e-8}}}, "ms": {"exp": {"float32": {"rel_l2": 6e-7}}}})
(['torch', 'ms', 'ms / torch'], [('exp · float32', ['2.0e-08', '6.0e-07', '30x'])])
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from parity.address import path_of
from parity.report.grouping import grouped
from parity.report.words import NOTHING, as_table, count, number, ratio, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.result import Result

__all__ = ["costs", "flagged"]


def costs(platform: dict[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return (column names, rows): rel_l2 of every operator in every type on each side, and how it compares with the first."""
    measured: dict[str, dict[str, float]] = {}
    for name, table in platform.items():
        errors = dict(_errors(table))
        if errors:
            measured[visible(name)] = errors
    heads = list(measured)
    for name in heads[1:]:
        heads.append(f"{name} / {heads[0]}")
    rows = []
    for operator in dict.fromkeys(chain.from_iterable(measured.values())):
        errors_of_sides = [errors.get(operator) for errors in measured.values()]
        rows.append((visible(operator), _row(errors_of_sides)))
    return heads, rows


def _row(errors: list[float | None]) -> list[str]:
    """Return the errors of one operator, then those of the other sides in multiples of the first one's."""
    first, *others = errors
    return [*map(number, errors), *(_multiple(error, first) for error in others)]


def _multiple(error: float | None, first: float | None) -> str:
    """Return how many times another one an error is; nothing is a multiple of zero, nor of what was not measured."""
    if error is None or not first:
        return NOTHING
    return ratio(error / first)


def _errors(table: Any) -> Iterator[tuple[str, float]]:
    """Yield (operator and type, rel_l2) of one side's table; nothing of what is no table."""
    for operator, by_type in as_table(table).items():
        for dtype, numbers in as_table(by_type).items():
            error = as_table(numbers).get("rel_l2")
            if isinstance(error, float):
                yield f"{operator} \N{MIDDLE DOT} {dtype}", error


def flagged(result: Result) -> list[str]:
    """Return one line for each module whose pairs match with some operator in float64 alone."""
    pairs = [pair for pair in result.pairs if "platform-precision" in pair.flags]
    lines = []
    for path, found in grouped(pairs, key=lambda pair: path_of(pair.address)).items():
        modes = ", ".join(grouped(found, key=lambda pair: pair.mode))
        lines.append(f"{visible(path)}: {count(len(found), 'pair')} ({modes})")
    return lines
