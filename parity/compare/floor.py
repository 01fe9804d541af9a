"""The floor of a pair: the error that a correct implementation has anyway.

F is the largest of four: the reference's own error, what the candidate's platform does to the same operator
by itself, half an ulp of the output type at the rms of the expected tensor, and the reference's own
run-to-run difference. Fmax is the same for the largest element, with one ulp of the largest value. The ulp
at the rms is taken as `eps * rms`, so that a tensor scaled by 1.01 across a power of two has the same floor.
No floor is higher than its ceiling, the largest error that rounding explains.

    >>> from parity.distance.sums import Distances, Moments
    >>> f = floor_of(Distances(64, Moments(64.0, 4.0), Moments(), Moments(64e-14, 3e-7)), "float32")
    >>> f.rms, round(f.max / 2**-21, 3)
    (1e-07, 1.0)
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from parity.compare.limits import MAX_FACTOR, MODEL, MODEL_ULPS, POOL_BELOW, RMS_FACTOR
from parity.dtypes import bits, eps, is_float

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from parity.distance.sums import Distances

__all__ = [
    "NO_CEILING",
    "NO_PLATFORM",
    "NO_POOL",
    "SMALLEST",
    "Floor",
    "Platform",
    "coarser",
    "floor_of",
    "model_floor",
    "pooled",
    "ulp",
]

SMALLEST: Final = {"float64": 2.0**-1074, "float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}
"""The smallest number above zero of each floating type."""


class Floor(msgspec.Struct, frozen=True, gc=False):
    """F and Fmax, in the tensor's own unit."""

    rms: float
    max: float

    def covers(self, rms: float, peak: float) -> bool:
        """Tell whether errors are not larger than it; what is not a number is."""
        return rms <= self.rms and peak <= self.max


class Platform(NamedTuple):
    """What the candidate's platform does to one kind of operator: rms and maximum relative to the rms."""

    rel_l2: float = 0.0
    rel_max: float = 0.0


NO_PLATFORM: Final = Platform()
NO_POOL: Final = Floor(0.0, 0.0)
NO_CEILING: Final = Floor(math.inf, math.inf)


def ulp(name: str, at: float) -> float:
    """Return the spacing of the floating type `name` at the magnitude `at`."""
    if not math.isfinite(at):
        return 0.0
    spacing = math.ldexp(1.0, math.frexp(at)[1] - 1 - bits(name)) if at else 0.0
    return max(spacing, SMALLEST[name])


@lru_cache(maxsize=256)
def coarser(first: str, second: str) -> str:
    """Return the type with fewer mantissa bits; one that is no float does not count."""
    return min(filter(is_float, (first, second)), key=bits, default="float32")


def floor_of(
    measure: Distances,
    output_type: str,
    platform: Platform = NO_PLATFORM,
    repeat: float = 0.0,
    pool: Floor = NO_POOL,
    ceiling: Floor = NO_CEILING,
) -> Floor:
    """Return the floor of a pair.

    Args:
        measure: The pass over the pair, the reference's own tensor included.
        output_type: The type in which both sides write the result, the coarser where they differ.
        platform: The platform's term for this kind of operator.
        repeat: The largest difference between two runs of the reference at this address.
        pool: Floors of the module's other steps and calls relative to their rms, for a tensor of few elements.
        ceiling: The largest that it may be (`parity.compare.ceiling`): no term excuses an error that no rounding explains.
    """
    scale = measure.scale
    own_rms, own_max = measure.working_rms, measure.working_max
    if measure.size < POOL_BELOW:
        own_rms, own_max = max(own_rms, pool.rms * scale), max(own_max, pool.max * scale)
    half_ulp = 0.5 * max(eps(output_type) * scale, SMALLEST[output_type])
    one_ulp = ulp(output_type, measure.largest)
    rms = max(own_rms, platform.rel_l2 * scale, half_ulp, repeat)
    peak = max(own_max, platform.rel_max * scale, one_ulp, repeat)
    return Floor(min(rms, ceiling.rms), min(peak, ceiling.max))


def model_floor(output_type: str, scale: float, peak: float = 0.0) -> Floor:
    """Return the modelled floor of one operator, in units of which RMS_FACTOR and MAX_FACTOR are the limits.

    `peak` is what some element, larger than the others, may be off by its own ulp.
    """
    rms_factor, max_factor = MODEL[output_type]
    smallest = MODEL_ULPS * SMALLEST[output_type]
    rms_limit = max(rms_factor * scale, smallest)
    max_limit = max(max_factor * scale, smallest, peak)
    return Floor(rms_limit / RMS_FACTOR, max_limit / MAX_FACTOR)


def pooled(members: Iterable[tuple[str, Distances]]) -> Mapping[str, Floor]:
    """Return for each module output (the key) the largest relative error of the reference over steps and calls."""
    pools: dict[str, Floor] = {}
    for key, measure in members:
        scale = measure.scale
        if scale and measure.size < POOL_BELOW:
            before = pools.get(key, NO_POOL)
            pools[key] = Floor(
                rms=max(before.rms, measure.working_rms / scale),
                max=max(before.max, measure.working_max / scale),
            )
    return pools
