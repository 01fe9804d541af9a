"""The diffusers folder that mindone loads: the case's own, or a copy in which its text encoders find their names.

transformers 5 saves a text encoder without projection as `encoder.layers…`, transformers 4 and mindone 0.5.0 read
`text_model.encoder.layers…`: of a folder that transformers 5 wrote, mindone loads not one tensor into that encoder, and
only warns. The copy has the older names. In a case of a half type it also has the weights rounded as the reference's
were, so that two programs are compared and not two checkpoints. Folders without either need are used as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from safetensors.numpy import load_file, save_file

from parity.dtypes import eps, is_float, narrow, widen
from parity.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from parity.replay import Request

__all__ = ["readable"]

State = dict[str, "np.ndarray"]
_PREFIX: Final = "text_model."
_TEXT: Final = ("text_encoder", "text_encoder_2")


def readable(request: Request, change: Callable[[State], Any] | None = None) -> Path:
    """Return a folder that mindone can load.

    Args:
        request: What is built; its `weights`, a diffusers folder, is taken as it is.
        change: A planted fault of the checkpoint: may change `COMPONENT.NAME` -> array.

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
    copy.mkdir(parents=True)
    for entry in sorted(request.model.iterdir()):
        if entry.is_dir() and any(entry.glob("*.safetensors")):
            _component(entry, copy / entry.name, request, change)
        else:
            (copy / entry.name).symlink_to(entry.resolve())
    return copy


def _component(source: Path, target: Path, request: Request, change: Callable[[State], Any] | None) -> None:
    """Link one component's files, or write those of its weights that are to be other ones."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.suffix == ".safetensors":
            state = load_file(path)
            wanted = {
                _named(name, source.name): _rounded(array, name, source.name, request) for name, array in state.items()
            }
            if change is not None:
                full = {f"{source.name}.{name}": array for name, array in wanted.items()}
                change(full)
                wanted = {name.removeprefix(f"{source.name}."): array for name, array in full.items()}
            if change is not None or any(wanted.get(name) is not array for name, array in state.items()):
                save_file(wanted, target / path.name)
                continue
        (target / path.name).symlink_to(path.resolve())


def _named(name: str, component: str) -> str:
    """Return a tensor's name as transformers 4 has it."""
    if component not in _TEXT or name.startswith((_PREFIX, "text_projection.")):
        return name
    return _PREFIX + name


def _rounded(array: np.ndarray, name: str, component: str, request: Request) -> np.ndarray:
    """Return a tensor rounded as the reference's was when it loaded it in a half type."""
    path, _, leaf = f"{component}.{name}".rpartition(".")
    known = request.manifest.weights.get(f"{path}:{leaf}")
    if known is None or not is_float(known.dtype) or eps(known.dtype) <= eps(str(array.dtype)):
        return array
    return widen(narrow(array, known.dtype), known.dtype, str(array.dtype))
