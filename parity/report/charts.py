"""Figures of a result as plain Plotly dictionaries: error over depth, error over steps, layers x steps.

The page draws each figure for one question at a time; `figures` returns them by name and question, only
those that have something to show.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from parity.compare.limits import RMS_FACTOR
from parity.report.axes import (
    Figure,
    depth_figure,
    error,
    floor,
    label,
    limit,
    line,
    over_depth,
    over_steps,
    step_figure,
    steps_of,
)
from parity.report.grouping import grouped
from parity.report.heat import heat
from parity.report.points import highest, places_of, points_of
from parity.report.verdicts import excess, fails_alone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from parity.report.points import Point
    from parity.result import PairMode, Result

__all__ = ["figures"]

_QUESTIONS: Final = ("semantics", "precision")
_UNIT: Final = "error relative to the exact reference"


class _Look(NamedTuple):
    """How the line of a replay is drawn; one that is seldom asked for waits in the legend."""

    drawn: Literal["lines", "markers"]
    width: float
    dash: str = "solid"
    visible: bool | Literal["legendonly"] = True


_LOOKS: Final[dict[PairMode, _Look]] = {
    "free": _Look("lines", 1.6),
    "steps": _Look("lines", 1.1, "dot", "legendonly"),
    "layers": _Look("markers", 1.1),
}
"""The replays from the most inherited to the most local error."""


def figures(result: Result) -> dict[str, dict[str, Figure]]:
    """Return `{"depth": {question: figure}, "steps": …, "heat": …}` for what the result holds."""
    made: dict[str, dict[str, Figure]] = {}
    for name, height, draw in (("depth", error, _depth), ("steps", error, _steps), ("heat", excess, heat)):
        asked = grouped(points_of(result.pairs, height), key=lambda point: point.pair.question)
        for question in _QUESTIONS:
            figure = draw(question, asked.get(question, []))
            if figure is not None:
                made.setdefault(name, {})[question] = figure
    return made


def _depth(question: str, points: Sequence[Point]) -> Figure | None:
    """Error of every module in the order of execution, worst over steps, calls and ports; one line per mode."""
    places = places_of(points)
    by_mode = grouped(points, key=lambda point: point.pair.mode)
    curves: list[Figure] = []
    judged: dict[str, Point] = {}
    for mode in _LOOKS:
        worst = highest(by_mode.get(mode, []), key=lambda point: point.path)
        if worst:
            curves.append(_depth_line(mode, worst.values(), places))
            judged = worst  # the last of the modes that was made is the most local
    if not curves:
        return None
    curves += _depth_limits(question, judged, places)
    curves += _marks([point for point in judged.values() if point.pair.mode == "layers"], places)
    return depth_figure(curves, places, _UNIT)


def _depth_line(mode: PairMode, worst: Iterable[Point], places: Mapping[str, int]) -> Figure:
    """One mode's line over the modules."""
    look, points = _LOOKS[mode], sorted(worst, key=lambda point: places[point.path])
    return {
        "type": "scatter",
        "connectgaps": True,
        "mode": look.drawn,
        "name": f"{mode} replay",
        **over_depth(points, places),
        "hovertemplate": "%{text}<br>" + mode + " %{y:.2e}<extra></extra>",
        "line": {
            "color": f"var(--{mode})",
            "width": look.width,
            "dash": look.dash,
        },
        "marker": {"color": f"var(--{mode})", "size": 4},
        "visible": look.visible,
    }


def _depth_limits(question: str, judged: Mapping[str, Point], places: Mapping[str, int]) -> list[Figure]:
    """The limit, and in the precision question the floor under it, over the places of the modules."""
    if question == "semantics":
        return [limit(question, 0, len(places) - 1)]
    floors = _floors({places[path]: point for path, point in judged.items()})
    if not floors.places:
        return []
    return [
        line("limit: 3 x floor", floors.places, floors.limits, "floor", "solid"),
        line("measured floor", floors.places, floors.heights, "floor", "dot") | {"visible": "legendonly"},
    ]


class _Floors(NamedTuple):
    """The places where a floor was measured, in order, and how high it is there."""

    places: list[int]
    heights: list[float]

    @property
    def limits(self) -> list[float]:
        """The limit over each floor."""
        return [RMS_FACTOR * height for height in self.heights]


def _floors(points: Mapping[int, Point]) -> _Floors:
    """Return the floors of points by their places."""
    found = _Floors([], [])
    for place in sorted(points):
        height = floor(points[place].pair)
        if height is not None:
            found.places.append(place)
            found.heights.append(height)
    return found


def _marks(local: Iterable[Point], places: Mapping[str, int]) -> list[Figure]:
    """Modules that fail by themselves as crosses, float32 islands as open diamonds."""
    wrong, islands = [], []
    for point in local:
        if fails_alone(point.pair):
            wrong.append(point)
        elif "island" in point.pair.flags:
            islands.append(point)
    crosses = {"color": "var(--mismatch)", "size": 11, "symbol": "x", "line": {"width": 1}}
    diamonds = {"color": "var(--inherited)", "size": 9, "symbol": "diamond-open", "line": {"width": 1}}
    return _marked("fails by itself", wrong, places, crosses) + _marked("float32 island", islands, places, diamonds)


def _marked(name: str, points: Sequence[Point], places: Mapping[str, int], marker: Figure) -> list[Figure]:
    """One mark at each of some modules; no curve where there are none."""
    if not points:
        return []
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "marker": marker,
            **over_depth(points, places),
            "hovertemplate": "%{text}<br>" + name + ", %{y:.2e}<extra></extra>",
        }
    ]


def _steps(question: str, points: Sequence[Point]) -> Figure | None:
    """Over the steps: the latents after each step, and the worst module, for every mode."""
    looped = filter(attrgetter("looped"), points)
    # What a step returns stands apart: all that its modules do wrong comes together there.
    found = grouped(looped, key=lambda point: (point.pair.mode, point.latents))
    curves: list[Figure] = []
    for mode in _LOOKS:
        curves += _step_line(mode, "latents after the step", found.get((mode, True), []), "solid")
        curves += _step_line(mode, "worst module", found.get((mode, False), []), "dot")
    if not curves:
        return None
    steps = steps_of(curves)
    if question == "semantics":
        curves.append(limit(question, steps[0], steps[-1]))
    else:
        curves += _step_limit(found.get(("free", True), []))
    return step_figure(curves, steps, _UNIT)


def _step_line(mode: str, name: str, points: Sequence[Point], dash: str) -> list[Figure]:
    """One line over the steps, the largest error of each; no curve where nothing was measured."""
    worst = highest(points, key=lambda point: point.step)
    if not worst:
        return []
    return [
        {
            "type": "scatter",
            "connectgaps": True,
            "mode": "lines+markers",
            "name": f"{mode}: {name}",
            **over_steps(worst),
            "text": [label(worst[step].pair.address) for step in sorted(worst)],
            "hovertemplate": "%{text}<br>" + mode + " %{y:.2e}<extra></extra>",
            "line": {"color": f"var(--{mode})", "width": 1.8, "dash": dash},
            "marker": {"color": f"var(--{mode})", "size": 6},
        }
    ]


def _step_limit(latents: Iterable[Point]) -> list[Figure]:
    """The limit of the latents after each step in the free run."""
    floors = _floors({point.step: point for point in latents})
    if not floors.places:
        return []
    return [line("limit of the latents, free: 3 x floor", floors.places, floors.limits, "limit", "dash")]
