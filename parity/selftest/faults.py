"""Real faults: what a port does wrong, as pairs. Everything here must fail.

The smallest are off by 1e-4 of the tensor's rms and never by less than 8 ulp of its type. Kinds are those that
ports were seen to have: layouts, halves, constants, variants of an operator, precision, order, indices.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parity.selftest.specimen import gelu, rounded, specimen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.distance.tensor import Array
    from parity.selftest.specimen import Specimen

__all__ = ["faults"]

IMAGE: Final = (2, 16, 12, 12)
TOKENS: Final = (2, 77, 64)
_CHANNEL: Final = 5
_ODD_STEP: Final = 12
_DROPPED: Final = 0.01


def faults(seed: int) -> Iterator[Specimen]:
    """Yield the faults made from a seed."""
    rng = np.random.default_rng(seed)
    for make in (
        _sizes,
        _places,
        _layouts,
        _operators,
        _precision,
        _exact,
        _not_finite,
        _sampling,
        _small_numbers,
        _absent,
    ):
        yield from make(rng)


def _sizes(rng: np.random.Generator) -> Iterator[Specimen]:
    """Factors, biases and noise, down to the smallest that has to be seen, in every type."""
    x = rng.standard_normal(IMAGE)
    for relative in (1e-2, 1e-3, 1e-4):
        yield specimen(f"factor {relative:g}", "fault", x, x * (1 + relative))
        yield specimen(f"bias {relative:g}", "fault", x, x + relative)
        yield specimen(f"noise {relative:g}", "fault", x, x + relative * rng.standard_normal(IMAGE))
    for name, ulp in (("float16", 2.0**-10), ("bfloat16", 2.0**-7)):
        exact = rounded(x, name)
        yield specimen(f"factor of 8 ulp {name}", "fault", exact, exact * (1 + 8 * ulp), name)
        yield specimen(f"bias of 8 ulp {name}", "fault", exact, exact + 8 * ulp, name)
        yield specimen(f"noise of 8 ulp {name}", "fault", exact, exact + 8 * ulp * rng.standard_normal(IMAGE), name)
    yield specimen("factor 1e-4 float64", "fault", x, x * (1 + 1e-4), "float64")


def _places(rng: np.random.Generator) -> Iterator[Specimen]:
    """Errors in one place of a tensor that is right elsewhere."""
    big = rng.standard_normal((100, 100, 100))
    for name, size in (("float32", 1e-4), ("float16", 2.0**-7), ("bfloat16", 2.0**-4)):
        exact = rounded(big, name)
        wrong = exact.copy()
        wrong[37, 50, 9] = 0.25 + size
        exact[37, 50, 9] = 0.25
        yield specimen(f"one in a million {name}", "fault", exact, wrong, name)
    x = rng.standard_normal(IMAGE)
    x[0, 3, 5, 5] = 0.25
    yield specimen("one element 1e-4", "fault", x, _changed(x, (0, 3, 5, 5), 0.2501))
    for what, where in (
        ("an element", (0, 3, 5, 5)), ("the last row", (..., -1, slice(None))), ("the last column", (..., -1)),
        ("the last channel", (slice(None), -1)), ("the second image", (1,)), ("a corner", (..., slice(2), slice(2))),
    ):  # fmt: skip
        yield specimen(f"{what} zeroed", "fault", x, _changed(x, where, 0.0))
    yield specimen("the last row zeroed bfloat16", "fault", x, _changed(x, (..., -1, slice(None)), 0.0), "bfloat16")
    tokens = rng.standard_normal(TOKENS)
    yield specimen("the padding tokens zeroed", "fault", tokens, _changed(tokens, (slice(None), slice(60, None)), 0.0))
    yield specimen(
        "one channel scaled by 1.01", "fault", x, _changed(x, (slice(None), _CHANNEL), x[:, _CHANNEL] * 1.01)
    )
    quiet = x * np.where(np.arange(16) == _CHANNEL, 1e-3, 1.0)[None, :, None, None]
    yield specimen(
        "a quiet channel doubled", "fault", quiet, _changed(quiet, (slice(None), _CHANNEL), quiet[:, _CHANNEL] * 2)
    )


def _changed(x: Array, where: Any, value: Array | float) -> Array:
    """Return a copy with something else in a place."""
    copy = x.copy()
    copy[where] = value
    return copy


def _layouts(rng: np.random.Generator) -> Iterator[Specimen]:
    """The right numbers in the wrong order."""
    x, tokens = rng.standard_normal(IMAGE), rng.standard_normal(TOKENS)
    square = rng.standard_normal((64, 64))
    swapped = x.copy()
    swapped[:, [2, 3]] = x[:, [3, 2]]
    yield specimen("two channels swapped", "fault", x, swapped)
    yield specimen("channels reversed", "fault", x, x[:, ::-1])
    yield specimen("channels interleaved", "fault", x, x.reshape(2, 2, 8, 12, 12).swapaxes(1, 2).reshape(IMAGE))
    yield specimen("batch swapped", "fault", x, x[::-1])
    yield specimen("second image equals the first", "fault", x, np.stack([x[0], x[0]]))
    yield specimen("height and width exchanged", "fault", x, x.swapaxes(2, 3))
    yield specimen("matrix transposed", "fault", square, square.T)
    yield specimen("weights transposed in a projection", "fault", tokens @ square / 8, tokens @ square.T / 8)
    yield specimen("rolled by one column", "fault", x, np.roll(x, 1, axis=3))
    yield specimen("rolled by one token float16", "fault", tokens, np.roll(tokens, 1, axis=1), "float16")
    yield specimen("flipped left to right", "fault", x, x[..., ::-1])
    yield specimen(
        "heads merged in the wrong order", "fault", tokens, tokens.reshape(2, 77, 4, 16).swapaxes(2, 3).reshape(TOKENS)
    )
    yield specimen("sine and cosine exchanged", "fault", *_sinusoids())


def _sinusoids() -> tuple[Array, Array]:
    """Timestep embeddings with the halves in both orders."""
    angles = np.array([[976.0], [651.0]]) * np.exp(-math.log(10000) * np.arange(32) / 32)
    return np.concatenate([np.cos(angles), np.sin(angles)], 1), np.concatenate([np.sin(angles), np.cos(angles)], 1)


def _operators(rng: np.random.Generator) -> Iterator[Specimen]:
    """Another variant of the operator."""
    x, scores = rng.standard_normal(TOKENS), rng.standard_normal((2, 77, 77))
    tanh = x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    yield specimen("gelu by tanh", "fault", gelu(x), tanh)
    yield specimen("quick gelu for gelu", "fault", gelu(x), x / (1 + np.exp(-1.702 * x)))
    small = 0.03 * x
    yield specimen("layer norm eps 1e-6 for 1e-5", "fault", _normed(small, 1e-5), _normed(small, 1e-6))
    yield specimen("layer norm over unbiased variance", "fault", _normed(x, 1e-5), _normed(x, 1e-5, ddof=1))
    yield specimen("softmax at 1.001 of its scale", "fault", _softmax(scores), _softmax(1.001 * scores))
    mask = np.where(np.tri(77, dtype=bool), 0.0, -1e5)
    yield specimen("causal mask left out", "fault", _softmax(scores + mask), _softmax(scores))
    yield specimen(
        "softmax over the other axis", "fault", _softmax(scores), _softmax(scores.swapaxes(1, 2)).swapaxes(1, 2)
    )
    yield specimen("softmax not normalised by its last column", "fault", _softmax(scores), _shifted_softmax(scores))
    image = rng.standard_normal(IMAGE)
    zero, ones = (np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=value) for value in (0.0, 1.0))
    yield specimen("padded with ones", "fault", _box(zero), _box(ones))
    yield specimen(
        "padded by repetition", "fault", _box(zero), _box(np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge"))
    )
    nearest = image.repeat(2, 2).repeat(2, 3)
    yield specimen("upsampled by interpolation", "fault", nearest, (nearest + np.roll(nearest, 1, 3)) / 2)
    yield specimen("group norm with half the groups", "fault", _grouped(image, 8), _grouped(image, 4))
    yield specimen("dropout left on", "fault", x, np.where(rng.random(TOKENS) < _DROPPED, 0.0, x / (1 - _DROPPED)))


def _normed(x: Array, eps: float, ddof: int = 0) -> Array:
    """Layer norm over the last axis."""
    deviation: Array = x - x.mean(-1, keepdims=True)
    normed: Array = deviation / np.sqrt(x.var(-1, keepdims=True, ddof=ddof) + eps)
    return normed


def _grouped(x: Array, groups: int) -> Array:
    """Group norm of an image, scaled and shifted unlike per group."""
    parts = x.reshape(x.shape[0], groups, -1) * np.linspace(0.5, 2, groups)[None, :, None]
    return _normed(parts + np.linspace(-1, 1, parts.shape[2]), 1e-5).reshape(x.shape)


def _softmax(x: Array) -> Array:
    """Softmax over the last axis."""
    powers: Array = np.exp(x - x.max(-1, keepdims=True))
    total: Array = powers.sum(-1, keepdims=True)
    return powers / total


def _shifted_softmax(x: Array) -> Array:
    """Softmax whose sum leaves out the last column."""
    powers: Array = np.exp(x - x.max(-1, keepdims=True))
    total: Array = powers[..., :-1].sum(-1, keepdims=True)
    return powers / total


def _box(x: Array) -> Array:
    """The mean over 3 x 3 neighbours of a padded image."""
    high, wide = x.shape[2] - 2, x.shape[3] - 2
    shifted: list[Array] = [x[:, :, i : i + high, j : j + wide] for i in range(3) for j in range(3)]
    mean: Array = np.mean(shifted, axis=0)
    return mean


def _precision(rng: np.random.Generator) -> Iterator[Specimen]:
    """A narrower type than asked, somewhere inside."""
    x = rng.standard_normal(IMAGE)
    yield specimen("float16 inside float32", "fault", x, rounded(x, "float16"))
    yield specimen("bfloat16 inside float32", "fault", x, rounded(x, "bfloat16"))
    yield specimen("float16 inside float32, small numbers", "fault", 1e-3 * x, rounded(1e-3 * x, "float16"))
    yield specimen("bfloat16 inside float16", "fault", x, rounded(x, "bfloat16"), "float16")
    yield specimen("float32 inside float64", "fault", x, rounded(x, "float32"), "float64")
    half = rounded(x, "float16")
    half[:, 4:] = x[:, 4:]
    yield specimen("float16 in some channels", "fault", x, half)
    yield specimen("float16 delivered for float32", "fault", x, x, delivered="float16")
    weight = rng.standard_normal((64, 64)) / 8
    tokens = rng.standard_normal(TOKENS)
    yield specimen("float16 weights", "fault", tokens @ weight, tokens @ rounded(weight, "float16"))
    yield specimen("rounded to three decimals", "fault", x, np.round(x, 3))


def _exact(rng: np.random.Generator) -> Iterator[Specimen]:
    """Integers, masks, indices."""
    ids = rng.integers(0, 49408, (2, 77))
    yield specimen("one token id", "fault", ids, _changed(ids, (1, 40), ids[1, 40] + 1))
    yield specimen("ids through float16", "fault", ids, ids.astype(np.float16).astype(np.int64) % 49408)
    mask = rng.integers(0, 2, (2, 77)).astype(bool)
    yield specimen("one bit of a mask", "fault", mask, _changed(mask, (0, 3), not mask[0, 3]))
    pixels = rng.integers(0, 256, (1, 3, 16, 16)).astype(np.uint8)
    yield specimen("one pixel by one level", "fault", pixels, _changed(pixels, (0, 1, 2, 3), pixels[0, 1, 2, 3] ^ 1))
    yield specimen("a timestep by one", "fault", np.array([976, 651, 326]), np.array([976, 651, 325]))
    yield specimen("a timestep of another type by one", "fault", np.array([976, 651]), np.array([976.0, 652.0]))
    large = np.array([2**53, 5])
    yield specimen("a seed beyond 2**53", "fault", large, large + np.array([1, 0]))
    small = rng.integers(-128, 128, 64).astype(np.int8)
    yield specimen("an int8 of the other sign", "fault", small, _changed(small, 5, ~small[5]))


def _not_finite(rng: np.random.Generator) -> Iterator[Specimen]:
    """NaN and infinities on one side, or of the other sign."""
    x = rng.standard_normal(TOKENS)
    yield specimen("one NaN", "fault", x, _changed(x, (0, 0, 0), math.nan))
    yield specimen("one NaN float16", "fault", x, _changed(x, (1, 76, 63), math.nan), "float16")
    yield specimen("overflow float16", "fault", 60000 * np.tanh(x), 70000 * np.tanh(3 * x), "float16")
    masked = np.where(np.tri(64, dtype=bool), rng.standard_normal((64, 64)), -math.inf)
    yield specimen(
        "infinity of the other sign", "fault", masked, np.abs(masked) * np.where(np.isinf(masked), 1, np.sign(masked))
    )
    yield specimen("a large number for an infinity", "fault", masked, np.maximum(masked, -1e5))
    yield specimen("one infinity more", "fault", masked, _changed(masked, (40, 3), -math.inf))


def _sampling(rng: np.random.Generator) -> Iterator[Specimen]:
    """Guidance, noise and sampler."""
    noise = rng.standard_normal((3, 4, 12, 10))
    uncond, cond = rng.standard_normal((2, 4, 12, 10))
    yield specimen("noise one step late", "fault", noise[1], noise[0])
    yield specimen("latents not scaled", "fault", 12.7786 * noise[0], noise[0])
    yield specimen("sigma of another schedule", "fault", 12.7786 * noise[0], 14.6488 * noise[0])
    yield specimen("guidance 5.01 for 5", "fault", uncond + 5 * (cond - uncond), uncond + 5.01 * (cond - uncond))
    yield specimen("halves of guidance swapped", "fault", uncond + 5 * (cond - uncond), cond + 5 * (uncond - cond))
    yield specimen("clamped at two sigma", "fault", noise, np.clip(noise, -2, 2))
    yield specimen("sign of the prediction", "fault", noise, -noise)
    yield specimen("a scalar by 1e-4", "fault", np.array(14.6146), np.array(14.6146 * (1 + 1e-4)))
    yield specimen("a scalar of another type", "fault", np.array(5.0), np.array(6), delivered="int64")
    yield specimen("one sigma of a schedule", "fault", *_schedules())


def _schedules() -> tuple[Array, Array]:
    """Sigmas with one of them off by a thousandth."""
    sigmas = np.append(np.geomspace(14.6, 0.03, 30), 0.0)
    return sigmas, sigmas * np.where(np.arange(31) == _ODD_STEP, 1.001, 1.0)


def _small_numbers(rng: np.random.Generator) -> Iterator[Specimen]:
    """Tensors far below the tolerances that people write down."""
    x = rng.standard_normal(IMAGE)
    yield specimen("tensor of 1e-6 doubled", "fault", 1e-6 * x, 2e-6 * x)
    yield specimen("tensor of 1e-6 zeroed", "fault", 1e-6 * x, 0 * x)
    yield specimen("tensor of 1e-6 negated", "fault", 1e-6 * x, -1e-6 * x)
    yield specimen("tensor of 1e-30 by a hundredth", "fault", 1e-30 * x, 1.01e-30 * x)
    yield specimen("gradient of 1e-5, one row zeroed", "fault", 1e-5 * x, 1e-5 * _changed(x, (0, 0, 0), 0.0))
    yield specimen("something where zeros belong", "fault", 0 * x, 1e-7 * x)
    yield specimen("tensor of 1e30 by 1e-3", "fault", 1e30 * x, 1.001e30 * x)
    yield specimen("a small difference of large numbers", "fault", 1000 + 1e-2 * x, 1000 + 1e-2 * np.roll(x, 1) + 0.1)
    wave = x[0, :, :, 0] + 1j * x[0, :, :, 1]
    yield specimen("complex conjugate", "fault", wave.astype(np.complex64), wave.conj().astype(np.complex64))
    yield specimen(
        "complex phase by 1e-3", "fault", wave.astype(np.complex64), (wave * np.exp(1e-3j)).astype(np.complex64)
    )


def _absent(rng: np.random.Generator) -> Iterator[Specimen]:
    """A tensor that the candidate never made."""
    yield specimen("missing tensor", "fault", rng.standard_normal(TOKENS), None)
