"""The images that a case starts from or sends through the encoder, `[1, 3, height, width]` in [-1, 1], float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parity.errors import CaseError

if TYPE_CHECKING:
    from pathlib import Path

    from parity.case import Resolved

__all__ = ["start_image", "synthetic"]


def synthetic(height: int, width: int, seed: int) -> np.ndarray:
    """Return an image that is smooth, with texture."""
    generator = np.random.Generator(np.random.PCG64(seed))
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(2 * np.pi * (2.3 * x + (1.1 + band) * y) + band) for band in range(3)]
    noise = generator.uniform(-1.0, 1.0, (3, height, width))
    return (0.45 * np.stack(waves) + 0.2 * (2 * x - 1) * (1 - 2 * y) + 0.35 * noise)[None]


def start_image(resolved: Resolved) -> np.ndarray | None:
    """Return the image that the case starts from, for one image of its batch; None in text to image.

    Raises:
        CaseError: the file is no image.
    """
    case, path = resolved.case, resolved.image_path
    if case.image is None:
        return None
    if path is None:
        return synthetic(case.size.height, case.size.width, case.image.seed)
    return _read(path, case.size.width, case.size.height)


def _read(path: Path, width: int, height: int) -> np.ndarray:
    """Return an image file at this size."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((width, height)), np.float64)
    except (OSError, UnidentifiedImageError) as error:
        message = f"{path} cannot be read as an image: {error}"
        raise CaseError(message) from error
    return pixels.transpose(2, 0, 1)[None] / 127.5 - 1.0
