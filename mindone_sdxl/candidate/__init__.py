"""The one place where this port knows of the harness: it makes the port a candidate of `parity`.

There are two: `mindone_sdxl`, operator by operator, and `mindone_sdxl_jit`, whose networks run as graphs and are compared
at the boundaries of stages.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from parity.errors import AlignmentError, FrameworkMissingError

from mindone_sdxl.candidate.rows import boundaries, not_compared, rows
from mindone_sdxl.config import from_diffusers
from mindone_sdxl.errors import SDXLError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parity.replay import Request, System
    from parity.trace.schema import Row

__all__ = ["MindoneSDXL", "candidate", "jit_candidate"]

_LARGE_MODEL_BYTES = 2**30


class MindoneSDXL:
    """`mindone_sdxl` as a candidate: the alignment from the configuration, the model in one type."""

    def __init__(self, name: str = "mindone_sdxl", *, graphs: bool = False) -> None:
        """Name the candidate; with `graphs` the networks are compiled."""
        self.name, self.graphs = name, graphs

    def alignment(self, request: Request) -> tuple[Sequence[Row], Mapping[str, str]]:
        """Return the rows, and the paths that are not compared with their reasons.

        Raises:
            AlignmentError: the model's configuration cannot be read or is not supported.
        """
        try:
            config = from_diffusers(request.model)
        except SDXLError as error:
            message = f"{request.model}: {error}"
            raise AlignmentError(message) from error
        guided = float(request.manifest.case["sampling"]["guidance"]) > 1
        if self.graphs:
            return boundaries(config, guided=guided)
        return rows(config, guided=guided), not_compared(config)

    def build(self, request: Request) -> System:
        """Load the model; small ones run fastest with one thread.

        Raises:
            FrameworkMissingError: MindSpore is not installed.
        """
        size = sum(path.stat().st_size for path in request.model.rglob("*.safetensors"))
        if size < _LARGE_MODEL_BYTES:
            os.environ.setdefault("OMP_NUM_THREADS", "1")
        try:
            from mindone_sdxl.candidate.system import build
            from mindone_sdxl.graphs import compile_networks
        except ImportError as error:
            message = f"mindspore cannot be imported ({error}); install this project with the extra [mindspore]"
            raise FrameworkMissingError(message) from error
        system = build(request)
        if self.graphs:
            compile_networks(system.pipeline.model)
        return system


candidate = MindoneSDXL()
jit_candidate = MindoneSDXL("mindone_sdxl_jit", graphs=True)
