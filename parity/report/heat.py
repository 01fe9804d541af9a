"""The figure of layers x steps: how many orders of magnitude every module is over its limit at every step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from parity.report.axes import Figure, bounded, label, layout
from parity.report.summary import excess

if TYPE_CHECKING:
    from parity.address import Address
    from parity.result import Pair

__all__ = ["heat"]

PARTED: Final = frozenset({"down_blocks", "mid_block", "up_blocks", "encoder", "decoder"})
_RANGES: Final = {"semantics": (-7, 7), "precision": (-2, 4)}
_LABELS: Final = 36
_WIDE_RANGE: Final = 8


def heat(question: str, asked: list[tuple[Pair, Address]]) -> Figure | None:
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
    z = [[_order(cells.get((path, step))) for step in steps] for path in paths]
    return {"data": [_heat_data(paths, steps, z, _RANGES[question], mode)], "layout": _heat_layout(paths, steps)}


def _order(value: float | None) -> float | None:
    """Return the decimal logarithm, inside the axis, with two digits."""
    return None if value is None else round(math.log10(bounded(value)), 2)


def _heat_data(
    paths: list[str], steps: list[int], z: list[list[float | None]], limits: tuple[int, int], mode: str
) -> Figure:
    """The cells; the colour changes its hue where the limit is."""
    lowest, highest = limits
    middle = -lowest / (highest - lowest)
    apart = 2 if highest - lowest > _WIDE_RANGE else 1
    ticks = [tick for tick in range(lowest, highest + 1) if tick % apart == 0]
    return {
        "type": "heatmap", "x": steps, "y": [label(path) for path in paths], "z": z, "zmin": lowest, "zmax": highest,
        "xgap": 1,
        "hovertemplate": "%{y}<br>step %{x}: 10^%{z} of the limit (" + mode + ")<extra></extra>",
        "colorscale": [
            [0, "var(--heat-0)"], [middle, "var(--heat-1)"], [middle, "var(--heat-2)"], [1, "var(--heat-3)"],
        ],
        "colorbar": {
            "thickness": 12, "outlinewidth": 0, "title": {"text": "of the limit", "side": "right"},
            "tickvals": ticks, "ticktext": ["limit" if tick == 0 else f"10<sup>{tick}</sup>" for tick in ticks],
        },
    }  # fmt: skip


def _heat_layout(paths: list[str], steps: list[int]) -> Figure:
    """Rows from the first module at the top; one label at the first row of each block."""
    drawn = layout("step", "")
    groups = [_group(path) for path in paths]
    first = [place for place, group in enumerate(groups) if place == 0 or groups[place - 1] != group]
    spaced: list[int] = []
    for place in first:
        if not spaced or (place - spaced[-1]) * _LABELS >= len(paths):
            spaced.append(place)
    drawn["yaxis"] = {
        "type": "category", "autorange": "reversed",
        "tickvals": spaced, "ticktext": [label(groups[place]) for place in spaced],
        "automargin": True, "showgrid": False, "zeroline": False, "color": "var(--quiet)", "tickfont": {"size": 11},
    }  # fmt: skip
    drawn["xaxis"] |= {"tickmode": "linear", "dtick": max(1, len(steps) // 12), "showgrid": False}
    drawn["height"] = min(760, max(300, 120 + 7 * len(paths)))
    return drawn


def _group(path: str) -> str:
    """Return the part of the model that a path belongs to, such as `unet.down_blocks.1`."""
    parts = path.split(".")
    if len(parts) > 2 and parts[1] in PARTED:  # noqa: PLR2004 - component, part, number
        return ".".join(parts[: 3 if parts[2].isdigit() else 2])
    return path if parts[0] == "unet" else parts[0]
