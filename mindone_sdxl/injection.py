"""Noise from files: what another implementation drew, or what is drawn here from a seed.

Files hold unit-variance numbers, before the scheduler's initial sigma. One for all images, or one for each:

* initial latents `[1, 4, h, w]`, used for every image, or `[images, 4, h, w]`;
* noise of the steps `[steps, 1, 4, h, w]` or `[steps, 4, h, w]`, used for every image, or `[steps, images, 4, h, w]`.

For several images `NAME.npy` may also be a series `NAME_0000.npy`, `NAME_0001.npy`, one file for each image.
"""

# mypy: no-warn-return-any
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mindone_sdxl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindone_sdxl.arrays import Array

__all__ = ["draw", "draw_steps", "load_latents", "load_noises"]

Shape = tuple[int, int, int]


def load_latents(path: str | Path, images: int, shape: Shape) -> list[Array]:
    """Unit-variance initial latents [1, *shape] of each image.

    Raises:
        InputError: a file is missing, unreadable or of another shape.
    """
    arrays = [_read(file) for file in _files(Path(path), images)]
    batch = images if len(arrays) == 1 else 1
    for array in arrays:
        if array.shape[1:] != shape or array.shape[0] not in (1, batch):
            message = f"{path} has shape {array.shape}; expected {(1, *shape)} or {(batch, *shape)}"
            raise InputError(message)
    return _for_each(arrays, images, axis=0)


def load_noises(path: str | Path, steps: int, images: int, shape: Shape) -> list[Array]:
    """Unit-variance noise of every step [steps, 1, *shape] of each image.

    Raises:
        InputError: a file is missing, unreadable, of another shape, or has another number of steps.
    """
    arrays = [_read(file) for file in _files(Path(path), images)]
    arrays = [array[:, None] if array.ndim == len(shape) + 1 else array for array in arrays]
    batch = images if len(arrays) == 1 else 1
    for array in arrays:
        if array.ndim != len(shape) + 2 or array.shape[2:] != shape or array.shape[1] not in (1, batch):
            expected = f"({steps}, 1, {', '.join(map(str, shape))})"
            message = f"{path} has shape {array.shape}; expected {expected}"
            raise InputError(message)
        if array.shape[0] != steps:
            message = f"{path} holds noise of {array.shape[0]} steps, the sampler takes {steps}"
            raise InputError(message)
    return _for_each(arrays, images, axis=1)


def draw(generator: np.random.RandomState, shape: Shape) -> Array:
    """Standard normal numbers [1, *shape]."""
    return generator.randn(1, *shape)


def draw_steps(generator: np.random.RandomState, steps: int, shape: Shape) -> Array:
    """Standard normal numbers [steps, 1, *shape], the same as if each step drew its own."""
    return generator.randn(steps, 1, *shape)


def _for_each(arrays: Sequence[Array], images: int, axis: int) -> list[Array]:
    """One array for each image: from a series, from a batch, or the same for all."""
    if len(arrays) == images:
        return list(arrays) if images > 1 or arrays[0].shape[axis] == 1 else np.split(arrays[0], images, axis)
    array = arrays[0]
    return np.split(array, images, axis) if array.shape[axis] == images else [array] * images


def _files(path: Path, images: int) -> list[Path]:
    if path.is_file() or images == 1:
        return [path]
    series = [path.with_name(f"{path.stem}_{index:04}{path.suffix}") for index in range(images)]
    missing = [file for file in series if not file.is_file()]
    if missing:
        message = f"neither {path} nor the series up to {missing[0]} exists; {images} images need it"
        raise InputError(message)
    return series


def _read(path: Path) -> Array:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        message = f"{path} is not a readable .npy file: {error}"
        raise InputError(message) from error
    if not np.issubdtype(array.dtype, np.floating):
        message = f"{path} holds {array.dtype}, expected floating numbers"
        raise InputError(message)
    if not np.isfinite(array).all():
        message = f"{path} holds numbers that are not finite"
        raise InputError(message)
    return array
