"""What lets the networks run as MindSpore graphs (`mindspore.jit`), compiled at their first call.

The compiler reads the source of `construct`. It takes neither look-ups of Python objects by type nor cached functions;
what depends on shapes, types and settings alone is therefore computed while it compiles: `made_once` marks such
functions, and outside graphs remembers what they gave. Hooks do not fire inside a graph.

    >>> @made_once
    ... def ramp(count: int) -> Tensor:
    ...     return Tensor(np.arange(count, dtype=np.float32))
    >>> ramp(3) is ramp(3)
    True
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

import mindspore
from mindspore import ops

if TYPE_CHECKING:
    from collections.abc import Callable

    from mindone_sdxl.model import SDXLModel

__all__ = ["compile_networks", "made_once"]

P = ParamSpec("P")
T = TypeVar("T")


def made_once(function: Callable[P, T]) -> Callable[P, T]:
    """Remember the results of a function of plain values and types, which in a graph are constants."""
    return cast("Callable[P, T]", ops.constexpr(lru_cache(maxsize=256)(function)))


def compile_networks(model: SDXLModel) -> None:
    """Let the UNet, the text encoders and both ways of the autoencoder run as graphs from their next call on.

    Each is compiled anew for every shape that it is given.
    """
    encoders = [model.text_encoder_2] if model.config.refiner else [model.text_encoder, model.text_encoder_2]
    for cell in (model.unet, *encoders):
        cell.construct = mindspore.jit(cell.construct)
    for name in ("encode", "decode"):
        setattr(model.vae, name, mindspore.jit(getattr(model.vae, name)))
