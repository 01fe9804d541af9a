"""What every system of MindSpore cells does in the same way: hooks, tensors, floors, and which edit is of what kind.

    class MySystem(MindSporeSystem):
        def __init__(self, model, request):
            super().__init__(dict(model.cells_and_names()), request.dtype, request.manifest)

A subclass says what the parameters are, how the program runs, and how one weight or one attribute is changed. Import it
only in the process of a candidate.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

import mindspore as ms
import numpy as np

from parity.dtypes import is_float
from parity.frameworks import mindspore_
from parity.frameworks.mindspore_wide_ import widen_operators
from parity.repair import AttributeEdit, PrecisionEdit, WeightEdit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from parity.repair import Edit
    from parity.trace.schema import Manifest

__all__ = ["MindSporeSystem", "cells_of"]


class MindSporeSystem:
    """One loaded program of cells in one type.

    Attributes:
        cells: Every cell by the path that an alignment gives it.
        dtype, type: The type that the program computes in, by name and as MindSpore's.
        manifest, case: The reference's manifest, and the case that it recorded.
    """

    integers: ClassVar[type[np.integer[Any]] | None] = np.int32
    """What integers are handed over as; int32 is taken by every operator. None: as they were recorded."""

    def __init__(self, cells: Mapping[str, ms.nn.Cell], dtype: str, manifest: Manifest) -> None:
        """Keep the cells of a loaded program."""
        self.cells = cells
        self.dtype, self.type = dtype, getattr(ms, dtype)
        self.manifest, self.case = manifest, manifest.case
        self._edits = ExitStack()

    def provenance(self) -> dict[str, Any]:
        """Return what MindSpore contributes to the provenance."""
        return mindspore_.describe()

    def floors(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return this platform's own error of each operator in this type; none for float64."""
        return {} if self.dtype == "float64" else mindspore_.floors(self.dtype)

    def observe(self, natives: Sequence[str], seen: Any) -> AbstractContextManager[None]:
        """Hook cells."""
        return mindspore_.observe(self.cells, natives, seen)

    def numpy(self, value: Any) -> dict[str, np.ndarray]:
        """Return the arrays of a native value."""
        return mindspore_.arrays(value)

    def native(self, value: Any, dtype: Any = None) -> Any:
        """Return an array as a tensor, floats in `dtype` or else in the system's type; what is no array stays."""
        if not isinstance(value, np.ndarray):
            return value
        if is_float(str(value.dtype)):
            return mindspore_.tensor(value).astype(self.type if dtype is None else dtype)
        if self.integers is not None and value.dtype.kind in "iu":
            return mindspore_.tensor(value.astype(self.integers))
        return mindspore_.tensor(value)

    def apply(self, edit: Edit) -> None:
        """Apply one repair.

        Raises:
            RepairError: it names something that this program does not have.
        """
        if isinstance(edit, PrecisionEdit):
            self._edits.enter_context(widen_operators(edit.operators))
        elif isinstance(edit, WeightEdit):
            self.edit_weight(edit)
        elif isinstance(edit, AttributeEdit):
            self.edit_attribute(edit)

    def edit_weight(self, edit: WeightEdit) -> None:
        """Change the layout of one parameter."""
        raise NotImplementedError

    def edit_attribute(self, edit: AttributeEdit) -> None:
        """Set one attribute of what replays a path."""
        raise NotImplementedError


def cells_of(parts: Mapping[str, ms.nn.Cell]) -> dict[str, ms.nn.Cell]:
    """Return all cells of a program of several parts, by their paths, which begin with the part's name."""
    found: dict[str, ms.nn.Cell] = {}
    for part, root in parts.items():
        for path, cell in root.cells_and_names():
            found[f"{part}.{path}".removesuffix(".")] = cell  # the root's own path is empty
    return found
