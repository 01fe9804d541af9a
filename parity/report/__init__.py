"""Renderers of a result: the page, the terminal, junit, and the words they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from parity.result import Result

__all__ = ["write"]


def write(result: Result, folder: Path) -> list[Path]:
    """Write `report.html` and `junit.xml` into `folder`, beside `result.json`; return their paths."""
    # Here, because a comparison that is only printed needs neither Jinja2 nor the figures.
    from parity.report import html, junit

    folder.mkdir(parents=True, exist_ok=True)
    html.write(result, folder / "report.html")
    junit.write(result, folder / "junit.xml")
    return [folder / "report.html", folder / "junit.xml"]
