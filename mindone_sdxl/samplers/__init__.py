"""Samplers: how latents move from one noise level to the next; `base` says how they are driven."""

from mindone_sdxl.samplers.base import Noises, Observer, Predict, Sampler
from mindone_sdxl.samplers.dpmpp import DPMPP2M, DPMPP2SAncestral
from mindone_sdxl.samplers.euler import LCM, EulerAncestral, EulerEDM, HeunEDM
from mindone_sdxl.samplers.multistep import LinearMultistep

__all__ = [
    "DPMPP2M",
    "LCM",
    "SAMPLERS",
    "DPMPP2SAncestral",
    "EulerAncestral",
    "EulerEDM",
    "HeunEDM",
    "LinearMultistep",
    "Noises",
    "Observer",
    "Predict",
    "Sampler",
]

SAMPLERS: dict[str, type[Sampler]] = {
    "EulerEDM": EulerEDM,
    "HeunEDM": HeunEDM,
    "EulerAncestral": EulerAncestral,
    "DPMPP2SAncestral": DPMPP2SAncestral,
    "DPMPP2M": DPMPP2M,
    "LinearMultistep": LinearMultistep,
    "LCM": LCM,
}
