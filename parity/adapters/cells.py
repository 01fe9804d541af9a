"""Any MindSpore program as a candidate whose cells have the reference's names: the identity as alignment.

A subclass of `CellCandidate` says how the program is loaded, which cells stand for which of the reference's parts, and
how it runs. The alignment follows from the reference's manifest: the module `unet.fc1` is the cell `unet.fc1`, its
inputs in their order or by the names of `construct`, its parameters under the reference's names (`gamma` is `weight`,
`beta` is `bias`, `embedding_table` is `weight`). A cell of another name or layout gets a row of its own from `rows`.

This module imports no framework; the program is loaded in `pipeline`, in the process that replays.

Limits: a module that returns several tensors needs a row for each in `rows`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from parity.components import WHOLE
from parity.trace.schema import Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parity.adapters.mindspore_ import CellSystem
    from parity.replay import Request

__all__ = ["CellCandidate"]

_KINDS: Final = {
    "Linear": "linear", "Conv2d": "conv", "SiLU": "silu", "GELU": "gelu", "Softmax": "softmax", "Tanh": "tanh",
    "Sigmoid": "sigmoid", "LayerNorm": "layer_norm", "GroupNorm": "group_norm", "Embedding": "embedding",
}  # fmt: skip


class CellCandidate:
    """Base of a candidate: a MindSpore program made of cells."""

    name: ClassVar[str]
    loop: ClassVar[str | None] = None  # the part whose every call is one step
    not_compared: ClassVar[Mapping[str, str]] = {}  # path -> reason, of the closed list in parity.align

    def pipeline(self, request: Request) -> Any:
        """Load the program, its parameters in float32; the system casts them to `request.dtype`."""
        raise NotImplementedError

    def parts(self, pipeline: Any) -> Mapping[str, Any]:
        """Return the reference's component -> cell."""
        raise NotImplementedError

    def run(self, pipeline: Any, **inputs: Any) -> Any:
        """Run the program once on the reference's inputs, as tensors and plain values, and return its result."""
        raise NotImplementedError

    def rows(self, request: Request) -> Sequence[Row]:
        """Return rows that replace the identity for their paths."""
        del request
        return ()

    def alignment(self, request: Request) -> tuple[Sequence[Row], Mapping[str, str]]:
        """Return a row for each of the reference's modules, and the paths that are not compared."""
        own = list(self.rows(request))
        aligned = {row.path for row in own} | set(self.not_compared)
        identity = [
            Row(path=path, native=path, kind=_KINDS.get(kind), function=path == WHOLE)
            for path, kind in request.manifest.modules.items()
            if path not in aligned
        ]
        return own + identity, self.not_compared

    def build(self, request: Request) -> CellSystem:
        """Load the program in `request.dtype`.

        Raises:
            FrameworkMissingError: MindSpore is not installed.
        """
        from parity.adapters.mindspore_ import CellSystem

        return CellSystem(self, request)
