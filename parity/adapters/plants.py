"""Planted faults: a Python file that changes a candidate on its way, for tests of the harness itself (docs/faults.md).

>>> plant = Plant.of(None)
>>> plant.model("a loaded program")  # nothing is planted
>>> plant.changes_checkpoint
False
"""

from __future__ import annotations

import runpy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from parity import reading
from parity.errors import InputError
from parity.points import guarded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Plant"]


def _nothing(_what: Any) -> None:
    """Change nothing."""


@dataclass(frozen=True, kw_only=True)
class Plant:
    """What a fault changes.

    Attributes:
        checkpoint: Changes the candidate's own checkpoint, name -> array, before it is written.
        model: Changes the loaded program.
    """

    checkpoint: Callable[[dict[str, Any]], Any] = _nothing
    model: Callable[[Any], Any] = _nothing

    @classmethod
    def of(cls, file: Path | None) -> Self:
        """Return the fault of a Python file, which has a function of either name, or both; without a file there is none.

        Raises:
            InputError: it cannot be read or run, or has neither function; the functions raise it too, where they fail.
        """
        if file is None:
            return cls()
        found = _functions(file)
        return cls(checkpoint=found.get("checkpoint", _nothing), model=found.get("model", _nothing))

    @property
    def changes_checkpoint(self) -> bool:
        """Whether a checkpoint is no longer what it was converted from."""
        return self.checkpoint is not _nothing


def _functions(file: Path) -> dict[str, Callable[[Any], Any]]:
    """Return the functions of a fault's file by name; each raises an error that names the file's own line where it fails.

    Raises:
        InputError: the file cannot be read or run, or has none of them.
    """
    what = f"the fault {file}"
    try:
        reading.content(file, reading.FAULT_BYTES)
    except OSError as error:
        message = f"{what} cannot be read: {error.strerror}; give a Python file (docs/faults.md)"
        raise InputError(message) from error
    with guarded(what):
        names = runpy.run_path(str(file))
    found = {name: names[name] for name in ("checkpoint", "model") if callable(names.get(name))}
    if not found:
        message = f"{what} has neither a function checkpoint nor model, so it changes nothing; see docs/faults.md"
        raise InputError(message)
    return {name: _guarded(function, what) for name, function in found.items()}


def _guarded(function: Callable[[Any], Any], what: str) -> Callable[[Any], Any]:
    """Return a function whose failure is one error."""

    def called(changed: Any) -> Any:
        with guarded(what):
            return function(changed)

    return called
