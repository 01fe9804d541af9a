"""Tensors that hypothesis draws."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from parity.distance.tensor import Layout, Tensor
from parity.dtypes import narrow, widen
from tests.parity.compare.traces import end_to_end

FLOATS = ["float64", "float32", "float16", "bfloat16"]


def tensor(data: st.DataObject, name: str, shape: tuple[int, ...], base: np.ndarray) -> Tensor:
    """Values near `base`, now and then one far off, not finite, or all on a half type's grid."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    noise = np.where(rng.random(shape) < data.draw(st.sampled_from([0.1, 0.5, 1.0])), rng.standard_normal(shape), 0.0)
    values = np.atleast_1d(base * (1 + data.draw(st.sampled_from([0.0, 1e-6, 0.1])) * noise))
    for special in data.draw(st.lists(st.sampled_from([0.0, 9.0, math.inf, -math.inf, math.nan]), max_size=1)):
        values.flat[rng.integers(values.size)] = special
    if data.draw(st.booleans()):
        values = widen(narrow(values, "bfloat16"), "bfloat16")
    return Tensor(narrow(values, name).reshape(shape), name)


def pairs(data: st.DataObject) -> tuple[Layout, list[Tensor], list[Tensor]]:
    """Small pairs of two types: how they lie end to end, and both sides."""
    types = data.draw(st.sampled_from(FLOATS)), data.draw(st.sampled_from(FLOATS))
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    for _ in range(data.draw(st.integers(1, 5))):
        shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=0, max_size=4)))
        base = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal(shape)
        for side, name in zip(sides, types, strict=True):
            side.append(tensor(data, name, shape, base))
    return Layout.of([x.array.shape for x in sides[0]]), *sides


def both(sides: tuple[list[Tensor], list[Tensor]]) -> tuple[Tensor, Tensor]:
    """Both sides end to end."""
    first, second = sides
    return end_to_end(first), end_to_end(second)


def cuts(data: st.DataObject, size: int) -> list[slice]:
    """Stretches that follow one another and cover `size` elements."""
    edges = sorted({0, size, *data.draw(st.lists(st.integers(0, size), max_size=4))})
    return [slice(start, end) for start, end in pairwise(edges)]
