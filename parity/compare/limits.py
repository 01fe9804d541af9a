"""Every number of the judge, in one place.

A limit of the precision question is a multiple of a measured floor, so these few constants decide what is a
defect. Measured on the healthy tiny SDXL in float32 (MindSpore 2.8 on CPU against torch 2.13, all modules at
all steps; `ratio_to_floor`, whose limit is 3); docs/limits.md says how to repeat it, and why each number:

    replay   pairs   median   99 %   largest
    layers    2674     0.84   1.66      1.97
    steps     2674     1.00   1.41      1.77
    free      2674     1.43   1.91      2.11

The smallest planted fault has 14. The semantics question has a gap on both sides of its limit: the largest
rel_l2 of the same model in float64 is 4e-14, the smallest planted fault that changes a result 8e-7.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "BETWEEN_PARTS",
    "BETWEEN_PEAKS",
    "DEPTH",
    "GRID_MIN_REL",
    "GRID_MIN_SIZE",
    "ISLAND_MAX",
    "ISLAND_RMS",
    "MAX_FACTOR",
    "MODEL",
    "MODEL_ULPS",
    "MOST_ULPS",
    "NEAR",
    "NEARER",
    "POOL_BELOW",
    "REACH_ULPS",
    "REFERENCE_FACTOR",
    "RMS_FACTOR",
    "SEMANTICS_MAX",
    "SEMANTICS_RMS",
    "VALUE_ULPS",
]

RMS_FACTOR: Final = 3.0
"""E(cand) may be this many times F."""

MAX_FACTOR: Final = 8.0
"""M(cand) may be this many times Fmax: the largest of a million normal deviates is five sigma, and tails are fatter."""

SEMANTICS_RMS: Final = 1e-9
"""Largest rel_l2 between float64 runs; a healthy port is at 1e-14."""

SEMANTICS_MAX: Final = 1e-9
"""Largest single difference between float64 runs, relative to the rms of the reference."""

ISLAND_RMS: Final = 2e-5
"""The same two at an operator that computes in float32 inside the float64 run: float32's rounding."""

ISLAND_MAX: Final = 4e-5

POOL_BELOW: Final = 16
"""A tensor with fewer elements has no rms worth the name; its floor is pooled over steps and calls."""

NEAR: Final = 0.5
"""Ulp, place and channels are worked out for a pair that fails or comes within this share of its limit."""

MOST_ULPS: Final = 1 << 16
"""Elements up to which the largest distance in ulp is worked out unasked: counting them costs twice the rest."""

GRID_MIN_REL: Final = 2.0**-17
"""A float32 tensor on the grid of a half type is suspect only if some element is off by more than this
share of the rms: rounding to float16 moves elements by up to 2**-11, float32's own rounding by 2**-24."""

GRID_MIN_SIZE: Final = 16
"""float16 values lie on bfloat16's grid by chance one in eight; that many of them never do."""

BETWEEN_PEAKS: Final = MAX_FACTOR / RMS_FACTOR
"""Converts a ratio of maxima into the unit of a ratio of rms, so that both reach 3 at their limits."""

MODEL: Final[dict[str, tuple[float, float]]] = {
    "float64": (2e-5 * 2.0**-29, 4e-5 * 2.0**-29),
    "float32": (2e-5, 4e-5),
    "float16": (2.5 * 2.0**-10, 4.0 * 2.0**-10),
    "bfloat16": (2.5 * 2.0**-7, 4.0 * 2.0**-7),
}
"""Basis 5, without a float64 run: limits of rel_l2 and of max relative to the rms, for one operator.

float32 and float64 accumulate in their own type: sums of up to 16384 products stay within 168 ulp of the
rms. The half types are accumulated in float32 and rounded once, so their limit is 2.5 and 4 ulp; 168 ulp of
float16 would be 16 %.
"""

MODEL_ULPS: Final = 4.0
"""Basis 5: an element much larger than the rms may be off by this many ulp of its own."""

DEPTH: Final = 100.0
"""How far beyond the modelled limit depth alone may take a composite or a free run; such a pair is undecided.
Beyond that it is a MISMATCH whatever its depth: a whole float32 run stays within 1e-3."""

REFERENCE_FACTOR: Final = 2.0
"""The ceiling of a floor: the reference's own error may be this many times what is modelled for one operator; by the
root of their number more for several, by DEPTH more in a run. Healthy references reach half of it."""

BETWEEN_PARTS: Final = {"float32": (1.0, 4.0), "float16": (8.0, 8.0), "bfloat16": (8.0, 8.0)}
"""How many times that the reference's own error of a module of several operators may be, in rms and in one element. With
scores of a standard deviation of 16 healthy transformer blocks came to 1.7 times in one element in float32, and to 4 times
in both in float16, whose model has less room."""

REACH_ULPS: Final = 4.0
"""One operator of the reference may also err by this many ulp of what it was given: a difference of large numbers, or the
sine of one, is no more accurate."""

NEARER: Final = 4.0
"""Of two runs of the reference the float64 one is off where the candidate is this many times nearer to the other one."""

VALUE_ULPS: Final = 8
"""Plain numbers (a guidance scale, a sigma) may differ by this many ulp of the run's type."""
