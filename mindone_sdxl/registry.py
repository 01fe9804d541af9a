"""Samplers, discretizations and guiders by name, plain or as the original's configurations and flags spell them.

>>> find(SAMPLERS, "EulerEDMSampler").__name__
'EulerEDM'
>>> find(DISCRETIZATIONS, "gm.modules.diffusionmodules.discretizer.LegacyDDPMDiscretization").__name__
'LegacyDDPM'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindone_sdxl.discretization import DISCRETIZATIONS
from mindone_sdxl.guidance import Guider, Identity, VanillaCFG
from mindone_sdxl.lookup import find
from mindone_sdxl.samplers import LCM, EulerAncestral, EulerEDM, HeunEDM, Sampler
from mindone_sdxl.samplers_dpmpp import DPMPP2M, DPMPP2SAncestral
from mindone_sdxl.samplers_multistep import LinearMultistep

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DISCRETIZATIONS", "GUIDERS", "SAMPLERS", "find"]

SAMPLERS: Mapping[str, type[Sampler]] = {
    "EulerEDM": EulerEDM,
    "HeunEDM": HeunEDM,
    "EulerAncestral": EulerAncestral,
    "DPMPP2SAncestral": DPMPP2SAncestral,
    "DPMPP2M": DPMPP2M,
    "LinearMultistep": LinearMultistep,
    "LCM": LCM,
}
GUIDERS: Mapping[str, type[Guider]] = {"VanillaCFG": VanillaCFG, "Identity": Identity}
