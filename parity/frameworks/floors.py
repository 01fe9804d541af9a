"""How far a platform's operators are from float64 by themselves, over the scales and lengths that SDXL uses.

A framework says how it computes each kind; samples and exact results are the same for all, so that two platforms'
tables can be laid side by side. Inputs are rounded to the type first: only the operator's own rounding counts.

    >>> table = measure({"exp": lambda x: np.exp(x.astype(np.float32))}, "float32")
    >>> table["exp"]["float32"]["rel_l2"] < 1e-7
    True
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from scipy import special

from parity.dtypes import narrow, widen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["KINDS", "measure"]

_SCALES: Final = (0.03, 0.3, 1.0, 3.0)
_EPS: Final = 1e-5
_GROUPS: Final = 32


class _Operator(NamedTuple):
    """One kind: the exact result in float64, and what it is measured on: shapes of its arguments, and their scale."""

    exact: Callable[..., Any]
    samples: tuple[tuple[float, tuple[tuple[int, ...], ...]], ...]


def _elementwise(exact: Callable[..., Any], scales: tuple[float, ...] = _SCALES) -> _Operator:
    """Return a kind that takes one tensor and works element by element."""
    return _Operator(exact, tuple((scale, ((64, 1280),)) for scale in scales))


def _normal(x: Any, axes: tuple[int, ...]) -> Any:
    """Bring to mean 0 and variance 1."""
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axes, keepdims=True) + _EPS)


def _groups(x: Any) -> Any:
    """Group normalisation without weights."""
    return _normal(x.reshape(x.shape[0], _GROUPS, -1), (2,)).reshape(x.shape)


def _attention(query: Any, key: Any, value: Any) -> Any:
    """Scaled dot-product attention of `[heads, tokens, size]`."""
    return special.softmax(query @ key.swapaxes(1, 2) / np.sqrt(query.shape[-1]), axis=-1) @ value


def _convolution(x: Any, weight: Any) -> Any:
    """Convolution 3x3 with a border of zeros, `[1, channels, height, width]`."""
    padded = np.pad(x[0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))  # type: ignore[call-overload]
    return np.einsum("chwij,ocij->ohw", windows, weight, optimize=True)[None]


_OPERATORS: Final[dict[str, _Operator]] = {
    "exp": _elementwise(np.exp, (0.03, 0.3, 1.0)),
    "tanh": _elementwise(np.tanh),
    "sigmoid": _elementwise(special.expit),
    "silu": _elementwise(lambda x: x * special.expit(x)),
    "quick_gelu": _elementwise(lambda x: x * special.expit(1.702 * x)),
    "gelu": _elementwise(lambda x: x * special.ndtr(x)),
    "sin": _elementwise(np.sin, (1.0, 1000.0)),
    "cos": _elementwise(np.cos, (1.0, 1000.0)),
    "softmax": _Operator(
        lambda x: special.softmax(x, axis=-1),
        tuple((scale, ((16, length),)) for scale in _SCALES for length in (77, 1280, 4096)),
    ),
    "linear": _Operator(
        lambda x, weight: x @ weight.T, tuple((1.0, ((16, size), (64, size))) for size in (320, 1280, 2048, 5120))
    ),
    "conv": _Operator(_convolution, tuple((1.0, ((1, size, 8, 8), (16, size, 3, 3))) for size in (320, 1280))),
    "layer_norm": _Operator(
        lambda x: _normal(x, (-1,)), tuple((scale, ((16, size),)) for scale in (0.03, 1.0) for size in (640, 1280))
    ),
    "group_norm": _Operator(_groups, tuple((scale, ((1, 320, 16, 16),)) for scale in (0.03, 1.0))),
    "attention": _Operator(_attention, tuple((1.0, ((1, 64, 64), *[(1, size, 64)] * 2)) for size in (77, 1024))),
}

KINDS: Final = tuple(_OPERATORS)
"""Every kind of operator that is measured."""


@cache
def _cases(kind: str, dtype: str) -> list[tuple[tuple[Any, ...], Any]]:
    """Return the arguments, as float64 arrays of the type's values, and the exact result of each sample."""
    random = np.random.default_rng(KINDS.index(kind))
    found = []
    for scale, shapes in _OPERATORS[kind].samples:
        drawn = [random.standard_normal(shape) * scale for shape in shapes]
        arguments = tuple(widen(narrow(array, dtype), dtype) for array in drawn)
        found.append((arguments, _OPERATORS[kind].exact(*arguments)))
    return found


def measure(computed: Mapping[str, Callable[..., Any]], dtype: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return kind -> dtype -> {rel_l2, rel_max}: the largest error of each operator over its samples.

    `rel_max` is the largest absolute error relative to the rms of the exact result.

    Args:
        computed: How the platform computes a kind: takes float64 arrays, returns one; a kind that the platform does
            not have in this type raises one of TypeError, ValueError, RuntimeError and is left out.
        dtype: The working type.
    """
    return {kind: {dtype: worst} for kind, worst in _measured(computed, dtype)}


def _measured(computed: Mapping[str, Callable[..., Any]], dtype: str) -> Iterator[tuple[str, dict[str, float]]]:
    for kind, operator in computed.items():
        worst = {"rel_l2": 0.0, "rel_max": 0.0}
        try:
            for arguments, want in _cases(kind, dtype):
                error = operator(*arguments) - want
                rms = float(np.sqrt(np.mean(want**2)))
                worst["rel_l2"] = max(worst["rel_l2"], float(np.sqrt(np.mean(error**2))) / rms)
                worst["rel_max"] = max(worst["rel_max"], float(np.abs(error).max()) / rms)
        except (TypeError, ValueError, RuntimeError):
            continue
        yield kind, worst
