"""Samplers, discretizations and guiders by name, plain or as the original's configurations and flags spell them.

>>> find(SAMPLERS, "EulerEDMSampler").__name__
'EulerEDM'
>>> find(DISCRETIZATIONS, "gm.modules.diffusionmodules.discretizer.LegacyDDPMDiscretization").__name__
'LegacyDDPM'
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from mindone_sdxl.discretization import EDM, DiffusersDDPM, Discretization, LegacyDDPM
from mindone_sdxl.errors import ConfigError
from mindone_sdxl.guidance import Guider, Identity, VanillaCFG
from mindone_sdxl.samplers import LCM, EulerAncestral, EulerEDM, HeunEDM, Sampler
from mindone_sdxl.samplers_dpmpp import DPMPP2M, DPMPP2SAncestral
from mindone_sdxl.samplers_multistep import LinearMultistep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["DISCRETIZATIONS", "GUIDERS", "SAMPLERS", "find"]

T = TypeVar("T")

SAMPLERS: Mapping[str, type[Sampler]] = {
    "EulerEDM": EulerEDM,
    "HeunEDM": HeunEDM,
    "EulerAncestral": EulerAncestral,
    "DPMPP2SAncestral": DPMPP2SAncestral,
    "DPMPP2M": DPMPP2M,
    "LinearMultistep": LinearMultistep,
    "LCM": LCM,
}
DISCRETIZATIONS: Mapping[str, Callable[..., Discretization]] = {
    "LegacyDDPM": LegacyDDPM,
    "DiffusersDDPM": DiffusersDDPM,
    "EDM": EDM,
}
GUIDERS: Mapping[str, type[Guider]] = {"VanillaCFG": VanillaCFG, "Identity": Identity}


def find(choices: Mapping[str, T], name: str) -> T:
    """The entry of a name, which may carry a module path and the kind as a suffix.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    short = name.rpartition(".")[2]
    for suffix in ("Sampler", "Discretization", "Guider"):
        short = short.removesuffix(suffix)
    if short in choices:
        return choices[short]
    close = get_close_matches(short, choices, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(choices)}"
    message = f"unknown name {name!r}; {hint}"
    raise ConfigError(message)
