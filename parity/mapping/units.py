"""What a mapping pairs: modules (or single calls of them) with shapes, place in the order, digests and fingerprints.

A module that owns parameters is one unit. One that owns none may be shared, as an activation often is, so within the
loop each of its calls in a step is a unit. A fused projection of a candidate yields further units, one for each part.

A fingerprint is a sample of the first and of the last output at places that depend on the size alone, taken as the
tensor lies and as it lies in the other layouts of `parity.align`. So two recordings of one tensor have nearly the same
fingerprint whatever their rounding, and two different tensors have not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from parity.address import Address
from parity.align import transform
from parity.dtypes import widen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parity.trace import Record, RunReader, Trace, WeightDigests

__all__ = [
    "LAYOUTS",
    "PARTS",
    "SAMPLES",
    "Occurrence",
    "Unit",
    "fingerprint",
    "fingerprints",
    "marks_of",
    "owners",
    "part_of",
    "units_of",
    "with_parts",
]

PARTS: Final = (2, 3)
"""Into how many equal parts a fused parameter is cut."""

LAYOUTS: Final = (None, "nchw-to-tokens", "tokens-to-nchw", "sequence-first")
"""The layouts in which a tensor is fingerprinted; None is as it lies."""

SAMPLES: Final = 128
_IMAGE, _TOKENS = 4, 3


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One call: its step and number, and its output records by port."""

    step: int | None
    call: int
    ports: dict[str, Record]


@dataclass(frozen=True, kw_only=True, eq=False)
class Unit:
    """A module or one of its calls within the step.

    Attributes:
        path: Its path.
        call: Which call within a step; None for all of them.
        order: Its place in the order of completion.
        occurrences: Its calls, in order.
        weights: Its own parameters by name.
        part: (index, count) where it is a part of the outputs of a fused projection.
    """

    path: str
    call: int | None
    order: int
    occurrences: tuple[Occurrence, ...]
    weights: dict[str, WeightDigests]
    part: tuple[int, int] | None = None

    @property
    def port(self) -> str:
        """The first output."""
        return next(iter(self.occurrences[0].ports))

    @property
    def record(self) -> Record:
        """The record of the first output of the first call."""
        return self.occurrences[0].ports[self.port]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first output; of a part, its share of the last axis."""
        shape = self.record.shape
        return shape if self.part is None else (*shape[:-1], shape[-1] // self.part[1])


def owners(trace: Trace) -> dict[str, dict[str, WeightDigests]]:
    """Return path -> parameter name -> digests."""
    found: dict[str, dict[str, WeightDigests]] = {}
    for name, digests in trace.manifest.weights.items():
        path, _, parameter = name.rpartition(":" if ":" in name else ".")
        found.setdefault(path, {})[parameter] = digests
    return found


def units_of(trace: Trace, run: RunReader) -> list[Unit]:
    """Return the units of a run in order of completion."""
    weights = owners(trace)
    calls: dict[tuple[str, int | None, int], dict[str, Record]] = {}
    for record in run.records:
        address = Address.parse(record.address)
        if address.port.startswith("output") and record.kind == "tensor" and record.shape.count(0) == 0:
            calls.setdefault((address.path, address.step, address.call or 0), {})[address.port] = record
    grouped: dict[tuple[str, int | None], tuple[int, list[Occurrence]]] = {}
    for order, ((path, step, call), ports) in enumerate(calls.items()):
        key = (path, None if path in weights or step is None else call)
        grouped.setdefault(key, (order, []))[1].append(Occurrence(step, call, ports))
    single = _called_once(grouped)
    return [
        Unit(
            path=path, call=None if path in single else call, order=order, occurrences=tuple(occurrences),
            weights=weights.get(path, {}),
        )
        for (path, call), (order, occurrences) in grouped.items()
    ]  # fmt: skip


def _called_once(keys: Iterable[tuple[str, int | None]]) -> set[str]:
    """Return the paths that are one unit."""
    counts: dict[str, int] = {}
    for path, _ in keys:
        counts[path] = counts.get(path, 0) + 1
    return {path for path, count in counts.items() if count == 1}


def part_of(array: np.ndarray, part: tuple[int, int] | None) -> np.ndarray:
    """Return a part of the last axis, or everything."""
    return array if part is None else transform("slice:{}/{}".format(*part), array, ())


def fingerprints(run: RunReader, units: Sequence[Unit]) -> np.ndarray:
    """Return `[units, layouts, 2 * SAMPLES]` float64: samples of the first and the last call in each layout.

    A layout that a tensor cannot have is NaN.
    """
    found = [fingerprint(run, unit, unit.port) for unit in units]
    return np.stack(found) if found else np.empty((0, len(LAYOUTS), 2 * SAMPLES))


def fingerprint(run: RunReader, unit: Unit, port: str) -> np.ndarray:
    """Return `[layouts, 2 * SAMPLES]` of one output."""
    found = np.full((len(LAYOUTS), 2 * SAMPLES), np.nan)
    for half, occurrence in enumerate((unit.occurrences[0], unit.occurrences[-1])):
        record = occurrence.ports.get(port)
        if record is None:
            continue
        array = part_of(run.tensor(record.address), unit.part)
        for layout, view in enumerate(_layouts(array)):
            if view is not None:
                found[layout, half * SAMPLES : (half + 1) * SAMPLES] = _sample(view, record.dtype)
    return found


def _layouts(array: np.ndarray) -> tuple[np.ndarray | None, ...]:
    """Return views of `array` in the layouts of `LAYOUTS`."""
    tokens = np.moveaxis(array, 1, -1) if array.ndim == _IMAGE else None
    image = np.moveaxis(array, -1, 1) if array.ndim == _TOKENS else None
    sequence = np.swapaxes(array, 0, 1) if array.ndim == _TOKENS else None
    return array, tokens, image, sequence


def _sample(view: np.ndarray, dtype: str) -> np.ndarray:
    """Return elements of a tensor at fixed places, as float64; what is not finite is 0."""
    places = np.unravel_index(_places(math.prod(view.shape)), view.shape) if view.ndim else ()
    taken = np.atleast_1d(view[places])
    if taken.dtype.kind == "c":
        taken = np.abs(taken)
    return np.nan_to_num(np.resize(widen(taken, dtype), SAMPLES), nan=0.0, posinf=0.0, neginf=0.0)


@lru_cache(maxsize=1024)
def _places(size: int) -> np.ndarray:
    """Return the sampled flat places of a tensor of this size."""
    if size <= SAMPLES:
        return np.arange(size)
    return np.sort(np.random.default_rng(size).choice(size, SAMPLES, replace=False))


def marks_of(unit: Unit, port: str) -> tuple[str, ...]:
    """Return the digests of an output in all calls; empty where one is not known."""
    marks = tuple(each.ports[port].digest if port in each.ports else "" for each in unit.occurrences)
    return marks if all(marks) else ()


def with_parts(reference: Sequence[Unit], candidate: Sequence[Unit]) -> list[Unit]:
    """Return the candidate's units, each fused projection followed by its parts.

    One is fused when each part of a parameter is one of the reference's and the whole is none: by digest, else by size.
    """
    known = {value for unit in reference for each in unit.weights.values() for value in each.digests.values()}
    sizes = {_sizes(unit) for unit in reference}
    found: list[Unit] = []
    for unit in candidate:
        found.append(unit)
        for count in PARTS:
            fits = bool(unit.weights) and bool(unit.record.shape) and not unit.record.shape[-1] % count
            if fits and (
                (_sizes(unit) not in sizes and _sizes(unit, count) in sizes) or _holds_parts(unit, count, known)
            ):
                found += [replace(unit, part=(index, count)) for index in range(count)]
    return found


def _sizes(unit: Unit, count: int = 1) -> tuple[float, ...]:
    """Return the sizes of a unit's parameters over `count`, in ascending order."""
    return tuple(sorted(math.prod(each.shape) / count for each in unit.weights.values()))


def _holds_parts(unit: Unit, count: int, known: set[str]) -> bool:
    """Tell whether every part of some parameter is a parameter of the reference, and the whole is none."""
    for each in unit.weights.values():
        stems = [f"part{index}of{count}/" for index in range(count)]
        parts = [{value for key, value in each.digests.items() if key.startswith(stem)} for stem in stems]
        if all(part & known for part in parts) and each.digests.get("identity/own") not in known:
            return True
    return False
