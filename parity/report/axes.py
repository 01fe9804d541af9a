"""What the figures of a report share: axes, curves, limits, and numbers that a logarithmic axis can show.

Colours are written `var(--name)` and filled in by the page, so that one figure serves light and dark. Values
are rounded to four digits. A logarithmic axis has no zero: an exact zero is not drawn, and the curve goes on
over it; what is no number stands at `HIGHEST`.
"""

from __future__ import annotations

import math
from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from parity.address import component_of
from parity.compare.limits import RMS_FACTOR, SEMANTICS_RMS
from parity.report.words import as_float, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from parity.report.points import Point
    from parity.result import Number, Pair

__all__ = [
    "BLOCKS",
    "Figure",
    "bounded",
    "depth_figure",
    "error",
    "floor",
    "label",
    "layout",
    "limit",
    "line",
    "over_depth",
    "over_steps",
    "short",
    "step_figure",
    "step_ticks",
    "steps_of",
]

Figure = dict[str, Any]
LOWEST: Final = 1e-18
HIGHEST: Final = 1e9
BLOCKS: Final = frozenset({"down_blocks", "mid_block", "up_blocks", "encoder", "decoder"})
_LIMITS: Final = {"semantics": ("limit 1e-9", SEMANTICS_RMS), "precision": ("limit: 3 x its floor", RMS_FACTOR)}
_WIDE_DECADES: Final = 8
_NARROW_DECADES: Final = 2
_STEP_TICKS: Final = 12


def label(text: str) -> str:
    """Return foreign text for a figure, which reads a few HTML tags in its labels."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;")


def error(pair: Pair) -> float | None:
    """Return the pair's error relative to the exact reference, within what a logarithmic axis can show."""
    if pair.question == "precision":
        relative = _relative(pair.error_rms, pair)
        if relative is not None:
            return relative
    found = as_float(pair.rel_l2)
    return None if found is None else bounded(found)


def floor(pair: Pair) -> float | None:
    """Return the pair's floor relative to the exact reference."""
    return _relative(pair.floor_rms, pair)


def _relative(value: Number | None, pair: Pair) -> float | None:
    """Return a number of a pair relative to the exact reference, where both were measured."""
    found, scale = as_float(value), as_float(pair.scale)
    return None if found is None or not scale else bounded(found / scale)


def bounded(value: float) -> float:
    """Return the value inside the axis: zero at the bottom, infinity and not a number at the top."""
    return HIGHEST if math.isnan(value) else min(max(value, LOWEST), HIGHEST)


def short(value: float) -> float | None:
    """Return the value with four significant digits, nothing for an exact zero."""
    return None if value <= LOWEST else float(f"{value:.3e}")


def over_depth(points: Iterable[Point], places: Mapping[str, int]) -> Figure:
    """Return x and y of points over the modules."""
    points = list(points)
    return {"x": [places[point.path] for point in points], "y": [short(point.height) for point in points]}


def over_steps(points: Mapping[int, Point]) -> Figure:
    """Return x and y of one point for each step."""
    steps = sorted(points)
    return {"x": steps, "y": [short(points[step].height) for step in steps]}


def line(name: str, x: list[int], y: list[float], color: str, dash: str) -> Figure:
    """A reference line."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": list(map(short, y)),
        "hoverinfo": "skip",
        "line": {"color": f"var(--{color})", "width": 1.2, "dash": dash},
    }


def limit(question: str, first: int, last: int) -> Figure:
    """The limit of a question, where it is one for all places: of float64, or of multiples of each one's floor."""
    name, height = _LIMITS[question]
    return line(name, [first, last], [height] * 2, "limit", "dash")


def layout(x: str, y: str) -> Figure:
    """What all figures share; colours are filled in by the page."""
    axis = {
        "color": "var(--quiet)",
        "gridcolor": "var(--grid)",
        "zeroline": False,
        "automargin": True,
        "tickfont": {"size": 11},
    }
    return {
        "paper_bgcolor": "var(--surface)",
        "plot_bgcolor": "var(--surface)",
        "font": {"color": "var(--text)", "size": 12},
        "margin": {"l": 56, "r": 12, "t": 12, "b": 44},
        "height": 380,
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": "var(--raised)",
            "font": {"color": "var(--text)", "size": 12},
            "bordercolor": "var(--rule)",
        },
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "xaxis": {**axis, "title": {"text": x}, "showgrid": False},
        "yaxis": {**axis, "title": {"text": y}, "type": "log", "exponentformat": "power"},
    }


def depth_figure(curves: list[Figure], places: Mapping[str, int], unit: str) -> Figure:
    """Return a figure over the modules in the order of execution.

    The names of the modules stand once, in `meta`; the page gives them to the curves that have no `text`, by their x.
    """
    drawn = layout("module, in the order of execution", unit)
    drawn["meta"] = list(map(label, places))
    drawn["shapes"], drawn["annotations"] = _parts(places)
    drawn["xaxis"] |= {"showticklabels": False, "range": [-0.5, len(places) - 0.5]}
    drawn["yaxis"]["dtick"] = _ticks(curves)
    return {"data": curves, "layout": drawn}


def step_figure(curves: list[Figure], steps: list[int], unit: str) -> Figure:
    """Return a figure over the steps."""
    drawn = layout("step", unit)
    drawn["xaxis"] |= step_ticks(steps)
    drawn["yaxis"]["dtick"] = _ticks(curves)
    return {"data": curves, "layout": drawn}


def steps_of(curves: Iterable[Figure]) -> list[int]:
    """Return all steps that any curve has, in order."""
    return sorted(set(chain.from_iterable(map(itemgetter("x"), curves))))


def step_ticks(steps: list[int]) -> Figure:
    """Return the ticks of an axis of steps: each, or so many that there are about a dozen."""
    return {"tickmode": "linear", "dtick": max(1, len(steps) // _STEP_TICKS)}


def _ticks(curves: list[Figure]) -> int | str:
    """Return the distance of ticks on the logarithmic axis at which a few of them are in sight."""
    decades = _decades(curves)
    if decades > _WIDE_DECADES:
        return 2
    return 1 if decades > _NARROW_DECADES else "D2"


def _decades(curves: Iterable[Figure]) -> float:
    """Return over how many orders of magnitude the heights of all curves reach."""
    heights = list(filter(None, chain.from_iterable(map(itemgetter("y"), curves))))
    if not heights:
        return 0.0
    return math.log10(max(heights) / min(heights))


def _parts(paths: Iterable[str]) -> tuple[list[Figure], list[Figure]]:
    """Return lines between the parts of the model, and a name under each; the page drops names without room."""
    dividers: list[Figure] = []
    names: list[Figure] = []
    start = 0
    for part, members in groupby(paths, key=_part):
        width = len(list(members))
        dividers.append(
            {
                "type": "line",
                "x0": start - 0.5,
                "x1": start - 0.5,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "layer": "below",
                "line": {"color": "var(--rule)", "width": 1},
            }
        )
        names.append(
            {
                "x": start + (width - 1) / 2,
                "y": 0,
                "yref": "paper",
                "yanchor": "top",
                "yshift": -4,
                "showarrow": False,
                "width": width,
                "text": label(part),
            }
        )
        start += width
    return dividers[1:], names


def _part(path: str) -> str:
    """Return the component of a path, with the block that follows it where it is parted into blocks."""
    component = component_of(path)
    inner = path.removeprefix(f"{component}.").partition(".")[0]
    return f"{component}.{inner}" if inner in BLOCKS else component
