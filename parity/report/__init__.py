"""Renderers of a result: the page, the terminal, junit, and the words they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parity.result import Result

__all__ = ["files"]


def files(result: Result) -> dict[str, bytes]:
    """Return what is drawn from `result.json` and lies beside it, by name: the page, junit, and the pictures."""
    # Here, because a comparison that is only printed needs neither Jinja2 nor the figures.
    from parity.compare.several import folder_name
    from parity.report import html, images, junit

    found = {"report.html": html.page(result).encode(), "junit.xml": junit.document(result)}
    found |= images.files(result.images)
    for label, view in result.candidates.items():
        found |= {f"{folder_name(label)}/{name}": data for name, data in images.files(view.images).items()}
    return found
