"""Images with their texts, from a folder with tables: `.csv` files with columns `dir` (the image's path) and `text`.

An image is brought to the training size: its short side is resized, and a square is cut out of it, at random or in the
middle. The network is told its size before that, the crop's corner, and the training size. Everything is looked at
before training starts: a missing image, an empty table or a text that would be cut off is an error that names it.
"""

# mypy: no-warn-return-any
from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from mindone_sdxl.errors import InputError
from mindone_sdxl.train.draws import crop_stream, epoch_order, prompt_is_dropped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mindone_sdxl.arrays import Array
    from mindone_sdxl.tokenizer import CLIPTokenizer

__all__ = ["Entry", "Framing", "Photographs", "Place", "Sample", "check_texts", "places", "read_tables"]

_COLUMNS = ("dir", "text")
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Entry(NamedTuple):
    """A row of a table: an image and its text."""

    path: Path
    text: str


class Place(NamedTuple):
    """An image in an epoch; both count from 0."""

    epoch: int
    image: int


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How images are brought to the training size.

    Args:
        size: height and width in pixels.
        crop: where the square is cut out.
        flip: whether half of the images are mirrored.
        interpolation: how the short side is resized.
    """

    size: int = 1024
    crop: Literal["random", "center"] = "random"
    flip: bool = False
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


class Sample(NamedTuple):
    """One image as it is trained on.

    Args:
        pixels: float32 [3, size, size] in -1 to 1.
        text: its text; empty where it is dropped.
        sizes: height and width before, top and left of the crop, height and width after, float64 [6].
    """

    pixels: Array
    text: str
    sizes: Array


def read_tables(folder: Path) -> list[Entry]:
    """The rows of all tables of a folder, in the order of the tables' names.

    Raises:
        InputError: there is no table, no row, a row without text, or an image that is missing or unreadable.
    """
    tables = sorted(folder.glob("*.csv"))
    if not tables:
        message = f"{folder} has no .csv file; it needs one with the columns dir and text, a row for each image"
        raise InputError(message)
    entries = [entry for table in tables for entry in _rows(table)]
    if not entries:
        message = f"{', '.join(table.name for table in tables)} in {folder}: no row; each image needs one, with its dir and text"
        raise InputError(message)
    return entries


def _rows(table: Path) -> Iterator[Entry]:
    """The rows of a table; paths are relative to its folder."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                message = f"{table}: no column {' and '.join(missing)}; its columns are {', '.join(reader.fieldnames or ['none'])}"
                raise InputError(message)
            for row in reader:
                yield _entry(table, reader.line_num, row["dir"], row["text"])
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        message = f"{table} is no readable table: {error}"
        raise InputError(message) from error


def _entry(table: Path, line: int, name: str | None, text: str | None) -> Entry:
    """A row, once its image was opened.

    Raises:
        InputError: a column is empty, or the image is missing or unreadable.
    """
    if not name or text is None:
        message = f"{table}, line {line}: no {'text' if name else 'dir'}"
        raise InputError(message)
    path = table.parent / name
    try:
        with Image.open(path) as image:  # the header alone is read
            image.getexif()
    except FileNotFoundError as error:
        message = f"{table}, line {line}: the image {path} does not exist"
        raise InputError(message) from error
    except (OSError, Image.DecompressionBombError) as error:
        message = f"{table}, line {line}: {path} is not a readable image: {error}"
        raise InputError(message) from error
    return Entry(path, text)


def check_texts(entries: Iterable[Entry], tokenizers: Sequence[CLIPTokenizer]) -> None:
    """Look for a text that does not fit into the tokens that the encoders take.

    Raises:
        InputError: one is too long; it would be cut off.
    """
    for entry in entries:
        for tokenizer in tokenizers:
            most, count = tokenizer.max_length - 2, len(tokenizer.encode(entry.text))
            if count > most:
                message = (
                    f"the text of {entry.path} has {count} tokens, at most {most} are seen; shorten it, or let it be "
                    f"cut off with --truncate_text True: {entry.text[:60]!r}"
                )
                raise InputError(message)


class Photographs:
    """The images of a run, epoch after epoch.

    Args:
        entries: images and texts.
        framing: how images are brought to the training size.
        seed: of order, crops, mirroring and dropped texts.
        shuffle: whether every epoch has an order of its own.
        drop: the chance that an image goes without its text.
    """

    def __init__(
        self, entries: Sequence[Entry], framing: Framing, *, seed: int, shuffle: bool = True, drop: float = 0.0
    ) -> None:
        self.entries, self.framing, self._seed = entries, framing, seed
        self._shuffle, self._drop = shuffle, drop

    def places(self, start: int, count: int) -> list[Place]:
        """Which images come, from the `start`-th of the run on."""
        return places(len(self.entries), start, count, seed=self._seed, shuffle=self._shuffle)

    def sample(self, place: Place) -> Sample:
        """One image with its text.

        Raises:
            InputError: the image cannot be read.
        """
        entry = self.entries[place.image]
        generator = crop_stream(self._seed, *place)
        pixels, sizes = frame(read_picture(entry.path), self.framing, generator)
        dropped = prompt_is_dropped(self._seed, *place, self._drop)
        return Sample(pixels, "" if dropped else entry.text, sizes)


def places(size: int, start: int, count: int, *, seed: int, shuffle: bool) -> list[Place]:
    """Which of `size` images come, from the `start`-th of the run on; an epoch may end within a batch."""
    found = []
    for number in range(start, start + count):
        epoch, position = divmod(number, size)
        found.append(Place(epoch, int(epoch_order(seed, epoch, size, shuffle=shuffle)[position])))
    return found


def read_picture(path: Path) -> Image.Image:
    """An image as it is meant to be looked at, in red, green and blue.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        message = f"{path} is not a readable image: {error}"
        raise InputError(message) from error


def frame(picture: Image.Image, framing: Framing, generator: np.random.Generator) -> tuple[Array, Array]:
    """Pixels and sizes, as a `Sample` has them, of an image.

    The crop's corner is that in the resized image, as it is after mirroring.
    """
    width, height = picture.size
    scale = framing.size / min(width, height)
    wide, high = (max(framing.size, int(side * scale)) for side in (width, height))
    resized = picture.resize((wide, high), _FILTERS[framing.interpolation])
    if framing.flip and generator.random() < 0.5:
        resized = ImageOps.mirror(resized)
    if framing.crop == "center":
        top, left = (max(0, round((side - framing.size) / 2)) for side in (high, wide))
    else:
        top, left = (int(generator.integers(0, side - framing.size + 1)) for side in (high, wide))
    square = resized.crop((left, top, left + framing.size, top + framing.size))
    pixels = np.asarray(square, np.float32).transpose(2, 0, 1) / np.float32(127.5) - np.float32(1)
    return pixels, np.array([height, width, top, left, framing.size, framing.size], np.float64)
