"""Samplers: how latents move from one noise level to the next.

`base` has what they share, the other modules the samplers by family, each with its rows: another sampler is a class and
a row beside it. `SAMPLERS` is the table.

>>> from mindone_sdxl.samplers import SAMPLERS
>>> SAMPLERS["HeunEDM"].evaluations, SAMPLERS["DDIM"].noise, SAMPLERS["DPMPP2M"].kind.remembers
(2, 'eta', True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mindone_sdxl.samplers import dpmpp, euler, lcm, multistep, unit_variance
from mindone_sdxl.samplers.base import Noises, Observer, Predict, Row, Sampler
from mindone_sdxl.samplers.dpmpp import DPMPP2M, DPMPP2SAncestral
from mindone_sdxl.samplers.euler import EulerAncestral, EulerEDM, HeunEDM
from mindone_sdxl.samplers.lcm import LCM, LCM_TIMESTEP_SCALING
from mindone_sdxl.samplers.multistep import LinearMultistep
from mindone_sdxl.samplers.unit_variance import DDIM, DPMSolverMultistep

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DDIM",
    "DPMPP2M",
    "LCM",
    "LCM_TIMESTEP_SCALING",
    "SAMPLERS",
    "DPMPP2SAncestral",
    "DPMSolverMultistep",
    "EulerAncestral",
    "EulerEDM",
    "HeunEDM",
    "LinearMultistep",
    "Noises",
    "Observer",
    "Predict",
    "Row",
    "Sampler",
]

SAMPLERS: Final[Mapping[str, Row]] = {
    row.name: row for family in (euler, dpmpp, multistep, lcm, unit_variance) for row in family.ROWS
}
