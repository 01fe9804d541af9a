"""Figures of a result as plain Plotly dictionaries: error over depth, error over steps, layers x steps.

Colours are written `var(--name)` and filled in by the page, so that one figure serves light and dark. The
page draws each figure for one question at a time; `figures` returns them by name and question, only those
that have something to show. Values are rounded to four digits; zero errors stand at the bottom of a
logarithmic axis as `LOWEST`, because a log axis has no zero.
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from parity.address import Address
from parity.compare.limits import RMS_FACTOR, SEMANTICS_RMS
from parity.errors import AddressError
from parity.report.summary import excess, excused
from parity.report.words import as_float, visible

if TYPE_CHECKING:
    from parity.result import Pair, Result

__all__ = ["figures"]

Figure = dict[str, Any]
LOWEST: Final = 1e-18
HIGHEST: Final = 1e18
_QUESTIONS: Final = ("semantics", "precision")
_MODES: Final = ("free", "steps", "layers")
_PARTED: Final = frozenset({"down_blocks", "mid_block", "up_blocks", "encoder", "decoder"})


def figures(result: Result) -> dict[str, dict[str, Figure]]:
    """Return `{"depth": {question: figure}, "steps": …, "heat": …}` for what the result holds."""
    outputs = [(pair, address) for pair in result.pairs if (address := _output(pair.address)) is not None]
    made: dict[str, dict[str, Figure]] = {"depth": {}, "steps": {}, "heat": {}}
    for question in _QUESTIONS:
        asked = [(pair, address) for pair, address in outputs if pair.question == question]
        for name, draw in (("depth", _depth), ("steps", _steps), ("heat", _heat)):
            figure = draw(question, asked)
            if figure is not None:
                made[name][question] = figure
    return {name: by_question for name, by_question in made.items() if by_question}


@lru_cache(maxsize=65536)
def _output(text: str) -> Address | None:
    """Return the address when it is an output, else None."""
    try:
        address = Address.parse(text)
    except AddressError:
        return None
    return address if address.port.startswith("output") else None


def _label(text: str) -> str:
    """Return foreign text for a figure, which reads a few HTML tags in its labels."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;")


def _error(pair: Pair) -> float | None:
    """Return the pair's error relative to the exact reference, within what a logarithmic axis can show."""
    found = as_float(pair.rel_l2)
    scale, error = as_float(pair.scale), as_float(pair.error_rms)
    if pair.question == "precision" and error is not None and scale:
        found = error / scale
    return None if found is None else _bounded(found)


def _bounded(value: float) -> float:
    """Return the value inside the axis: zero at the bottom, infinity and not a number at the top."""
    return HIGHEST if math.isnan(value) else min(max(value, LOWEST), HIGHEST)


def _short(value: float | None) -> float | None:
    """Return the value with four significant digits."""
    return None if value is None else float(f"{value:.3e}")


def _floor(pair: Pair) -> float | None:
    """Return the pair's floor relative to the exact reference."""
    floor, scale = as_float(pair.floor_rms), as_float(pair.scale)
    return None if floor is None or not scale else _bounded(floor / scale)


def _depth(question: str, asked: list[tuple[Pair, Address]]) -> Figure | None:
    """Error of every module in the order of execution, worst over steps, calls and ports; one line per mode."""
    places: dict[str, int] = {}
    for _, address in sorted(asked, key=lambda item: item[0].order):
        places.setdefault(address.path, len(places))
    worst: dict[str, dict[str, Pair]] = {mode: {} for mode in _MODES}
    for pair, address in asked:
        kept = worst.get(pair.mode, {}).get(address.path)
        if _error(pair) is not None and (kept is None or (_error(pair) or 0.0) > (_error(kept) or 0.0)):
            worst.setdefault(pair.mode, {})[address.path] = pair
    data = [_depth_line(mode, by_path, places) for mode, by_path in worst.items() if by_path]
    if not data:
        return None
    local = worst["layers"] or worst["steps"] or worst["free"]
    data += _judged_lines(question, local, places)
    data += _failures(worst["layers"], places)
    layout = _layout("module, in the order of execution", "error relative to the exact reference")
    layout["shapes"], layout["annotations"] = _groups(list(places))
    layout["xaxis"] |= {"showticklabels": False, "range": [-0.5, len(places) - 0.5]}
    return {"data": data, "layout": layout}


def _depth_line(mode: str, by_path: dict[str, Pair], places: dict[str, int]) -> Figure:
    """One mode's line over the modules."""
    paths = sorted(by_path, key=places.__getitem__)
    return {
        "type": "scatter", "mode": "lines+markers" if mode == "layers" else "lines", "name": f"{mode} replay",
        "x": [places[path] for path in paths],
        "y": [_short(_error(by_path[path])) for path in paths],
        "text": [_label(path) for path in paths],
        "hovertemplate": "%{text}<br>" + mode + " %{y:.2e}<extra></extra>",
        "line": {"color": f"var(--{mode})", "width": 1.6 if mode == "free" else 1.1, "dash": "dot" if mode == "steps" else "solid"},
        "marker": {"color": f"var(--{mode})", "size": 4},
        "visible": "legendonly" if mode == "steps" else True,
    }  # fmt: skip


def _judged_lines(question: str, local: dict[str, Pair], places: dict[str, int]) -> list[Figure]:
    """The limit, and in the precision question the floor under it."""
    if question == "semantics":
        return [_line("limit 1e-9", [0, len(places) - 1], [SEMANTICS_RMS] * 2, "limit", "dash")]
    paths = [path for path in sorted(local, key=places.__getitem__) if _floor(local[path]) is not None]
    if not paths:
        return []
    floors = [_floor(local[path]) or 0.0 for path in paths]
    x = [places[path] for path in paths]
    return [
        _line("measured floor", x, floors, "floor", "solid"),
        _line("limit: 3 x floor", x, [RMS_FACTOR * floor for floor in floors], "limit", "dash"),
    ]


def _line(name: str, x: list[int], y: list[float], color: str, dash: str) -> Figure:
    """A reference line."""
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": [_short(value) for value in y], "hoverinfo": "skip",
        "line": {"color": f"var(--{color})", "width": 1.2, "dash": dash},
    }  # fmt: skip


def _failures(local: dict[str, Pair], places: dict[str, int]) -> list[Figure]:
    """Modules that fail by themselves, as crosses."""
    wrong = [path for path, pair in local.items() if pair.verdict != "MATCH" and not excused(pair)]
    if not wrong:
        return []
    return [{
        "type": "scatter", "mode": "markers", "name": "fails by itself",
        "x": [places[path] for path in wrong], "y": [_short(_error(local[path])) for path in wrong],
        "text": [_label(path) for path in wrong], "hovertemplate": "%{text}<br>fails by itself, %{y:.2e}<extra></extra>",
        "marker": {"color": "var(--mismatch)", "size": 11, "symbol": "x", "line": {"color": "var(--surface)", "width": 1}},
    }]  # fmt: skip


def _group(path: str) -> str:
    """Return the part of the model that a path belongs to, such as `unet.down_blocks.1`."""
    parts = path.split(".")
    if len(parts) > 2 and parts[1] in _PARTED:  # noqa: PLR2004 - component, part, number
        return ".".join(parts[: 3 if parts[2].isdigit() else 2])
    return path if parts[0] == "unet" else parts[0]


def _groups(paths: list[str]) -> tuple[list[Figure], list[Figure]]:
    """Return lines between components and a name for each, for paths in order; the page drops names without room."""
    starts: list[tuple[int, str]] = []
    for place, path in enumerate(paths):
        component = ".".join(path.split(".")[: 2 if path.startswith("unet.") and path.split(".")[1] in _PARTED else 1])
        if not starts or starts[-1][1] != component:
            starts.append((place, component))
    shapes: list[Figure] = []
    names: list[Figure] = []
    for (start, component), end in zip(starts, [*(place for place, _ in starts[1:]), len(paths)], strict=True):
        shapes.append({"type": "line", "x0": start - 0.5, "x1": start - 0.5, "y0": 0, "y1": 1, "yref": "paper", "layer": "below",
                       "line": {"color": "var(--rule)", "width": 1}})  # fmt: skip
        names.append({"x": (start + end - 1) / 2, "y": 0, "yref": "paper", "yanchor": "top", "yshift": -4, "showarrow": False,
                      "width": end - start, "text": _label(component)})  # fmt: skip
    return shapes[1:], names


def _steps(question: str, asked: list[tuple[Pair, Address]]) -> Figure | None:
    """Over the steps: the latents after each step, and the worst module, for every mode."""
    data = []
    for mode in _MODES:
        latents, modules = defaultdict(list), defaultdict(list)
        for pair, address in asked:
            if pair.mode == mode and address.step is not None and _error(pair) is not None:
                (latents if address.path == "scheduler.step" else modules)[address.step].append(pair)
        for name, by_step, dash in (("latents after the step", latents, "solid"), ("worst module", modules, "dot")):
            if by_step:
                data.append(_step_line(mode, name, by_step, dash))
    if not data:
        return None
    steps = sorted({step for line in data for step in line["x"]})
    limit = [_line("limit 1e-9", [steps[0], steps[-1]], [SEMANTICS_RMS] * 2, "limit", "dash")] if question == "semantics" else _step_floor(asked)
    layout = _layout("step", "error relative to the exact reference")
    layout["xaxis"] |= {"tickmode": "linear", "dtick": max(1, len(steps) // 12)}
    return {"data": data + limit, "layout": layout}


def _step_line(mode: str, name: str, by_step: dict[int, list[Pair]], dash: str) -> Figure:
    """One line over the steps: the largest error of each."""
    steps = sorted(by_step)
    worst = [max(by_step[step], key=lambda pair: _error(pair) or 0.0) for step in steps]
    return {
        "type": "scatter", "mode": "lines+markers", "name": f"{mode}: {name}", "x": steps, "y": [_short(_error(pair)) for pair in worst],
        "text": [_label(pair.address) for pair in worst], "hovertemplate": "%{text}<br>" + mode + " %{y:.2e}<extra></extra>",
        "line": {"color": f"var(--{mode})", "width": 1.8, "dash": dash}, "marker": {"color": f"var(--{mode})", "size": 6},
    }  # fmt: skip


def _step_floor(asked: list[tuple[Pair, Address]]) -> list[Figure]:
    """The limit of the latents after each step in the free run."""
    floors = {address.step: _floor(pair) for pair, address in asked if pair.mode == "free" and address.path == "scheduler.step"}
    steps = [step for step in sorted(step for step in floors if step is not None) if floors[step] is not None]
    if not steps:
        return []
    return [_line("limit of the latents, free: 3 x floor", steps, [RMS_FACTOR * (floors[step] or 0.0) for step in steps], "limit", "dash")]


def _heat(question: str, asked: list[tuple[Pair, Address]]) -> Figure | None:
    """Modules x steps of the layer replay (of the free run without one): orders of magnitude over the limit."""
    looped = [(pair, address) for pair, address in asked if address.step is not None and excess(pair) is not None]
    mode = next((mode for mode in ("layers", "steps", "free") if any(pair.mode == mode for pair, _ in looped)), None)
    if mode is None:
        return None
    cells: dict[tuple[str, int], float] = {}
    orders: dict[str, int] = {}
    for pair, address in looped:
        if pair.mode == mode and address.step is not None:
            key = (address.path, address.step)
            cells[key] = max(cells.get(key, 0.0), excess(pair) or 0.0)
            orders[address.path] = min(orders.get(address.path, pair.order), pair.order)
    paths = sorted(orders, key=lambda path: (orders[path], path))
    steps = sorted({step for _, step in cells})
    lowest, highest = (-7.0, 7.0) if question == "semantics" else (-2.0, 4.0)
    z = [[_order(cells.get((path, step))) for step in steps] for path in paths]
    return {"data": [_heat_data(paths, steps, z, (lowest, highest), mode)], "layout": _heat_layout(paths, steps)}


def _order(value: float | None) -> float | None:
    """Return the decimal logarithm, inside the axis, with two digits."""
    return None if value is None else round(math.log10(_bounded(value)), 2)


def _heat_data(paths: list[str], steps: list[int], z: list[list[float | None]], limits: tuple[float, float], mode: str) -> Figure:
    """The cells; the colour changes its hue where the limit is."""
    lowest, highest = limits
    middle = -lowest / (highest - lowest)
    ticks = [tick for tick in range(int(lowest), int(highest) + 1) if tick % (2 if highest - lowest > 8 else 1) == 0 or tick == 0]  # noqa: PLR2004 - room for labels
    return {
        "type": "heatmap", "x": steps, "y": [_label(path) for path in paths], "z": z, "zmin": lowest, "zmax": highest,
        "xgap": 1,
        "hovertemplate": "%{y}<br>step %{x}: 10^%{z} of the limit (" + mode + ")<extra></extra>",
        "colorscale": [[0, "var(--heat-0)"], [middle, "var(--heat-1)"], [middle, "var(--heat-2)"], [1, "var(--heat-3)"]],
        "colorbar": {
            "thickness": 12, "outlinewidth": 0, "title": {"text": "of the limit", "side": "right"},
            "tickvals": ticks, "ticktext": ["limit" if tick == 0 else f"10<sup>{tick}</sup>" for tick in ticks],
        },
    }  # fmt: skip


def _heat_layout(paths: list[str], steps: list[int]) -> Figure:
    """Rows from the first module at the top; one label at the first row of each block."""
    layout = _layout("step", "")
    groups = [_group(path) for path in paths]
    first = [place for place, group in enumerate(groups) if place == 0 or groups[place - 1] != group]
    spaced: list[int] = []
    for place in first:
        if not spaced or (place - spaced[-1]) * 36 >= len(paths):
            spaced.append(place)
    layout["yaxis"] = {
        "type": "category", "autorange": "reversed", "tickvals": spaced, "ticktext": [_label(groups[place]) for place in spaced],
        "automargin": True, "showgrid": False, "zeroline": False, "color": "var(--quiet)", "tickfont": {"size": 11},
    }  # fmt: skip
    layout["xaxis"] |= {"tickmode": "linear", "dtick": max(1, len(steps) // 12), "showgrid": False}
    layout["height"] = min(760, max(300, 120 + 7 * len(paths)))
    return layout


def _layout(x: str, y: str) -> Figure:
    """What all figures share; colours are filled in by the page."""
    axis = {"color": "var(--quiet)", "gridcolor": "var(--grid)", "zeroline": False, "automargin": True, "tickfont": {"size": 11}}
    return {
        "paper_bgcolor": "var(--surface)", "plot_bgcolor": "var(--surface)", "font": {"color": "var(--text)", "size": 12},
        "margin": {"l": 56, "r": 12, "t": 12, "b": 44}, "height": 380, "hovermode": "closest",
        "hoverlabel": {"bgcolor": "var(--raised)", "font": {"color": "var(--text)", "size": 12}, "bordercolor": "var(--rule)"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "xaxis": {**axis, "title": {"text": x}, "showgrid": False},
        "yaxis": {**axis, "title": {"text": y}, "type": "log", "exponentformat": "power", "dtick": 2 if y else None},
    }  # fmt: skip

