"""Figures of a result of several candidates: one curve for each of them, as plain Plotly dictionaries.

`figures` returns them by name and by `QUESTION, REPLAY`. In float64 the error is relative to the exact
reference; in the working types, which differ from candidate to candidate, it is in multiples of each one's own
floor, so that one limit serves all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from parity.address import Address
from parity.compare.limits import RMS_FACTOR, SEMANTICS_RMS
from parity.report.axes import Figure, bounded, error, label, layout, line, short, ticked
from parity.report.charts import groups, output_of
from parity.report.summary import excused
from parity.report.words import as_float

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.result import Pair, Result

__all__ = ["figures"]

_COLOURS: Final = ("free", "mismatch", "layers", "steps", "inherited", "other")
_DASHES: Final = ("solid", "dash", "dot")
_MODES: Final = {"depth": ("layers", "steps", "free"), "steps": ("free", "steps")}
_UNITS: Final = {"semantics": "error relative to the exact reference", "precision": "error in multiples of its floor"}
_LIMITS: Final = {"semantics": ("limit 1e-9", SEMANTICS_RMS), "precision": ("limit: 3 x its floor", RMS_FACTOR)}
_Key = TypeVar("_Key", str, int)
Asked = dict[str, list[tuple["Pair", Address]]]


def figures(result: Result) -> dict[str, dict[str, Figure]]:
    """Return `{"depth": {"semantics, layers": figure, …}, "steps": …}` for what the result holds."""
    made: dict[str, dict[str, Figure]] = {}
    for name, draw in (("depth", _depth), ("steps", _steps)):
        for question in _UNITS:
            for mode in _MODES[name]:
                figure = draw(question, _asked(result, question, mode))
                if figure is not None:
                    made.setdefault(name, {})[f"{question}, {mode}"] = figure
    return made


def _asked(result: Result, question: str, mode: str) -> Asked:
    """Return the outputs of each candidate under a question in a replay."""
    found: Asked = {name: [] for name in result.candidates}
    for pair in result.pairs:
        if (pair.question, pair.mode) == (question, mode) and (address := output_of(pair.address)) is not None:
            found[pair.candidate].append((pair, address))
    return found


def _height(pair: Pair) -> float | None:
    """Return how far a pair is off, in the unit of its question."""
    if pair.question == "semantics":
        return error(pair)
    ratio = as_float(pair.ratio_to_floor)
    return None if ratio is None else bounded(ratio)


def _look(place: int) -> tuple[str, str]:
    """Return colour and dash of the candidate at a place."""
    return f"var(--{_COLOURS[place % len(_COLOURS)]})", _DASHES[place // len(_COLOURS) % len(_DASHES)]


def _worst(pairs: Iterable[tuple[Pair, _Key]]) -> dict[_Key, Pair]:
    """Return the pair with the largest error of each key."""
    found: dict[_Key, Pair] = {}
    for pair, key in pairs:
        height = _height(pair)
        if height is not None and (key not in found or height > (_height(found[key]) or 0.0)):
            found[key] = pair
    return found


def _depth(question: str, asked: Asked) -> Figure | None:
    """Error of every module in the order of execution, worst over steps, calls and ports."""
    places: dict[str, int] = {}
    for _, address in sorted((item for items in asked.values() for item in items), key=lambda item: item[0].order):
        places.setdefault(address.path, len(places))
    data: list[Figure] = []
    for place, (name, items) in enumerate(asked.items()):
        worst = _worst((pair, address.path) for pair, address in items)
        if worst:
            data += _depth_curves(name, worst, places, _look(place))
    if not data:
        return None
    words, limit = _LIMITS[question]
    data.append(line(words, [0, len(places) - 1], [limit] * 2, "limit", "dash"))
    drawn = layout("module, in the order of execution", _UNITS[question])
    drawn["meta"] = [label(path) for path in places]
    drawn["shapes"], drawn["annotations"] = groups(list(places))
    drawn["xaxis"] |= {"showticklabels": False, "range": [-0.5, len(places) - 0.5]}
    ticked(drawn, data)
    return {"data": data, "layout": drawn}


def _depth_curves(name: str, worst: dict[str, Pair], places: dict[str, int], look: tuple[str, str]) -> list[Figure]:
    """One candidate's curve over the modules, and a cross at each that fails by itself."""
    color, dash = look
    alone = any(pair.mode == "layers" for pair in worst.values())
    paths = sorted(worst, key=places.__getitem__)
    wrong = [path for path in paths if worst[path].verdict != "MATCH" and not excused(worst[path])]
    shared = {"type": "scatter", "legendgroup": label(name), "hovertemplate": "%{text}<br>%{y:.2e}<extra></extra>"}
    curves: list[Figure] = [{
        **shared, "name": label(name), "connectgaps": True, "mode": "markers" if alone else "lines",
        "x": [places[path] for path in paths], "y": [short(_height(worst[path])) for path in paths],
        "line": {"color": color, "width": 1.4, "dash": dash}, "marker": {"color": color, "size": 4},
    }]  # fmt: skip
    if wrong:
        curves.append({
            **shared, "name": f"{label(name)}: fails by itself", "mode": "markers", "showlegend": False,
            "x": [places[path] for path in wrong], "y": [short(_height(worst[path])) for path in wrong],
            "marker": {"color": color, "size": 10, "symbol": "x"},
        })  # fmt: skip
    return curves


def _steps(question: str, asked: Asked) -> Figure | None:
    """The latents after each step."""
    data: list[Figure] = []
    for place, (name, items) in enumerate(asked.items()):
        latents = ((pair, address.step) for pair, address in items if address.path == "scheduler.step")
        worst = _worst((pair, step) for pair, step in latents if step is not None)
        steps = sorted(worst)
        color, dash = _look(place)
        if steps:
            data.append({
                "type": "scatter", "connectgaps": True, "mode": "lines+markers", "name": label(name),
                "x": steps, "y": [short(_height(worst[step])) for step in steps],
                "hovertemplate": "step %{x}<br>%{y:.2e}<extra></extra>",
                "line": {"color": color, "width": 1.8, "dash": dash}, "marker": {"color": color, "size": 6},
            })  # fmt: skip
    if not data:
        return None
    steps = sorted({step for curve in data for step in curve["x"]})
    words, limit = _LIMITS[question]
    data.append(line(words, [steps[0], steps[-1]], [limit] * 2, "limit", "dash"))
    drawn = layout("step", _UNITS[question])
    drawn["xaxis"] |= {"tickmode": "linear", "dtick": max(1, len(steps) // 12)}
    ticked(drawn, data)
    return {"data": data, "layout": drawn}
