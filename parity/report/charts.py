"""Figures of a result as plain Plotly dictionaries: error over depth, error over steps, layers x steps.

The page draws each figure for one question at a time; `figures` returns them by name and question, only
those that have something to show. The names of modules stand once, in `layout.meta`; the page gives them to
the curves that have no `text`, by their x.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from parity.address import Address
from parity.compare.limits import RMS_FACTOR, SEMANTICS_RMS
from parity.errors import AddressError
from parity.report.axes import Figure, error, floor, label, layout, line, short, ticked
from parity.report.heat import PARTED, heat
from parity.report.summary import excused

if TYPE_CHECKING:
    from parity.result import Pair, Result

__all__ = ["figures", "groups", "output_of"]

_QUESTIONS: Final = ("semantics", "precision")
_MODES: Final = ("free", "steps", "layers")


def figures(result: Result) -> dict[str, dict[str, Figure]]:
    """Return `{"depth": {question: figure}, "steps": …, "heat": …}` for what the result holds."""
    outputs = [(pair, address) for pair in result.pairs if (address := output_of(pair.address)) is not None]
    made: dict[str, dict[str, Figure]] = {"depth": {}, "steps": {}, "heat": {}}
    for question in _QUESTIONS:
        asked = [(pair, address) for pair, address in outputs if pair.question == question]
        for name, draw in (("depth", _depth), ("steps", _steps), ("heat", heat)):
            figure = draw(question, asked)
            if figure is not None:
                made[name][question] = figure
    return {name: by_question for name, by_question in made.items() if by_question}


@lru_cache(maxsize=65536)
def output_of(text: str) -> Address | None:
    """Return the address when it is an output, else None."""
    try:
        address = Address.parse(text)
    except AddressError:
        return None
    return address if address.port.startswith("output") else None


def _depth(question: str, asked: list[tuple[Pair, Address]]) -> Figure | None:
    """Error of every module in the order of execution, worst over steps, calls and ports; one line per mode."""
    places: dict[str, int] = {}
    for _, address in sorted(asked, key=lambda item: item[0].order):
        places.setdefault(address.path, len(places))
    worst: dict[str, dict[str, Pair]] = {mode: {} for mode in _MODES}
    for pair, address in asked:
        kept = worst.get(pair.mode, {}).get(address.path)
        if error(pair) is not None and (kept is None or (error(pair) or 0.0) > (error(kept) or 0.0)):
            worst.setdefault(pair.mode, {})[address.path] = pair
    data = [_depth_line(mode, by_path, places) for mode, by_path in worst.items() if by_path]
    if not data:
        return None
    local = worst["layers"] or worst["steps"] or worst["free"]
    data += _judged_lines(question, local, places)
    data += _marked(worst["layers"], places)
    drawn = layout("module, in the order of execution", "error relative to the exact reference")
    drawn["meta"] = [label(path) for path in places]
    drawn["shapes"], drawn["annotations"] = groups(list(places))
    drawn["xaxis"] |= {"showticklabels": False, "range": [-0.5, len(places) - 0.5]}
    ticked(drawn, data)
    return {"data": data, "layout": drawn}


def _depth_line(mode: str, by_path: dict[str, Pair], places: dict[str, int]) -> Figure:
    """One mode's line over the modules."""
    paths = sorted(by_path, key=places.__getitem__)
    return {
        "type": "scatter", "connectgaps": True, "mode": "markers" if mode == "layers" else "lines",
        "name": f"{mode} replay",
        "x": [places[path] for path in paths],
        "y": [short(error(by_path[path])) for path in paths],
        "hovertemplate": "%{text}<br>" + mode + " %{y:.2e}<extra></extra>",
        "line": {
            "color": f"var(--{mode})", "width": 1.6 if mode == "free" else 1.1,
            "dash": "dot" if mode == "steps" else "solid",
        },
        "marker": {"color": f"var(--{mode})", "size": 4},
        "visible": "legendonly" if mode == "steps" else True,
    }  # fmt: skip


def _judged_lines(question: str, local: dict[str, Pair], places: dict[str, int]) -> list[Figure]:
    """The limit, and in the precision question the floor under it."""
    if question == "semantics":
        return [line("limit 1e-9", [0, len(places) - 1], [SEMANTICS_RMS] * 2, "limit", "dash")]
    paths = [path for path in sorted(local, key=places.__getitem__) if floor(local[path]) is not None]
    if not paths:
        return []
    floors = [floor(local[path]) or 0.0 for path in paths]
    x = [places[path] for path in paths]
    return [
        line("limit: 3 x floor", x, [RMS_FACTOR * each for each in floors], "floor", "solid"),
        line("measured floor", x, floors, "floor", "dot") | {"visible": "legendonly"},
    ]


def _marked(local: dict[str, Pair], places: dict[str, int]) -> list[Figure]:
    """Modules that fail by themselves as crosses, float32 islands as open diamonds."""
    wrong = [path for path, pair in local.items() if pair.verdict != "MATCH" and not excused(pair)]
    islands = [path for path, pair in local.items() if "island" in pair.flags and path not in wrong]
    marks = []
    for name, paths, symbol, color, size in (
        ("fails by itself", wrong, "x", "mismatch", 11),
        ("float32 island", islands, "diamond-open", "inherited", 9),
    ):
        if paths:
            mark = {"color": f"var(--{color})", "size": size, "symbol": symbol, "line": {"width": 1}}
            marks.append({
                "type": "scatter", "mode": "markers", "name": name, "marker": mark,
                "x": [places[path] for path in paths], "y": [short(error(local[path])) for path in paths],
                "hovertemplate": "%{text}<br>" + name + ", %{y:.2e}<extra></extra>",
            })  # fmt: skip
    return marks


def groups(paths: list[str]) -> tuple[list[Figure], list[Figure]]:
    """Return lines between components and a name for each, for paths in order; the page drops names without room."""
    starts: list[tuple[int, str]] = []
    for place, path in enumerate(paths):
        component = ".".join(path.split(".")[: 2 if PARTED.intersection(path.split(".")[1:2]) else 1])
        if not starts or starts[-1][1] != component:
            starts.append((place, component))
    shapes: list[Figure] = []
    names: list[Figure] = []
    for (start, component), end in zip(starts, [*(place for place, _ in starts[1:]), len(paths)], strict=True):
        shapes.append({
            "type": "line", "x0": start - 0.5, "x1": start - 0.5, "y0": 0, "y1": 1, "yref": "paper", "layer": "below",
            "line": {"color": "var(--rule)", "width": 1},
        })  # fmt: skip
        names.append({
            "x": (start + end - 1) / 2, "y": 0, "yref": "paper", "yanchor": "top", "yshift": -4, "showarrow": False,
            "width": end - start, "text": label(component),
        })  # fmt: skip
    return shapes[1:], names


def _steps(question: str, asked: list[tuple[Pair, Address]]) -> Figure | None:
    """Over the steps: the latents after each step, and the worst module, for every mode."""
    data = []
    for mode in _MODES:
        latents: dict[int, list[Pair]] = defaultdict(list)
        modules: dict[int, list[Pair]] = defaultdict(list)
        for pair, address in asked:
            if pair.mode == mode and address.step is not None and error(pair) is not None:
                (latents if address.path == "scheduler.step" else modules)[address.step].append(pair)
        for name, by_step, dash in (("latents after the step", latents, "solid"), ("worst module", modules, "dot")):
            if by_step:
                data.append(_step_line(mode, name, by_step, dash))
    if not data:
        return None
    steps = sorted({step for curve in data for step in curve["x"]})
    limit = (
        [line("limit 1e-9", [steps[0], steps[-1]], [SEMANTICS_RMS] * 2, "limit", "dash")]
        if question == "semantics"
        else _step_floor(asked)
    )
    drawn = layout("step", "error relative to the exact reference")
    drawn["xaxis"] |= {"tickmode": "linear", "dtick": max(1, len(steps) // 12)}
    ticked(drawn, data + limit)
    return {"data": data + limit, "layout": drawn}


def _step_line(mode: str, name: str, by_step: dict[int, list[Pair]], dash: str) -> Figure:
    """One line over the steps: the largest error of each."""
    steps = sorted(by_step)
    worst = [max(by_step[step], key=lambda pair: error(pair) or 0.0) for step in steps]
    return {
        "type": "scatter", "connectgaps": True, "mode": "lines+markers", "name": f"{mode}: {name}",
        "x": steps, "y": [short(error(pair)) for pair in worst],
        "text": [label(pair.address) for pair in worst],
        "hovertemplate": "%{text}<br>" + mode + " %{y:.2e}<extra></extra>",
        "line": {"color": f"var(--{mode})", "width": 1.8, "dash": dash},
        "marker": {"color": f"var(--{mode})", "size": 6},
    }  # fmt: skip


def _step_floor(asked: list[tuple[Pair, Address]]) -> list[Figure]:
    """The limit of the latents after each step in the free run."""
    floors = {
        address.step: floor(pair) for pair, address in asked if pair.mode == "free" and address.path == "scheduler.step"
    }
    steps = [step for step in sorted(step for step in floors if step is not None) if floors[step] is not None]
    if not steps:
        return []
    limits = [RMS_FACTOR * (floors[step] or 0.0) for step in steps]
    return [line("limit of the latents, free: 3 x floor", steps, limits, "limit", "dash")]
