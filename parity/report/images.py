"""Reference and candidate image beside their amplified difference, as small PNGs that travel in the result.

`draw` turns two batches `[batch, 3, height, width]` in [0, 1] into data URIs for `Result.images`, so that
`result.json` alone is enough to draw the report; `files` gives them back as PNG files. A picture is shown at most 512
pixels wide or high; the difference keeps its maximum when it is reduced, so that one wrong pixel stays one.
The amplification is a power of two, chosen so that the largest difference comes near white, and is stated.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["draw", "encode_png", "files", "names"]

SHOWN_PIXELS: Final = 512
_BATCH_AXES: Final = 4
_LARGEST_FACTOR: Final = 2.0**40
_NAME: Final = re.compile(r"(reference|candidate|difference)_[0-9]+")
_PREFIX: Final = "data:image/png;base64,"


def encode_png(pixels: np.ndarray) -> bytes:
    """Return the PNG of `[height, width, 3]` uint8 pixels; the same pixels give the same bytes."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + width * 3), dtype=np.uint8)
    rows[:, 1:] = pixels.reshape(height, width * 3)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(rows.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def draw(reference: np.ndarray, candidate: np.ndarray) -> dict[str, str]:
    """Return pictures in the form that `Result.images` keeps.

    For each image N: `reference_N`, `candidate_N` and `difference_N` are data URIs, `caption_N` says how
    much the difference is amplified and where it is largest.

    Args:
        reference: `[batch, 3, height, width]`, values in [0, 1].
        candidate: The same shape.

    Raises:
        ValueError: the shapes differ or are not those of an image batch.
    """
    if reference.shape != candidate.shape or reference.ndim != _BATCH_AXES or reference.shape[1] != 3:  # noqa: PLR2004 - colours
        message = (
            f"images have the shapes {reference.shape} and {candidate.shape}; both must be [batch, 3, height, width]"
        )
        raise ValueError(message)
    found: dict[str, str] = {}
    for place, (left, right) in enumerate(zip(reference, candidate, strict=True)):
        difference = np.nan_to_num(
            np.abs(right.astype(np.float64) - left.astype(np.float64)), nan=np.inf, posinf=np.inf
        )
        factor = _factor(float(difference.max(initial=0.0)))
        pictures = {
            f"reference_{place}": _shrink(left, largest=False),
            f"candidate_{place}": _shrink(right, largest=False),
            f"difference_{place}": _shrink(np.minimum(difference * factor, 1.0), largest=True),
        }
        for name, picture in pictures.items():
            found[name] = _PREFIX + base64.b64encode(encode_png(_bytes(picture))).decode("ascii")
        found[f"caption_{place}"] = _caption(difference, factor)
    return found


def files(images: Mapping[str, str]) -> dict[str, bytes]:
    """Return the PNG files of pictures by name, `images/reference_0.png`; what is none is left out."""
    found: dict[str, bytes] = {}
    for name, text in images.items():
        if _NAME.fullmatch(name) and text.startswith(_PREFIX):
            with suppress(binascii.Error):
                found[f"images/{name}.png"] = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    return found


def names(folder: Path) -> list[str]:
    """Return the names of the pictures of a result that lie in its folder, those of its candidates too."""
    paths = [*folder.glob("images/*.png"), *folder.glob("*/images/*.png")]
    return [path.relative_to(folder).as_posix() for path in paths if _NAME.fullmatch(path.stem)]


def _factor(largest: float) -> float:
    """Return the power of two that brings the largest difference to between a half and one."""
    if largest == 0.0 or not math.isfinite(largest):
        return 1.0
    return min(max(1.0, 2.0 ** math.floor(-math.log2(largest))), _LARGEST_FACTOR)


def _caption(difference: np.ndarray, factor: float) -> str:
    """Say how large the difference is and how much the picture amplifies it."""
    largest = float(difference.max(initial=0.0))
    if largest == 0.0:
        return "no difference: the two images have the same bytes"
    _, row, column = np.unravel_index(int(difference.argmax()), difference.shape)
    levels = "" if not math.isfinite(largest) else f", {largest * 255:.2g} of 255 grey levels"
    return f"amplified {factor:,.0f} times; largest difference {largest:.2e}{levels}, at row {row}, column {column}"


def _shrink(image: np.ndarray, *, largest: bool) -> np.ndarray:
    """Reduce `[3, height, width]` by whole blocks to at most `SHOWN_PIXELS`, by mean or by largest value."""
    _, height, width = image.shape
    block = max(1, math.ceil(max(height, width) / SHOWN_PIXELS))
    if block == 1:
        return image
    short_rows, short_columns = -height % block, -width % block
    padded = np.pad(image, ((0, 0), (0, short_rows), (0, short_columns)), mode="edge")
    blocks = padded.reshape(3, (height + short_rows) // block, block, (width + short_columns) // block, block)
    reduced: np.ndarray = blocks.max(axis=(2, 4)) if largest else blocks.mean(axis=(2, 4))
    return reduced


def _bytes(image: np.ndarray) -> np.ndarray:
    """Return `[3, height, width]` in [0, 1] as `[height, width, 3]` uint8; not a number becomes magenta."""
    broken = np.isnan(image).any(axis=0)
    pixels = np.clip(np.nan_to_num(image, nan=0.0) * 255.0 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()
    pixels[broken] = (255, 0, 255)
    return pixels
