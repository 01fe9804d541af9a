"""A model's parameters between the cells that hold them and the reference's names, layouts and shapes.

For every system whose checkpoint has the original's names: this port, and the original itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mindspore import Tensor
from parity.adapters.parameters import address_of, in_recorded_type, rounded_as_loaded
from parity.errors import RepairError
from parity.repair import relaid
from parity.replay import Parameter

from mindone_sdxl import files, weights
from mindone_sdxl.names import parameter_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from parity.adapters.plants import Plant
    from parity.repair import WeightEdit
    from parity.replay import Request
    from parity.trace.schema import Manifest

    from mindone_sdxl.config import SDXLConfig
    from mindone_sdxl.names import ParameterEntry

__all__ = ["change_weight", "convert_once", "pulled_back"]


def convert_once(checkpoint: Path, request: Request, config: SDXLConfig, plant: Plant) -> None:
    """Write the checkpoint of the weights that the case names, with a planted fault, unless it is there."""
    if not checkpoint.exists():
        state = _checkpoint_state(request, config)
        plant.checkpoint(state)
        files.write(checkpoint, state)


def _checkpoint_state(request: Request, config: SDXLConfig) -> dict[str, np.ndarray]:
    """Return the weights that the case names, folder or single file, under a checkpoint's names, rounded as loaded."""
    if request.config is None:
        state = weights.normalise_diffusers_names(files.read_diffusers(request.model))
        for name, array in state.items():
            state[name] = rounded_as_loaded(array, request.manifest, address_of(name))
        return weights.diffusers_to_mindspore(state, config)
    state = dict(files.read(request.model))
    for entry in parameter_table(config):
        if entry.stability in state:  # a fused parameter comes three times, and rounding twice changes nothing
            loaded = rounded_as_loaded(state[entry.stability], request.manifest, address_of(entry.diffusers))
            state[entry.stability] = loaded
    return weights.stability_to_mindspore(state, config)


def pulled_back(
    config: SDXLConfig, parameters: Mapping[str, Tensor], native: Callable[[ParameterEntry], str], manifest: Manifest,
    unfilled: Collection[str] = (),
) -> Iterable[Parameter]:  # fmt: skip
    """Yield every parameter in the reference's name, layout and shape.

    Args:
        config: Says which parameters there are.
        parameters: Those of the model, by name.
        native: The name of an entry's parameter in the model.
        manifest: The reference's; a model that widened the reference's type is brought back to it.
        unfilled: Names of the model's parameters that no checkpoint filled.
    """
    for entry in parameter_table(config):
        address = address_of(entry.diffusers)
        array = weights.to_diffusers(parameters[native(entry)].asnumpy(), entry)
        yield Parameter(
            address=address, native=entry.checkpoint, array=in_recorded_type(array, manifest, address),
            loaded=native(entry) not in unfilled,
        )  # fmt: skip


def change_weight(
    config: SDXLConfig, parameters: Mapping[str, Tensor], native: Callable[[ParameterEntry], str], edit: WeightEdit
) -> None:
    """Change the layout of one parameter: back to the reference's layout, edited, and forth again.

    Raises:
        RepairError: the edit names no parameter of this model.
    """
    by_address = {address_of(entry.diffusers): entry for entry in parameter_table(config)}
    entry = by_address.get(edit.address)
    if entry is None:
        message = f"{edit.address} is no parameter of this model; give PATH:PARAMETER of the reference"
        raise RepairError(message)
    parameter = parameters[native(entry)]
    value = parameter.asnumpy().copy()
    edited = np.ascontiguousarray(relaid(weights.to_diffusers(value, entry), edit))
    if entry.transform == "transpose":
        edited = edited.T
    if entry.part is not None:
        index, count = entry.part
        np.split(value, count)[index][...] = edited
        edited = value
    parameter.set_data(Tensor(np.ascontiguousarray(edited.reshape(parameter.shape))))
