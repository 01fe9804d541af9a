"""Finds a class by its name, plain or as the original's configurations and flags spell it; imports no framework."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from mindone_sdxl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["find"]

T = TypeVar("T")


def find(choices: Mapping[str, T], name: str) -> T:
    """The entry of a name, which may carry a module path and the kind as a suffix.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    short = name.rpartition(".")[2]
    for suffix in ("Sampler", "Discretization", "Guider"):
        short = short.removesuffix(suffix)
    if short in choices:
        return choices[short]
    close = get_close_matches(short, choices, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(choices)}"
    message = f"unknown name {name!r}; {hint}"
    raise ConfigError(message)
