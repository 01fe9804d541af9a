"""Injection files: the initial latents and each step's noise, as files that other programs read too.

For one image they are `init_latent.npy` `[1, 4, h, w]` and `init_noise_scheduler.npy` `[steps, 1, 4, h, w]`, the
names and shapes that mindone reads. For several images each has its own pair, numbered from 0000 in the order
of the batch. A sampler that draws no noise in its steps has the first file alone. All are float32 of unit variance: the latents before the sampler's `init_noise_sigma`.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import xxhash

from parity import disk
from parity.errors import TraceError
from parity.trace.names import open_inside, read_inside
from parity.trace.npy import read_header

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["Injection", "intact_file", "read_injection", "seals_of", "write_injection"]

_CHANNELS: Final = 4
_MOST_BYTES: Final = 1 << 31
_DIMENSIONS: Final = 4
_LATENTS: Final = "init_latent"
_NOISE: Final = "init_noise_scheduler"


class Injection(NamedTuple):
    """`latents` [images, 4, h, w] and `noise` [steps, images, 4, h, w] or None, float32."""

    latents: NDArray[Any]
    noise: NDArray[Any] | None


def write_injection(folder: str | Path, latents: NDArray[Any], noise: NDArray[Any] | None) -> list[Path]:
    """Write the files of a batch and return their paths.

    Args:
        folder: Where to.
        latents: [images, 4, h, w], float32, before `init_noise_sigma`.
        noise: [steps, images, 4, h, w], float32; None: the steps draw none.

    Raises:
        TraceError: a type or a shape is another one.
        OutputError: the files cannot be written.
    """
    folder = Path(folder)
    _check(folder, latents, noise)
    suffixes = [""]
    if len(latents) > 1:
        suffixes = _numbered(len(latents))
    paths: list[Path] = []
    for image, suffix in enumerate(suffixes):
        paths.append(_save(folder / f"{_LATENTS}{suffix}.npy", latents[image : image + 1]))
        if noise is not None:
            paths.append(_save(folder / f"{_NOISE}{suffix}.npy", noise[:, image : image + 1]))
    return paths


def _save(path: Path, array: NDArray[Any]) -> Path:
    """Write one file and return its path."""
    with disk.writing(path) as file:
        np.save(file, array, allow_pickle=False)
    return path


def seals_of(paths: Iterable[Path]) -> dict[str, str]:
    """Return the digest of each injection file by its name, as a manifest keeps them."""
    return {path.name: xxhash.xxh3_128_hexdigest(path.read_bytes()) for path in paths}


def intact_file(folder: Path, name: str, wanted: str) -> bytes:
    """Return the bytes of an injection file.

    Raises:
        TraceError: it is not there, or its digest is another one than `wanted`.
    """
    data = read_inside(folder, name, _MOST_BYTES)
    found = xxhash.xxh3_128_hexdigest(data)
    if found != wanted:
        message = (
            f"{folder / name} is damaged or was changed: its digest is {found}; expected {wanted}; take a whole copy, or "
            "record it again"
        )
        raise TraceError(message)
    return data


def read_injection(folder: str | Path) -> Injection:
    """Read the files of a batch.

    Raises:
        TraceError: a file is missing, damaged, or of another type or shape.
    """
    folder = Path(folder)
    suffixes = _suffixes(folder)
    latents = [_read(folder, f"{_LATENTS}{suffix}.npy") for suffix in suffixes]
    # Where no step draws anything the latents stand for the noise of one step in all that is checked.
    noise = [each[None] for each in latents]
    drawn = any(folder.glob(f"{_NOISE}*.npy"))
    if drawn:
        noise = [_read(folder, f"{_NOISE}{suffix}.npy") for suffix in suffixes]
    one_image = 1, *latents[0].shape[1:]
    its_steps = *noise[0].shape[:1], *one_image
    for suffix, one, steps in zip(suffixes, latents, noise, strict=True):
        if (one.shape, steps.shape) != (one_image, its_steps):
            message = (
                f"{folder}: {_LATENTS}{suffix}.npy has shape {list(one.shape)} and {_NOISE}{suffix}.npy "
                f"{list(steps.shape)}; expected [1, 4, h, w] and [steps, 1, 4, h, w], the same for every image"
            )
            raise TraceError(message)
    found = Injection(
        latents=np.concatenate(latents),
        noise=np.concatenate(noise, axis=1) if drawn else None,
    )
    _check(folder, *found)
    return found


def _suffixes(folder: Path) -> list[str]:
    """Return what ends the names of each image's files: its number, or nothing where there is one image.

    Raises:
        TraceError: a number is missing, or there are files of both kinds.
    """
    files = folder.glob(f"{_LATENTS}_[0-9][0-9][0-9][0-9].npy")
    suffixes = sorted(file.stem.removeprefix(_LATENTS) for file in files)
    if not suffixes:
        return [""]
    if (folder / f"{_LATENTS}.npy").exists():
        message = f"{folder} has both {_LATENTS}.npy and {_LATENTS}{suffixes[0]}.npy; keep the files of one batch"
        raise TraceError(message)
    if suffixes != _numbered(len(suffixes)):
        numbers = ", ".join(suffixes).replace("_", "")
        message = f"{folder} has {_LATENTS} files {numbers}; expected them numbered from 0000 without a gap"
        raise TraceError(message)
    return suffixes


def _numbered(images: int) -> list[str]:
    """Return what ends the names of the files of so many images."""
    return [f"_{image:04d}" for image in range(images)]


def _check(folder: Path, latents: NDArray[Any], noise: NDArray[Any] | None) -> None:
    """Check types and shapes of a batch."""
    is_batch = latents.ndim == _DIMENSIONS and len(latents) > 0 and latents.shape[1] == _CHANNELS
    steps = latents[None]
    if noise is not None:
        steps = noise
    if not is_batch or steps.shape != (*steps.shape[:1], *latents.shape):
        message = (
            f"{folder}: latents of shape {list(latents.shape)} and noise of shape {list(steps.shape)}; "
            f"expected [images, 4, h, w] and [steps, images, 4, h, w]"
        )
        raise TraceError(message)
    if {latents.dtype, steps.dtype} != {np.dtype(np.float32)}:
        message = f"{folder}: latents are {latents.dtype} and noise is {steps.dtype}; expected float32"
        raise TraceError(message)


def _read(folder: Path, name: str) -> NDArray[Any]:
    """Read one file without ever unpickling."""
    with os.fdopen(open_inside(folder, name), "rb") as file:
        dtype, shape, fortran, start = read_header(file, f"{folder / name}")
        size = os.fstat(file.fileno()).st_size - start
        needed = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or needed != size or dtype.newbyteorder("<") != np.dtype("<f4"):
            message = f"{folder / name} is {dtype}{list(shape)} with {size} bytes; expected float32 and {needed} bytes"
            raise TraceError(message)
        data = file.read(needed)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C").astype("<f4")
