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

from mindone_sdxl import disk
from mindone_sdxl.checkpoints import read_checkpoint, write_checkpoint
from mindone_sdxl.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mindone_sdxl.arrays import Array, DTypeLike

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
        return read_checkpoint(path)
    message = f"{path}: files of kind {path.suffix!r} are not read; expected .safetensors or .ckpt"
    raise WeightsError(message)


def write(path: str | Path, state: Mapping[str, Array], dtype: DTypeLike | None = None) -> None:
    """Write tensors to a `.safetensors` or `.ckpt` file, as its suffix says; one at a time is held in memory.

    The file appears under its name when it is complete, so that the state may come from the same file.

    Args:
        dtype: type that floating tensors are brought to, by default each its own.

    Raises:
        WeightsError: another suffix, or a type that the file does not hold.
        OutputError: the file cannot be written, or another process writes it.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".ckpt"):
        message = f"{path}: expected .safetensors or .ckpt"
        raise WeightsError(message)
    with disk.whole(path) as partial:
        if path.suffix == ".ckpt":
            write_checkpoint(partial, ((name, _cast(value, dtype)) for name, value in state.items()))
        else:
            _write_safetensors(partial, state, dtype)


def _cast(value: Array, dtype: DTypeLike | None) -> Array:
    floating = np.issubdtype(value.dtype, np.floating)
    return value.astype(dtype, copy=False) if dtype is not None and floating else value


def _write_safetensors(path: Path, state: Mapping[str, Array], dtype: DTypeLike | None) -> None:
    kinds = {name: _cast(np.empty(0, value.dtype), dtype).dtype for name, value in state.items()}
    # Wider types first, so that every tensor lies at a multiple of its own width.
    order = sorted(state, key=lambda name: -kinds[name].itemsize)
    names = {np.dtype(kind): name for name, kind in _TYPES.items() if name != "BF16"}
    header, end = {}, 0
    for name in order:
        if kinds[name] not in names:
            message = f"{path}: {name} has type {kinds[name]}; expected one of {', '.join(map(str, names))}"
            raise WeightsError(message)
        shape, start = state[name].shape, end
        end += math.prod(shape) * kinds[name].itemsize
        header[name] = {"dtype": names[kinds[name]], "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(np.ascontiguousarray(_cast(state[name], dtype)).reshape(-1).view(np.uint8).data)


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
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
            return [folder / name for name in _shards(index)]
    message = f"{folder} has no {stem}.safetensors (nor .fp16, nor an index of shards)"
    raise WeightsError(message)


def _shards(index: Path) -> list[str]:
    """The names of the files that an index says a component is divided into, in order."""
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({Path(name).name for name in names})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"{index} is not an index of shards: {error!r:.200}"
        raise WeightsError(message) from error


def write_diffusers(folder: str | Path, state: Mapping[str, Array], dtype: DTypeLike | None = None) -> None:
    """Write weights, names starting with the component, into the components' folders."""
    for component, stem in COMPONENTS.items():
        prefix = f"{component}."
        part = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if part:
            write(Path(folder) / component / f"{stem}.safetensors", part, dtype)
