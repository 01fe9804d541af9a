"""The original MindSpore Stable Diffusion XL as a candidate: the package `gm` of mindone's examples, at commit a24c0eb7.

    parity replay TRACE --candidate gm --source DIR --out TRACE2

DIR is a checkout; it is imported as it is. The alignment needs neither the source nor a framework.

Source: https://github.com/mindspore-lab/mindone/tree/a24c0eb7/examples/stable_diffusion_xl
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from mindone_sdxl.candidate import read_config
from mindone_sdxl.errors import SDXLError
from ms_candidates.gm.checkout import find, require_packages
from ms_candidates.gm.config import engine_config
from ms_candidates.gm.rows import not_compared, rows
from parity.errors import AlignmentError, FrameworkMissingError, InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parity.replay import Request, System
    from parity.trace.schema import Row

__all__ = ["Gm", "candidate"]


TYPES: Final = ("float64", "float32")
SAMPLERS: Final = ("EulerAncestral", "EulerEDM", "LinearMultistep", "DPMPP2M", "LCM")  # one evaluation in a step
DISCRETIZATIONS: Final = ("LegacyDDPM", "DiffusersDDPM")


class Gm:
    """`gm` as a candidate."""

    name = "gm"

    def alignment(self, request: Request) -> tuple[Sequence[Row], Mapping[str, str]]:
        """Return the rows, and the paths that are not compared with their reasons.

        Raises:
            InputError: there is no source, or the original cannot be set to the case.
            FrameworkMissingError: a package that the source imports is not installed.
        """
        find(request.source)
        _require(request)
        require_packages()
        request.require(("prompt", "sampling", "size"), self.name)
        try:
            config = read_config(request)
        except SDXLError as error:
            message = f"{request.config or request.model}: {error}"
            raise AlignmentError(message) from error
        engine_config(config, "", "LegacyDDPMDiscretization")
        known = request.manifest.modules
        guided = float(request.manifest.case["sampling"]["guidance"]) > 1
        return rows(config, guided=guided, known=known), not_compared(config, known)

    def build(self, request: Request) -> System:
        """Build the original's engine from the source and load its weights.

        Raises:
            FrameworkMissingError: MindSpore is not installed.
            InputError: the type is not replayed.
        """
        _require(request)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        try:
            from ms_candidates.gm.build import build
        except ImportError as error:
            message = f"mindspore cannot be imported ({error}); install this project with the extra [mindspore]"
            raise FrameworkMissingError(message) from error
        return build(request)


def _require(request: Request) -> None:
    """Refuse a type, a sampler or a discretization that is not replayed.

    Raises:
        InputError: names it and what there is.
    """
    sampling = request.manifest.case["sampling"]
    for what, given, known in (
        ("type", request.dtype, TYPES),
        ("sampler", sampling["sampler"], SAMPLERS),
        ("discretization", sampling["discretization"], DISCRETIZATIONS),
    ):
        if given not in known:
            message = f"the {what} {given} is not replayed in gm{nearest(given, known)}; there are {', '.join(known)}"
            raise InputError(message)


candidate = Gm()
