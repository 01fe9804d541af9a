"""Reading and writing weight files: safetensors and MindSpore checkpoints, and the folders that hold them.

safetensors files are mapped, not read: a tensor's bytes are touched when it is used, and a model loaded from them holds
no second copy. The mapping is private: writing to a tensor changes no file. bfloat16, which numpy lacks,
is widened to float32, which holds every bfloat16 exactly.
"""

# mypy: no-warn-return-any
from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from mindone_sdxl.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mindone_sdxl.arrays import Array

__all__ = ["read", "read_diffusers", "read_safetensors", "write", "write_diffusers"]

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}
_LONGEST_HEADER = 100_000_000
COMPONENTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}


def read(path: str | Path) -> dict[str, Array]:
    """The tensors of a `.safetensors` or `.ckpt` file.

    Raises:
        WeightsError: the file is missing, damaged, or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        message = f"{path} does not exist"
        raise WeightsError(message)
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix == ".ckpt":
        return _read_checkpoint(path)
    message = f"{path}: files of kind {path.suffix!r} are not read; expected .safetensors or .ckpt"
    raise WeightsError(message)


def write(path: str | Path, state: Mapping[str, Array]) -> None:
    """Write tensors to a `.safetensors` or `.ckpt` file, as its suffix says.

    Raises:
        WeightsError: another suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, path)
    elif path.suffix == ".ckpt":
        _write_checkpoint(path, state)
    else:
        message = f"{path}: expected .safetensors or .ckpt"
        raise WeightsError(message)


def read_safetensors(path: Path) -> dict[str, Array]:
    """The tensors of a safetensors file, as views of the mapped file.

    Raises:
        WeightsError: the file is damaged.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(_LONGEST_HEADER, size - 8):
                message = f"{path}: a header of {length} bytes in a file of {size}"
                raise WeightsError(message)
            header = json.loads(file.read(length))
        data = np.memmap(path, dtype=np.uint8, mode="c", offset=8 + length) if size > 8 + length else np.empty(0, "u1")
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _tensor(path, name, entry, data) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, WeightsError):
            raise
        message = f"{path} is not a safetensors file: {error}"
        raise WeightsError(message) from error


def _tensor(path: Path, name: str, entry: Mapping[str, Any], data: Array) -> Array:
    kind, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if kind not in _TYPES:
        message = f"{path}: {name} has type {kind}; expected one of {', '.join(_TYPES)}"
        raise WeightsError(message)
    dtype = np.dtype(_TYPES[kind])
    expected = math.prod(shape) * dtype.itemsize
    if not 0 <= start <= end <= data.size or end - start != expected:
        message = f"{path}: {name} takes bytes {start} to {end} of {data.size}, its shape needs {expected}"
        raise WeightsError(message)
    value = np.asarray(data[start:end]).view(dtype).reshape(shape)
    return (value.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else value


def _read_checkpoint(path: Path) -> dict[str, Array]:
    import mindspore

    try:
        parameters = mindspore.load_checkpoint(str(path))
    except (ValueError, RuntimeError) as error:
        message = f"{path} is not a MindSpore checkpoint: {error}"
        raise WeightsError(message) from error
    return {name: _widened(parameter) for name, parameter in parameters.items()}


def _widened(parameter: Any) -> Array:
    import mindspore

    if parameter.dtype == mindspore.bfloat16:
        return parameter.astype(mindspore.float32).asnumpy()
    return parameter.asnumpy()


def _write_checkpoint(path: Path, state: Mapping[str, Array]) -> None:
    import mindspore

    entries = [{"name": name, "data": mindspore.Tensor(np.ascontiguousarray(value))} for name, value in state.items()]
    mindspore.save_checkpoint(entries, str(path))


def read_diffusers(folder: str | Path) -> dict[str, Array]:
    """All weights of a diffusers SDXL folder, names starting with the component; the refiner has no text_encoder.

    Raises:
        WeightsError: a component has no safetensors file.
    """
    folder, state = Path(folder), {}
    for component, stem in COMPONENTS.items():
        if component == "text_encoder" and not (folder / component).is_dir():
            continue
        for path in _component_files(folder / component, stem):
            state.update({f"{component}.{name}": value for name, value in read_safetensors(path).items()})
    return state


def _component_files(folder: Path, stem: str) -> list[Path]:
    for variant in ("", ".fp16"):
        if (folder / f"{stem}{variant}.safetensors").is_file():
            return [folder / f"{stem}{variant}.safetensors"]
        index = folder / f"{stem}.safetensors.index{variant}.json"
        if index.is_file():
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            return [folder / Path(name).name for name in sorted(set(names))]
    message = f"{folder} has no {stem}.safetensors (nor .fp16, nor an index of shards)"
    raise WeightsError(message)


def write_diffusers(folder: str | Path, state: Mapping[str, Array]) -> None:
    """Write weights, names starting with the component, into the components' folders."""
    for component, stem in COMPONENTS.items():
        prefix = f"{component}."
        part = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if part:
            write(Path(folder) / component / f"{stem}.safetensors", part)
