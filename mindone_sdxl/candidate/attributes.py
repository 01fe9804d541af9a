"""The attributes that decide numerics, read by the reference's path and name, and set where a repair names one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parity.errors import RepairError

from mindone_sdxl.layers import Conv2d
from mindone_sdxl.names import module_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mindspore import nn
    from parity.repair import AttributeEdit

    from mindone_sdxl.config import SDXLConfig

__all__ = ["attributes_of", "natives_of", "refusal", "set_attribute"]

_OF_CELLS = ("eps", "num_groups", "approximate", "heads", "scale")


def attributes_of(config: SDXLConfig, cells: Mapping[str, nn.Cell]) -> dict[str, dict[str, Any]]:
    """Return the attributes of every module, of the scheduler and of the autoencoder."""
    found: dict[str, dict[str, Any]] = {}
    for entry in module_table(config):
        values = _of_cell(cells[entry.native])
        if values:
            found.setdefault(entry.diffusers, {}).update(values)
    schedule = config.schedule
    found["scheduler"] = {
        "num_train_timesteps": schedule.train_timesteps, "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end, "beta_schedule": schedule.beta_schedule,
        "prediction_type": schedule.prediction, "steps_offset": schedule.steps_offset,
    }  # fmt: skip
    found["vae"] = {"scaling_factor": config.vae.scaling_factor}
    return found


def _of_cell(cell: nn.Cell) -> dict[str, Any]:
    """Return one cell's own; the port's convolutions are square, where the reference tells both axes."""
    values = {name: getattr(cell, name) for name in _OF_CELLS if hasattr(cell, name)}
    if isinstance(cell, Conv2d):
        values |= {"stride": [cell.stride] * 2, "padding": [cell.padding] * 2}
    return values


def set_attribute(config: SDXLConfig, cells: Mapping[str, nn.Cell], edit: AttributeEdit) -> None:
    """Set an attribute of every cell that does the work of the edit's path.

    Raises:
        RepairError: none of them has it.
    """
    natives = natives_of(config, edit.path)
    owners = [cells[native] for native in natives if hasattr(cells[native], edit.name)]
    if not owners:
        raise refusal(edit, natives)
    for cell in owners:
        setattr(cell, edit.name, edit.value)


def natives_of(config: SDXLConfig, path: str) -> list[str]:
    """Return the names of the cells that do the work of the module at a path of the reference."""
    return [entry.native for entry in module_table(config) if entry.diffusers == path]


def refusal(edit: AttributeEdit, natives: Sequence[str]) -> RepairError:
    """Return the error that none of these cells has the attribute."""
    cells = ", ".join(natives) or "none"
    return RepairError(f"{edit.path} has no attribute {edit.name!r} here; its cells are {cells}")
