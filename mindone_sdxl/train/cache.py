"""Latents and text embeddings worked out once (`--task cache`), so that training needs neither autoencoder nor encoders.

CACHE/latent_cache/NAME.npy      latents before scaling, one sample of the posterior, float32 [1, channels, h, w]
CACHE/crossattn_cache/NAME.npy   text embeddings, float32 [1, tokens, size]
CACHE/vector_cache/NAME.npy      pooled embedding and sizes, float32 [1, size]
CACHE/img_txt_rank0.csv          names and texts, as the images' own tables have them
"""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mindone_sdxl.disk import whole
from mindone_sdxl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mindone_sdxl.arrays import Array
    from mindone_sdxl.train.data import Entry

__all__ = ["Cached", "latents_shape", "names_of", "read_cached", "read_names", "write_cached", "write_table"]

_FOLDERS = {"latents": "latent_cache", "context": "crossattn_cache", "vector": "vector_cache"}
_TABLE = "img_txt_rank0.csv"


class Cached(NamedTuple):
    """What is kept of one image; each array has a first axis of one."""

    latents: Array
    context: Array
    vector: Array


def names_of(entries: Sequence[Entry]) -> list[str]:
    """A name for each image: its path with its separators replaced, which two images do not share.

    Raises:
        InputError: two rows have the same image.
    """
    common = os.path.commonpath([entry.path.parent for entry in entries])
    names = [str(entry.path.relative_to(common).with_suffix("")).replace("/", "_") for entry in entries]
    seen: dict[str, Entry] = {}
    for name, entry in zip(names, entries, strict=True):
        if name in seen:
            message = f"{entry.path} and {seen[name].path} would share the cache's name {name}; rename one of them"
            raise InputError(message)
        seen[name] = entry
    return names


def write_cached(cache: Path, name: str, cached: Cached) -> None:
    """Keep what was worked out for an image."""
    for kind, folder in _FOLDERS.items():
        path = cache / folder / f"{name}.npy"
        with whole(path) as partial, partial.open("wb") as file:
            np.save(file, getattr(cached, kind).astype(np.float32), allow_pickle=False)


def write_table(cache: Path, names: Sequence[str], entries: Sequence[Entry]) -> None:
    """Keep the names and texts; the table comes last, so that a cache with one is whole."""
    with whole(cache / _TABLE) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("dir", "text"))
        writer.writerows((name, entry.text) for name, entry in zip(names, entries, strict=True))


def read_names(cache: Path) -> list[str]:
    """The names of a cache.

    Raises:
        InputError: it has no table, or an empty one.
    """
    try:
        with (cache / _TABLE).open(encoding="utf-8", newline="") as file:
            names = [row["dir"] for row in csv.DictReader(file)]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        message = f"{cache} is no finished cache: {error}; write it with --task cache --cache_path {cache}"
        raise InputError(message) from error
    if not names:
        message = f"{cache / _TABLE} has no row; write the cache again with --task cache"
        raise InputError(message)
    return names


def latents_shape(cache: Path, names: Sequence[str]) -> tuple[int, int, int]:
    """Channels, height and width of all latents of a cache.

    Raises:
        InputError: they differ, or a file is missing or damaged.
    """
    channels, height, width = read_cached(cache, names[0]).latents.shape[1:]
    for name in names:
        shape = read_cached(cache, name).latents.shape
        if shape != (1, channels, height, width):
            message = (
                f"{cache}: latents of {name} have shape {shape}, those of {names[0]} {(1, channels, height, width)}"
            )
            raise InputError(message)
    return channels, height, width


def read_cached(cache: Path, name: str) -> Cached:
    """What was kept for an image.

    Raises:
        InputError: a file is missing or damaged.
    """
    found = []
    for folder in _FOLDERS.values():
        path = cache / folder / f"{name}.npy"
        try:
            found.append(np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            message = f"{path} cannot be read: {error}; write the cache again with --task cache"
            raise InputError(message) from error
    return Cached(*found)
