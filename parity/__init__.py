"""A harness that says where two implementations of one model first disagree, by how much, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.adoption import recording

__all__ = ["__version__", "recording"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `recording` when it is first used: most of the package needs none of what it needs."""
    if name == "recording":
        from parity.adoption import recording

        return recording
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
