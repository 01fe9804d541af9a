"""A model's parameters between the cells that hold them and the reference's names, layouts and shapes.

For every system whose checkpoint has the original's names: this port, and the original itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mindspore import Tensor
from parity.address import Address
from parity.dtypes import eps, is_float, narrow, widen
from parity.errors import RepairError
from parity.frameworks.mindspore_system_ import in_recorded_type
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

__all__ = ["as_loaded", "change_weight", "convert_once", "pulled_back"]


def as_loaded(request: Request) -> dict[str, np.ndarray]:
    """Return the model's weights, rounded as the reference's were when it loaded them in a half type.

    Without that, a float16 case would compare two checkpoints and not two programs.
    """
    state = weights.normalise_diffusers_names(files.read_diffusers(request.model))
    return {name: _rounded(array, name, request.manifest) for name, array in state.items()}


def convert_once(checkpoint: Path, request: Request, config: SDXLConfig, plant: Plant) -> None:
    """Write the checkpoint of the weights that the case names, with a planted fault, unless it is there."""
    if not checkpoint.exists():
        state = _checkpoint_state(request, config)
        plant.checkpoint(state)
        files.write(checkpoint, state)


def _checkpoint_state(request: Request, config: SDXLConfig) -> dict[str, np.ndarray]:
    """Return the weights that the case names, folder or single file, under a checkpoint's names, rounded as loaded."""
    if request.config is None:
        return weights.diffusers_to_mindspore(as_loaded(request), config)
    state = dict(files.read(request.model))
    for entry in parameter_table(config):
        if entry.stability in state:  # a fused parameter comes three times, and rounding twice changes nothing
            state[entry.stability] = _rounded(state[entry.stability], entry.diffusers, request.manifest)
    return weights.stability_to_mindspore(state, config)


def _rounded(array: np.ndarray, name: str, manifest: Manifest) -> np.ndarray:
    """Return a parameter, named as diffusers does, in the precision that the reference loaded it in."""
    known = manifest.weights.get(_address(name))
    if known is not None and is_float(known.dtype) and eps(known.dtype) > eps(str(array.dtype)):
        return widen(narrow(array, known.dtype), known.dtype, str(array.dtype))
    return array


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
        address = _address(entry.diffusers)
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
    by_address = {_address(entry.diffusers): entry for entry in parameter_table(config)}
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


def _address(name: str) -> str:
    """Return the address of a parameter that diffusers calls `name`."""
    path, _, parameter = name.rpartition(".")
    return str(Address(path=path, port=parameter))
