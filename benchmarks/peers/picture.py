"""Small line charts with logarithmic axes as an SVG that needs nothing else."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WIDTH, HEIGHT = 420, 270
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 34, 46
INK, GRID, LINE = "#24292f", "#d8dee4", "#0969da"


class Panel(NamedTuple):
    """One chart: what goes up, what goes right, and the points."""

    title: str
    below: str
    points: Sequence[tuple[float, float]]


def draw(path: Path, panels: Sequence[Panel], columns: int = 2) -> None:
    """Write the panels as one picture."""
    rows = math.ceil(len(panels) / columns)
    width, height = columns * WIDTH, rows * HEIGHT
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="sans-serif" font-size="11" fill="{INK}">'
        ),
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        parts.append(f'<g transform="translate({column * WIDTH} {row * HEIGHT})">{"".join(_panel(panel))}</g>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _panel(panel: Panel) -> list[str]:
    """Return the elements of one chart."""
    across, up = ([point[axis] for point in panel.points] for axis in (0, 1))
    x_low, x_high = _decades(across)
    y_low, y_high = _decades(up)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (math.log10(x) - x_low) / (x_high - x_low) * (right - LEFT),
            bottom - (math.log10(y) - y_low) / (y_high - y_low) * (bottom - TOP),
        )

    parts = [f'<text x="{LEFT}" y="20" font-size="13" font-weight="bold">{escape(panel.title)}</text>']
    for power in range(y_low, y_high + 1):
        y = place(10.0**x_low, 10.0**power)[1]
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="{GRID}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_name(power)}</text>')
    for power in range(x_low, x_high + 1):
        x = place(10.0**power, 10.0**y_low)[0]
        parts.append(f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="{GRID}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_name(power)}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(panel.below)}</text>')
    places = [place(*point) for point in panel.points]
    parts.append(
        f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}" fill="none" stroke="{LINE}" stroke-width="2"/>'
    )
    for (x, y), (_, value) in zip(places, panel.points, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{LINE}"/>')
        parts.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{_short(value)}</text>')
    return parts


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten around positive values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _name(power: int) -> str:
    """Return a power of ten in short."""
    names = {
        -3: "0.001",
        -2: "0.01",
        -1: "0.1",
        0: "1",
        1: "10",
        2: "100",
        3: "1k",
        4: "10k",
        5: "100k",
        6: "1M",
        9: "1G",
    }
    return names.get(power, f"1e{power}")


def _short(value: float) -> str:
    """Return a value in three digits."""
    return f"{value / 1000:.3g}k" if value >= 1000 else f"{value:.3g}"  # noqa: PLR2004 - a thousand is 1k
