"""What the platforms cost: the error of each operator by itself, side by side, and the pairs that it explains.

>>> costs({"torch": {"exp": {"float32": {"rel_l2": 2e-8}}}, "ms": {"exp": {"float32": {"rel_l2": 6e-7}}}})
(['torch', 'ms', 'ms / torch'], [('exp · float32', ['2.0e-08', '6.0e-07', '30x'])])
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from parity.address import path_of
from parity.report.words import NOTHING, count, number, ratio, visible

if TYPE_CHECKING:
    from parity.result import Result

__all__ = ["costs", "flagged"]


def costs(platform: dict[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return (column names, rows): rel_l2 of every operator in every type on each side, and how it compares with the first."""
    sides = {name: dict(_errors(table)) for name, table in platform.items()}
    names = [name for name, errors in sides.items() if errors]
    operators = dict.fromkeys(operator for name in names for operator in sides[name])
    rows = []
    for operator in operators:
        errors = [sides[name].get(operator) for name in names]
        first = errors[0]
        against = [ratio(error / first) if first and error is not None else NOTHING for error in errors[1:]]
        rows.append((visible(operator), [*map(number, errors), *against]))
    shown = [visible(name) for name in names]
    return [*shown, *(f"{name} / {shown[0]}" for name in shown[1:])], rows


def _errors(table: Any) -> list[tuple[str, float]]:
    """Return (operator and type, rel_l2) of one side's table; nothing of what is no table."""
    return [
        (f"{kind} \N{MIDDLE DOT} {dtype}", float(numbers["rel_l2"]))
        for kind, by in (table.items() if isinstance(table, dict) else ())
        for dtype, numbers in (by.items() if isinstance(by, dict) else ())
        if isinstance(numbers, dict) and isinstance(numbers.get("rel_l2"), float)
    ]


def flagged(result: Result) -> list[str]:
    """Return one line for each module whose pairs match with some operator in float64 alone."""
    found: dict[str, list[str]] = defaultdict(list)
    for pair in result.pairs:
        if "platform-precision" in pair.flags:
            found[path_of(pair.address)].append(pair.mode)
    return [
        f"{visible(path)}: {count(len(modes), 'pair')} ({', '.join(dict.fromkeys(modes))})"
        for path, modes in found.items()
    ]
