"""The figure of layers x steps: how many orders of magnitude every module is over its limit at every step."""

from __future__ import annotations

import math
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from parity.report.axes import BLOCKS, Figure, bounded, label, layout, step_ticks
from parity.report.grouping import grouped
from parity.report.points import highest, places_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.report.points import Point

__all__ = ["heat"]

_MODES: Final = ("layers", "steps", "free")
_RANGES: Final = {"semantics": (-7, 7), "precision": (-2, 4)}
_LABELS: Final = 36
_WIDE_RANGE: Final = 8


def heat(question: str, points: Sequence[Point]) -> Figure | None:
    """Modules x steps of the layer replay (of the free run without one): orders of magnitude over the limit."""
    measured = [point for point in points if point.looped and point.measured]
    by_mode = grouped(measured, key=lambda point: point.pair.mode)
    if not by_mode:
        return None
    mode = min(by_mode, key=_MODES.index)
    found = by_mode[mode]
    # The worst of the ports and calls of a module at a step stands for them: a mean would hide one wrong port.
    worst = highest(found, key=lambda point: (point.path, point.step))
    orders = {place: round(math.log10(bounded(point.height)), 2) for place, point in worst.items()}
    paths, steps = list(places_of(found)), sorted(set(map(attrgetter("step"), found)))
    cells = [[orders.get((path, step)) for step in steps] for path in paths]
    return {"data": [_heat_data(paths, steps, cells, _RANGES[question], mode)], "layout": _heat_layout(paths, steps)}


def _heat_data(
    paths: list[str], steps: list[int], cells: list[list[float | None]], limits: tuple[int, int], mode: str
) -> Figure:
    """The cells; the colour changes its hue where the limit is."""
    low, high = limits
    middle = -low / (high - low)
    apart = 2 if high - low > _WIDE_RANGE else 1
    ticks = [tick for tick in range(low, high + 1) if tick % apart == 0]
    return {
        "type": "heatmap",
        "x": steps,
        "y": list(map(label, paths)),
        "z": cells,
        "zmin": low,
        "zmax": high,
        "xgap": 1,
        "hovertemplate": "%{y}<br>step %{x}: 10^%{z} of the limit (" + mode + ")<extra></extra>",
        "colorscale": [
            [0, "var(--heat-0)"],
            [middle, "var(--heat-1)"],
            [middle, "var(--heat-2)"],
            [1, "var(--heat-3)"],
        ],
        "colorbar": {
            "thickness": 12,
            "outlinewidth": 0,
            "title": {"text": "of the limit", "side": "right"},
            "tickvals": ticks,
            "ticktext": list(map(_tick, ticks)),
        },
    }


def _tick(order: int) -> str:
    """Return the words at an order of magnitude of the colour's scale."""
    return f"10<sup>{order}</sup>" if order else "limit"


def _heat_layout(paths: list[str], steps: list[int]) -> Figure:
    """Rows from the first module at the top; one label at the first row of each block that has room for it."""
    drawn = layout("step", "")
    labels: dict[int, str] = {}
    row = 0
    for block, members in groupby(paths, key=_block):
        last = max(labels, default=None)
        if last is None or (row - last) * _LABELS >= len(paths):
            labels[row] = label(block)
        row += len(list(members))
    drawn["yaxis"] = {
        "type": "category",
        "autorange": "reversed",
        "tickvals": list(labels),
        "ticktext": list(labels.values()),
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
        "color": "var(--quiet)",
        "tickfont": {"size": 11},
    }
    drawn["xaxis"] |= {**step_ticks(steps), "showgrid": False}
    drawn["height"] = min(760, max(300, 120 + 7 * len(paths)))
    return drawn


def _block(path: str) -> str:
    """Return the part of the model that a path belongs to, such as `unet.down_blocks.1`."""
    component, *inner = path.split(".")
    if len(inner) > 1 and inner[0] in BLOCKS:
        numbered = inner[:2] if inner[1].isdigit() else inner[:1]
        return ".".join([component, *numbered])
    return path if component == "unet" else component
