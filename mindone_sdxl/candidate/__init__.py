"""The one place where this port knows of the harness: it makes the port a candidate of `parity`.

There are two: `mindone_sdxl`, operator by operator, and `mindone_sdxl_jit`, whose networks run as graphs and are compared
at the boundaries of stages.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from parity.errors import AlignmentError, FrameworkMissingError

from mindone_sdxl.candidate.rows import boundaries, not_compared, rows
from mindone_sdxl.candidate.sampling import row_of
from mindone_sdxl.config import from_diffusers
from mindone_sdxl.config_yaml import from_yaml
from mindone_sdxl.errors import SDXLError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from parity.replay import Request, System
    from parity.trace.schema import Row

    from mindone_sdxl.config import SDXLConfig

__all__ = ["MindoneSDXL", "candidate", "jit_candidate", "read_config"]

_LARGE_MODEL_BYTES = 2**30


class MindoneSDXL:
    """`mindone_sdxl` as a candidate: the alignment from the configuration, the model in one type."""

    def __init__(self, name: str = "mindone_sdxl", *, graphs: bool = False) -> None:
        """Name the candidate; with `graphs` the networks are compiled."""
        self.name, self.graphs = name, graphs

    def alignment(self, request: Request) -> tuple[Sequence[Row], Mapping[str, str]]:
        """Return the rows, and the paths that are not compared with their reasons.

        Raises:
            AlignmentError: the model's configuration cannot be read, or it or the sampler is not supported.
        """
        request.require(("prompt", "sampling", "size"), self.name)
        try:
            config = read_config(request)
        except SDXLError as error:
            message = f"{request.config or request.model}: {error}"
            raise AlignmentError(message) from error
        sampler, known = row_of(request.manifest), request.manifest.modules
        guided = float(request.manifest.case["sampling"]["guidance"]) > 1
        if self.graphs:
            return boundaries(config, guided=guided, known=known)
        table = rows(config, guided=guided, evaluations=sampler.evaluations, known=known)
        return table, not_compared(config, known)

    def prepare(self) -> None:
        """Import MindSpore and the port, for a small model, which runs fastest with one thread.

        Raises:
            FrameworkMissingError: MindSpore is not installed.
        """
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        try:
            import mindone_sdxl.candidate.build  # noqa: F401 - for the time that it takes
        except ImportError as error:
            raise _missing(error) from error

    def build(self, request: Request) -> System:
        """Load the model.

        Raises:
            FrameworkMissingError: MindSpore is not installed.
        """
        if _size_bytes(request.model) < _LARGE_MODEL_BYTES:
            self.prepare()
        try:
            from mindone_sdxl.candidate.build import build
            from mindone_sdxl.graphs import compile_networks
        except ImportError as error:
            raise _missing(error) from error
        system = build(request)
        if self.graphs:
            compile_networks(system.pipeline.model)
        return system


def _size_bytes(model: Path) -> int:
    """Return the size of a single file, or of the weights of a folder."""
    if model.is_file():
        return model.stat().st_size
    return sum(path.stat().st_size for path in model.rglob("*.safetensors"))


def _missing(error: ImportError) -> FrameworkMissingError:
    """Return the error that says why mindspore cannot be imported."""
    message = f"mindspore cannot be imported ({error}); install this project with the extra [mindspore]"
    return FrameworkMissingError(message)


def read_config(request: Request) -> SDXLConfig:
    """The model that the case names: that of a diffusers folder, or that of a single file's YAML configuration."""
    return from_diffusers(request.model) if request.config is None else from_yaml(request.config).model


candidate = MindoneSDXL()
jit_candidate = MindoneSDXL("mindone_sdxl_jit", graphs=True)
