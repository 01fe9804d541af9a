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
        """Return the fault of a Python file, which has a function of either name, or both; without a file there is none."""
        if file is None:
            return cls()
        found = runpy.run_path(str(file))
        return cls(checkpoint=found.get("checkpoint", _nothing), model=found.get("model", _nothing))

    @property
    def changes_checkpoint(self) -> bool:
        """Whether a checkpoint is no longer what it was converted from."""
        return self.checkpoint is not _nothing
