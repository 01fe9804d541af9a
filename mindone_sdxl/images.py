"""Images in and out: a file to the autoencoder's range, pixels to a numbered file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mindone_sdxl import disk
from mindone_sdxl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindone_sdxl.arrays import Array

__all__ = ["grid", "read_image", "write_image"]

_MULTIPLE = 64


def read_image(path: str | Path) -> Array:
    """An image as float64 [1, 3, height, width] in -1 to 1, resized down to multiples of 64.

    Raises:
        InputError: the file is not a readable image or smaller than 64 pixels.
    """
    try:
        with Image.open(path) as file:
            width, height = (size - size % _MULTIPLE for size in file.size)
            if not width or not height:
                message = f"{path} is {file.size[0]} x {file.size[1]}; at least {_MULTIPLE} pixels are needed"
                raise InputError(message)
            pixels = np.asarray(file.resize((width, height)).convert("RGB"), dtype=np.float64)
    except OSError as error:
        message = f"{path} is not a readable image: {error}"
        raise InputError(message) from error
    return pixels.transpose(2, 0, 1)[None] / 127.5 - 1


def grid(images: Sequence[Array], columns: int) -> Array:
    """Images [height, width, 3] row by row in columns; one column if they do not fill the rows."""
    columns = columns if len(images) % columns == 0 else 1
    rows = [np.concatenate(images[start : start + columns], axis=1) for start in range(0, len(images), columns)]
    return np.concatenate(rows, axis=0)


def write_image(folder: str | Path, image: Array) -> Path:
    """Write uint8 [height, width, 3] as PNG, named by the number behind the last one of the folder; none is replaced.

    Raises:
        OutputError: it cannot be written.
    """
    path = disk.reserved(Path(folder), ".png")
    try:
        with disk.whole(path) as partial:
            Image.fromarray(image).save(partial, format="PNG")
    except BaseException:
        path.unlink()
        raise
    return path
