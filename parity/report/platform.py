"""What the platforms cost: the error of each operator by itself, side by side, and the pairs that it explains.

>>> costs({"torch": {"exp": {"float32": {"rel_l2": 2e-8}}}, "ms": {"exp": {"float32": {"rel_l2": 6e-7}}}})
(['torch', 'ms', 'ms / torch'], [('exp · float32', ['2.0e-08', '6.0e-07', '30x'])])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parity.address import path_of
from parity.report.grouping import grouped
from parity.report.words import NOTHING, count, number, ratio, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.result import Result

__all__ = ["costs", "flagged"]


def costs(platform: dict[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return (column names, rows): rel_l2 of every operator in every type on each side, and how it compares with the first."""
    sides = {visible(name): dict(_errors(table)) for name, table in platform.items()}
    measured = {name: errors for name, errors in sides.items() if errors}
    operators: dict[str, None] = {}
    for errors in measured.values():
        operators |= dict.fromkeys(errors)
    rows = [(visible(operator), _row([errors.get(operator) for errors in measured.values()])) for operator in operators]
    first, *others = measured or [""]
    return [*measured, *(f"{name} / {first}" for name in others)], rows


def _row(errors: list[float | None]) -> list[str]:
    """Return the errors of one operator, then those of the other sides in multiples of the first one's."""
    first, *others = errors
    return [*map(number, errors), *(_multiple(error, first) for error in others)]


def _multiple(error: float | None, of: float | None) -> str:
    """Return how many times an error is another one, where both were measured and it can be said."""
    return NOTHING if error is None or not of else ratio(error / of)


def _errors(table: Any) -> Iterator[tuple[str, float]]:
    """Yield (operator and type, rel_l2) of one side's table; nothing of what is no table."""
    for operator, by_type in _items(table):
        for dtype, numbers in _items(by_type):
            error = dict(_items(numbers)).get("rel_l2")
            if isinstance(error, float):
                yield f"{operator} \N{MIDDLE DOT} {dtype}", error


def _items(table: Any) -> list[tuple[str, Any]]:
    """Return the items of a table; nothing of what is no table."""
    return list(table.items()) if isinstance(table, dict) else []


def flagged(result: Result) -> list[str]:
    """Return one line for each module whose pairs match with some operator in float64 alone."""
    pairs = [pair for pair in result.pairs if "platform-precision" in pair.flags]
    lines = []
    for path, found in grouped(pairs, key=lambda pair: path_of(pair.address)).items():
        modes = dict.fromkeys(pair.mode for pair in found)
        lines.append(f"{visible(path)}: {count(len(found), 'pair')} ({', '.join(modes)})")
    return lines
