"""Samplers, discretizations and guiders by name, plain or as the original's configurations and flags spell them; imports no framework.

>>> find(SAMPLERS, "EulerEDMSampler").kind.__name__
'EulerEDM'
>>> find(DISCRETIZATIONS, "gm.modules.diffusionmodules.discretizer.LegacyDDPMDiscretization").__name__
'LegacyDDPM'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindone_sdxl.discretization import DISCRETIZATIONS
from mindone_sdxl.guidance import Guider, Identity, VanillaCFG
from mindone_sdxl.lookup import find
from mindone_sdxl.samplers import SAMPLERS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DISCRETIZATIONS", "GUIDERS", "SAMPLERS", "find"]

GUIDERS: Mapping[str, type[Guider]] = {"VanillaCFG": VanillaCFG, "Identity": Identity}
