"""Figures of a result of several candidates: one curve for each of them, as plain Plotly dictionaries.

`figures` returns them by name and by `QUESTION, REPLAY`. In float64 the error is relative to the exact
reference; in the working types, which differ from candidate to candidate, it is in multiples of each one's own
floor, so that one limit serves all.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from parity.report.axes import (
    Figure,
    bounded,
    depth_figure,
    error,
    label,
    limit,
    over_depth,
    over_steps,
    step_figure,
    steps_of,
)
from parity.report.grouping import column_of, grouped
from parity.report.points import highest, places_of, points_of
from parity.report.verdicts import fails_alone
from parity.report.words import as_float

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parity.report.points import Point
    from parity.result import Pair, Result

__all__ = ["figures"]

_COLOURS: Final = ("free", "mismatch", "layers", "steps", "inherited", "other")
_DASHES: Final = ("solid", "dash", "dot")
_MODES: Final = {"depth": ("layers", "steps", "free"), "steps": ("free", "steps")}
_UNITS: Final = {"semantics": "error relative to the exact reference", "precision": "error in multiples of its floor"}


class _Look(NamedTuple):
    """How a candidate's curves are drawn."""

    name: str
    color: str
    dash: str


def figures(result: Result) -> dict[str, dict[str, Figure]]:
    """Return `{"depth": {"semantics, layers": figure, …}, "steps": …}` for what the result holds."""
    by_column = grouped(result.pairs, key=column_of)
    made: dict[str, dict[str, Figure]] = {}
    for name, draw in (("depth", _depth), ("steps", _steps)):
        for question, height in _HEIGHTS.items():
            for mode in _MODES[name]:
                points = points_of(by_column.get((question, mode), []), height)
                figure = draw(question, _by_candidate(result, points))
                if figure is not None:
                    made.setdefault(name, {})[f"{question}, {mode}"] = figure
    return made


def _by_candidate(result: Result, points: Sequence[Point]) -> dict[_Look, list[Point]]:
    """Return the points of each candidate; it keeps its look in every figure, also where it has none in one."""
    found = grouped(points, key=lambda point: point.pair.candidate)
    looks = {}
    for place, name in enumerate(result.candidates):
        round_, color = divmod(place, len(_COLOURS))
        look = _Look(label(name), f"var(--{_COLOURS[color]})", _DASHES[round_ % len(_DASHES)])
        looks[look] = found.get(name, [])
    return looks


def _over_floor(pair: Pair) -> float | None:
    """Return a pair's error in multiples of its floor, within what a logarithmic axis can show."""
    found = as_float(pair.ratio_to_floor)
    return None if found is None else bounded(found)


_HEIGHTS: Final = {"semantics": error, "precision": _over_floor}


def _depth(question: str, asked: Mapping[_Look, Sequence[Point]]) -> Figure | None:
    """Error of every module in the order of execution, worst over steps, calls and ports."""
    places = places_of(chain.from_iterable(asked.values()))
    curves: list[Figure] = []
    for look, points in asked.items():
        worst = highest(points, key=lambda point: point.path)
        if worst:
            curves += _depth_curves(look, sorted(worst.values(), key=lambda point: places[point.path]), places)
    if not curves:
        return None
    curves.append(limit(question, 0, len(places) - 1))
    return depth_figure(curves, places, _UNITS[question])


def _depth_curves(look: _Look, worst: Sequence[Point], places: Mapping[str, int]) -> list[Figure]:
    """One candidate's curve over the modules, and a cross at each that fails by itself."""
    drawn = "markers" if worst[0].pair.mode == "layers" else "lines"
    wrong = [point for point in worst if fails_alone(point.pair)]
    shared = {"type": "scatter", "legendgroup": look.name, "hovertemplate": "%{text}<br>%{y:.2e}<extra></extra>"}
    curves: list[Figure] = [
        {
            **shared,
            "name": look.name,
            "connectgaps": True,
            "mode": drawn,
            **over_depth(worst, places),
            "line": {"color": look.color, "width": 1.4, "dash": look.dash},
            "marker": {"color": look.color, "size": 4},
        }
    ]
    if wrong:
        curves.append(
            {
                **shared,
                "name": f"{look.name}: fails by itself",
                "mode": "markers",
                "showlegend": False,
                **over_depth(wrong, places),
                "marker": {"color": look.color, "size": 10, "symbol": "x"},
            }
        )
    return curves


def _steps(question: str, asked: Mapping[_Look, Sequence[Point]]) -> Figure | None:
    """The latents after each step."""
    curves: list[Figure] = []
    for look, points in asked.items():
        latents = [point for point in points if point.latents and point.looped]
        worst = highest(latents, key=lambda point: point.step)
        if worst:
            curves.append(
                {
                    "type": "scatter",
                    "connectgaps": True,
                    "mode": "lines+markers",
                    "name": look.name,
                    **over_steps(worst),
                    "hovertemplate": "step %{x}<br>%{y:.2e}<extra></extra>",
                    "line": {"color": look.color, "width": 1.8, "dash": look.dash},
                    "marker": {"color": look.color, "size": 6},
                }
            )
    if not curves:
        return None
    steps = steps_of(curves)
    curves.append(limit(question, steps[0], steps[-1]))
    return step_figure(curves, steps, _UNITS[question])
