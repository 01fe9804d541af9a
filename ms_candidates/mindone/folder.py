"""The diffusers folder that mindone loads: the case's own, or a copy in which its text encoders find their names.

transformers 5 saves a text encoder without projection as `encoder.layers…`, transformers 4 and mindone 0.5.0 read
`text_model.encoder.layers…`: of a folder that transformers 5 wrote, mindone loads not one tensor into that encoder, and
only warns. The copy has the older names. In a case of a half type it also has the weights rounded as the reference's
were, so that two programs are compared and not two checkpoints. Folders without either need are used as they are.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from safetensors.numpy import load_file, save_file

from parity.adapters.parameters import address_of, rounded_as_loaded
from parity.adapters.plants import Plant
from parity.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from parity.replay import Request

__all__ = ["readable"]

State = dict[str, "np.ndarray"]
_PREFIX: Final = "text_model."
_TEXT: Final = ("text_encoder", "text_encoder_2")
_NO_FAULT: Final = Plant()


def readable(request: Request, plant: Plant = _NO_FAULT) -> Path:
    """Return a folder that mindone can load.

    Args:
        request: What is built; its `weights`, a diffusers folder, is taken as it is.
        plant: A fault whose checkpoint is `COMPONENT.NAME` -> array.

    Raises:
        WeightsError: the weights that are given are no diffusers folder.
    """
    if request.weights is not None:
        if not (request.weights / "model_index.json").is_file():
            message = f"--weights {request.weights} has no model_index.json; mindone loads diffusers folders only"
            raise WeightsError(message)
        return request.weights
    copy = request.folder / "model"
    if copy.exists():
        return copy
    partial = copy.with_name("model.partial")  # a copy that was cut off is none
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for entry in sorted(request.model.iterdir()):
        if entry.is_dir() and any(entry.glob("*.safetensors")):
            _component(entry, partial / entry.name, request, plant)
        else:
            (partial / entry.name).symlink_to(entry.resolve())
    return partial.rename(copy)


def _component(source: Path, target: Path, request: Request, plant: Plant) -> None:
    """Link one component's files, or write those of its weights that are to be other ones."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        changed = path.suffix == ".safetensors" and _changed(load_file(path), source.name, request, plant)
        if changed:
            save_file(changed, target / path.name)
        else:
            (target / path.name).symlink_to(path.resolve())


def _changed(state: State, component: str, request: Request, plant: Plant) -> State:
    """Return a component's tensors as mindone shall have them; nothing where it can have the file as it is."""
    prefix = f"{component}."
    wanted = {}
    for name, array in state.items():
        loaded = rounded_as_loaded(array, request.manifest, address_of(prefix + name))
        wanted[prefix + _named(name, component)] = loaded
    same = all(wanted.get(prefix + name) is array for name, array in state.items())
    if same and not plant.changes_checkpoint:
        return {}
    plant.checkpoint(wanted)
    return {name.removeprefix(prefix): array for name, array in wanted.items()}


def _named(name: str, component: str) -> str:
    """Return a tensor's name as transformers 4 has it."""
    if component not in _TEXT or name.startswith((_PREFIX, "text_projection.")):
        return name
    return _PREFIX + name
