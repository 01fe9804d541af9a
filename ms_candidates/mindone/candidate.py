"""PyPI's mindone as a candidate: `mindone.diffusers` and `mindone.transformers`, version 0.5.0.

    parity replay TRACE --candidate mindone --out TRACE2

It loads the case's diffusers folder as its users do. Its text encoders know the names that transformers 4 gave their
parameters; a folder that transformers 5 saved is read through a copy with those names. `--weights FOLDER` loads a
diffusers folder as it is. The alignment needs no framework.

Source: https://pypi.org/project/mindone/0.5.0/
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ms_candidates.mindone.rows import rows
from parity.errors import FrameworkMissingError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parity.replay import Request, System
    from parity.trace.schema import Row

__all__ = ["Mindone", "candidate"]


class Mindone:
    """`mindone` as a candidate."""

    name = "mindone"

    def alignment(self, request: Request) -> tuple[Sequence[Row], Mapping[str, str]]:
        """Return the rows; every module of diffusers has its counterpart.

        Raises:
            InputError: the case's model is no diffusers folder.
        """
        request.require(("prompt", "sampling", "size"), self.name)
        if not (request.model / "model_index.json").is_file():
            message = f"{request.model} has no model_index.json; mindone loads diffusers folders only"
            raise InputError(message)
        guided = float(request.manifest.case["sampling"]["guidance"]) > 1
        return rows(request.manifest.modules, guided=guided), {}

    def build(self, request: Request) -> System:
        """Load the pipeline.

        Raises:
            FrameworkMissingError: mindone or MindSpore is not installed.
        """
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        try:
            from ms_candidates.mindone.system import build
        except ImportError as error:
            message = f"mindone cannot be imported ({error}); install mindone==0.5.0 in an environment of its own"
            raise FrameworkMissingError(message) from error
        return build(request)


candidate = Mindone()
