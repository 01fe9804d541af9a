"""What the figures of a report share: axes, reference lines, and numbers that a logarithmic axis can show.

Colours are written `var(--name)` and filled in by the page, so that one figure serves light and dark. Values
are rounded to four digits. A logarithmic axis has no zero: an exact zero is not drawn, and the curve goes on
over it; what is no number stands at `HIGHEST`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from parity.report.words import as_float, visible

if TYPE_CHECKING:
    from parity.result import Pair

__all__ = ["Figure", "bounded", "error", "floor", "label", "layout", "line", "short", "ticked"]

Figure = dict[str, Any]
LOWEST: Final = 1e-18
HIGHEST: Final = 1e9
_WIDE_DECADES: Final = 8
_NARROW_DECADES: Final = 2


def label(text: str) -> str:
    """Return foreign text for a figure, which reads a few HTML tags in its labels."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;")


def error(pair: Pair) -> float | None:
    """Return the pair's error relative to the exact reference, within what a logarithmic axis can show."""
    found = as_float(pair.rel_l2)
    scale, rms = as_float(pair.scale), as_float(pair.error_rms)
    if pair.question == "precision" and rms is not None and scale:
        found = rms / scale
    return None if found is None else bounded(found)


def bounded(value: float) -> float:
    """Return the value inside the axis: zero at the bottom, infinity and not a number at the top."""
    return HIGHEST if math.isnan(value) else min(max(value, LOWEST), HIGHEST)


def short(value: float | None) -> float | None:
    """Return the value with four significant digits, nothing for an exact zero."""
    return None if value is None or value <= LOWEST else float(f"{value:.3e}")


def ticked(drawn: Figure, curves: list[Figure]) -> None:
    """Set the distance of ticks on the logarithmic y axis so that a few of them are in sight."""
    values = [value for curve in curves for value in curve["y"] if value]
    decades = math.log10(max(values) / min(values)) if values else 0.0
    drawn["yaxis"]["dtick"] = 2 if decades > _WIDE_DECADES else 1 if decades > _NARROW_DECADES else "D2"


def floor(pair: Pair) -> float | None:
    """Return the pair's floor relative to the exact reference."""
    rms, scale = as_float(pair.floor_rms), as_float(pair.scale)
    return None if rms is None or not scale else bounded(rms / scale)


def line(name: str, x: list[int], y: list[float], color: str, dash: str) -> Figure:
    """A reference line."""
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": [short(value) for value in y],
        "hoverinfo": "skip",
        "line": {"color": f"var(--{color})", "width": 1.2, "dash": dash},
    }  # fmt: skip


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
        "paper_bgcolor": "var(--surface)", "plot_bgcolor": "var(--surface)",
        "font": {"color": "var(--text)", "size": 12},
        "margin": {"l": 56, "r": 12, "t": 12, "b": 44}, "height": 380, "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": "var(--raised)", "font": {"color": "var(--text)", "size": 12}, "bordercolor": "var(--rule)",
        },
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "xaxis": {**axis, "title": {"text": x}, "showgrid": False},
        "yaxis": {**axis, "title": {"text": y}, "type": "log", "exponentformat": "power"},
    }  # fmt: skip
