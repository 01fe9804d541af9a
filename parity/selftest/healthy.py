"""Healthy pairs, which must match, and odd ones, which must at least be flagged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from parity.dtypes import FLOATS, eps
from parity.selftest.specimen import rounded, specimen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.distance.tensor import Array
    from parity.selftest.specimen import Specimen

__all__ = ["flagged", "healthy"]

IMAGE = (2, 16, 12, 12)


def healthy(seed: int) -> Iterator[Specimen]:
    """Yield pairs that two right implementations make."""
    rng = np.random.default_rng(seed + 1)
    x = rng.standard_normal(IMAGE)
    for name in FLOATS:
        exact = rounded(x, name)
        yield specimen(
            f"an ulp everywhere {name}", "healthy", exact, exact * (1 + eps(name) * rng.choice((-1, 1), IMAGE)), name
        )
    yield specimen("a few ulp everywhere", "healthy", x, x * (1 + 4 * eps("float32") * rng.uniform(-1, 1, IMAGE)))
    for length in (64, 320, 1280, 4096, 16384):
        yield specimen(f"order of {length} summands", "healthy", *_summed(rng, length, 32))
    yield specimen("order of 16384 summands, float16 result", "healthy", *_summed(rng, 16384, 32), "float16")
    yield specimen("order of 1280 summands, bfloat16 result", "healthy", *_summed(rng, 1280, 64), "bfloat16")
    yield specimen("order of 4096 positive summands", "healthy", *_summed(rng, 4096, 32, positive=True))
    zeros = np.zeros(IMAGE)
    yield specimen("zeros", "healthy", zeros, zeros)
    yield specimen("zeros of the other sign", "healthy", zeros, -zeros)
    yield specimen("zeros bfloat16", "healthy", zeros, zeros, "bfloat16")
    yield specimen("a constant an ulp off", "healthy", np.full(64, 0.1), np.full(64, 0.1 * (1 + 1.2e-7)))
    tiny = 1e-41 * x
    yield specimen("denormals", "healthy", tiny, tiny + 1.4e-45 * rng.choice((-1, 1), IMAGE))
    yield specimen("denormals float16", "healthy", 1e-6 * x, 1e-6 * x + 6e-8 * rng.choice((0, 1), IMAGE), "float16")
    for name in ("float16", "bfloat16"):
        noisy = x * (1 + 1e-7 * rng.standard_normal(IMAGE))
        yield specimen(f"rounded twice to {name}", "healthy", rounded(x, name), rounded(noisy, name), name)
        large = 1e4 * x
        yield specimen(f"large numbers {name}", "healthy", large, large * (1 + 0.4 * eps(name)), name)
    yield specimen("a scalar an ulp off", "healthy", np.array(14.6146), np.array(14.6146 * (1 + 1.2e-7)))
    yield specimen(
        "a scalar an ulp off float16", "healthy", np.array(14.6146), np.array(14.6146 * (1 + 2.0**-10)), "float16"
    )
    for scale in (1e30, 1e-30):
        yield specimen(f"scale {scale:g}", "healthy", scale * x, scale * x * (1 + 2e-7 * rng.standard_normal(IMAGE)))
    heavy = x**9
    yield specimen("heavy tails an ulp off", "healthy", heavy, heavy * (1 + 1.2e-7 * rng.choice((-1, 1), IMAGE)))
    outlier = x.copy()
    outlier[0, 0, 0, 0] = 1e5
    yield specimen("an outlier an ulp off", "healthy", outlier, outlier * (1 + 1.2e-7))
    masked = np.where(np.tri(64, dtype=bool), rng.standard_normal((64, 64)), -math.inf)
    yield specimen("infinities in their places", "healthy", masked, masked * (1 + 1.2e-7))
    ids = rng.integers(0, 49408, (2, 77))
    yield specimen("token ids", "healthy", ids, ids.copy())


def _summed(rng: np.random.Generator, length: int, outputs: int, *, positive: bool = False) -> tuple[Array, Array]:
    """Inner products in float32, summed one by one and in pairs."""
    a, b = (rng.standard_normal((outputs, length)).astype(np.float32) for _ in range(2))
    products = np.abs(a * b) if positive else a * b
    forward = products.cumsum(axis=1, dtype=np.float32)[:, -1]
    pairs = products
    while pairs.shape[1] > 1:
        if pairs.shape[1] % 2:
            pairs = np.concatenate([pairs, np.zeros((outputs, 1), np.float32)], axis=1)
        pairs = pairs[:, 0::2] + pairs[:, 1::2]
    return forward.astype(np.float64), pairs[:, 0].astype(np.float64)


def flagged(seed: int) -> Iterator[Specimen]:
    """Yield pairs that must not pass in silence: shape, kind, type, NaN on both sides, absent, empty."""
    rng = np.random.default_rng(seed + 2)
    x = rng.standard_normal((2, 16, 12, 10))
    ids = rng.integers(0, 49408, (2, 77))
    nan = x.copy()
    nan[0, 0, 0, 0] = math.nan
    yield specimen("another shape", "flagged", x, x.reshape(2, 16, 10, 12))
    yield specimen("a dimension more", "flagged", x, x[None])
    yield specimen("broadcastable", "flagged", x[:1], np.concatenate([x[:1]] * 2))
    yield specimen("transposed, not square", "flagged", x, x.swapaxes(2, 3))
    yield specimen("NaN on both sides", "flagged", nan, nan)
    yield specimen("NaN in the reference", "flagged", nan, x)
    yield specimen("all NaN", "flagged", np.full(64, math.nan), np.full(64, math.nan))
    yield specimen("complex for real", "flagged", x, x.astype(np.complex64))
    yield specimen("a wider type", "flagged", x, rounded(x, "float32"), delivered="float64")
    yield specimen(
        "float64 for float16", "flagged", rounded(x, "float16"), rounded(x, "float16"), "float16", delivered="float64"
    )
    yield specimen("ids in another width", "flagged", ids, ids.astype(np.int32))
    yield specimen("ids as floats", "flagged", ids, ids.astype(np.float64))
    yield specimen("empty on both sides", "flagged", np.empty((0, 4)), np.empty((0, 4)))
    yield specimen("an extra tensor", "flagged", None, x)
    yield specimen(
        "a whole network beyond one operator",
        "flagged",
        x,
        x * (1 + 5e-5 * rng.standard_normal(x.shape)),
        composite=True,
    )
