"""The sampler of a case: its row, set as the reference's own was; imports no framework.

A case names the sampler. What it is set to beyond that is told by the reference: its manifest has the attributes of the
scheduler in force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parity.errors import AlignmentError, nearest

from mindone_sdxl.discretization import DiffusersDDPM
from mindone_sdxl.registry import DISCRETIZATIONS, SAMPLERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parity.trace.schema import Manifest

    from mindone_sdxl.config import ScheduleConfig
    from mindone_sdxl.discretization import Discretization
    from mindone_sdxl.samplers import Row, Sampler
    from mindone_sdxl.schedule import Schedule

__all__ = ["make_sampler", "placed", "row_of"]

_SPACING = "leading"


def row_of(manifest: Manifest) -> Row:
    """Return the row of the case's sampler.

    Raises:
        AlignmentError: the port has no such sampler or discretization, or the reference spaces its steps otherwise.
    """
    sampling = manifest.case["sampling"]
    for key, known in (("sampler", SAMPLERS), ("discretization", DISCRETIZATIONS)):
        name = sampling[key]
        if name not in known:
            message = f"sampling.{key} is {name!r}{nearest(name, known)}; mindone_sdxl has {', '.join(known)}"
            raise AlignmentError(message)
    spacing = manifest.attributes.get("scheduler", {}).get("timestep_spacing", _SPACING)
    if spacing != _SPACING:
        message = f"the reference's scheduler has timestep_spacing {spacing!r}; mindone_sdxl has {_SPACING!r} alone"
        raise AlignmentError(message)
    return SAMPLERS[sampling["sampler"]]


def placed(sampling: Mapping[str, Any], schedule: ScheduleConfig, settings: Mapping[str, Any]) -> Discretization:
    """Return where the steps of the case lie, as the reference's scheduler is set."""
    kind = DISCRETIZATIONS[sampling["discretization"]]
    row = SAMPLERS[sampling["sampler"]]
    if row.placed is None or kind is not DiffusersDDPM:
        return kind(schedule)
    ends_low = settings.get("final_sigmas_type") == "sigma_min" or settings.get("set_alpha_to_one") is False
    return row.placed(schedule, karras=bool(settings.get("use_karras_sigmas")), to_zero=not ends_low)


def make_sampler(sampling: Mapping[str, Any], schedule: Schedule, settings: Mapping[str, Any]) -> Sampler:
    """Return the sampler of the case, with those of its options that the reference's scheduler has."""
    row = SAMPLERS[sampling["sampler"]]
    return row.kind(schedule, **{name: settings[name] for name in row.options if name in settings})
