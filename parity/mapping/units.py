"""What a mapping pairs: modules (or single calls of them) with shapes, place in the order, digests and fingerprints.

A module that owns parameters is one unit. One that owns none may be shared, as an activation often is, so within the
loop each of its calls in a step is a unit. A fused projection of a candidate yields further units, one for each part.

A fingerprint is a sample of the first and of the last output at places that depend on the size alone, taken as the
tensor lies and as it lies in the other layouts of `parity.align`. So two recordings of one tensor have nearly the same
fingerprint whatever their rounding, and two different tensors have not.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from parity.address import Address, place_of, port_of
from parity.align import transform
from parity.digests import UNCHANGED
from parity.dtypes import widen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from parity.trace import Record, RunReader, Trace, WeightDigests

__all__ = [
    "LAYOUTS",
    "PARTS",
    "SAMPLES",
    "WHOLE",
    "Occurrence",
    "Part",
    "Unit",
    "fingerprint",
    "fingerprints",
    "layout_of",
    "marks_of",
    "no_run",
    "owners",
    "part",
    "parts_of",
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
class Part:
    """One of `count` equal parts: of an output along its last axis, of a parameter along its first.

    Attributes:
        count: How many there are; 1 of what is not cut.
        layout: What the digests of such a part of a parameter are kept under.
        transform: The layout transform that takes such a part of an output.
    """

    count: int
    layout: str
    transform: str | None


WHOLE: Final = Part(1, "identity", None)
"""The only part of what is not cut."""


def part(index: int, count: int) -> Part:
    """Return one of the equal parts of a fused projection."""
    return Part(count, f"part{index}of{count}", f"slice:{index}/{count}")


def parts_of(count: int) -> list[Part]:
    """Return all of them, in order."""
    return [part(index, count) for index in range(count)]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One call: its path, step and number, and its output records by port."""

    path: str
    step: int | None
    call: int
    ports: dict[str, Record] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Unit:
    """A module or one of its calls within the step.

    Attributes:
        path: Its path.
        call: Which call within a step; None for all of them.
        occurrences: Its calls, in order.
        weights: Its own parameters by name.
        part: Which part of the outputs of a fused projection it is.
    """

    path: str
    call: int | None
    occurrences: tuple[Occurrence, ...]
    weights: dict[str, WeightDigests]
    part: Part = WHOLE

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
        return shape if self.part is WHOLE else (*shape[:-1], shape[-1] // self.part.count)


def no_run(trace: Trace, kind: str) -> str:
    """Return the message that a trace has no run of a kind."""
    return f"{trace.folder} has no {kind}; its runs are {', '.join(trace.runs) or 'none'}"


def owners(trace: Trace) -> dict[str, dict[str, WeightDigests]]:
    """Return path -> parameter name -> digests."""
    found: dict[str, dict[str, WeightDigests]] = {}
    for name, digests in trace.manifest.weights.items():
        path, parameter = place_of(name), port_of(name)
        if not parameter:
            path, _, parameter = name.rpartition(".")
        found.setdefault(path, {})[parameter] = digests
    return found


def units_of(trace: Trace, run: RunReader) -> list[Unit]:
    """Return the units of a run in order of completion."""
    weights = owners(trace)
    grouped: dict[tuple[str, int | None], list[Occurrence]] = {}
    for each in _occurrences(run):
        whole = each.path in weights or each.step is None
        grouped.setdefault((each.path, None if whole else each.call), []).append(each)
    often = Counter(path for path, _ in grouped)
    units = []
    for (path, number), occurrences in grouped.items():
        call = number if often[path] > 1 else None
        unit = Unit(path=path, call=call, occurrences=tuple(occurrences), weights=weights.get(path, {}))
        units.append(unit)
    return units


def _occurrences(run: RunReader) -> Iterable[Occurrence]:
    """Return the calls of a run by which something came out, in order of completion."""
    found: dict[tuple[str, int | None, int], Occurrence] = {}
    for record in run.records:
        address = Address.parse(record.address)
        if address.port.startswith("output") and record.kind == "tensor" and 0 not in record.shape:
            place = address.path, address.step, address.call or 0
            found.setdefault(place, Occurrence(*place)).ports[address.port] = record
    return found.values()


def fingerprints(run: RunReader, units: Sequence[Unit]) -> np.ndarray:
    """Return `[units, layouts, 2 * SAMPLES]` float64: samples of the first and the last call in each layout.

    A layout that a tensor cannot have is NaN.
    """
    if not units:
        return np.empty((0, len(LAYOUTS), 2 * SAMPLES))
    return np.stack([fingerprint(run, unit, unit.port) for unit in units])


def fingerprint(run: RunReader, unit: Unit, port: str) -> np.ndarray:
    """Return `[layouts, 2 * SAMPLES]` of one output."""
    found = np.full((len(LAYOUTS), 2, SAMPLES), np.nan)
    for half, occurrence in enumerate((unit.occurrences[0], unit.occurrences[-1])):
        record = occurrence.ports.get(port)
        if record is None:
            continue
        array = transform(unit.part.transform, run.tensor(record.address), ())
        for layout, view in _layouts(array).items():
            found[layout, half] = _sample(view, record.dtype)
    return found.reshape(len(LAYOUTS), 2 * SAMPLES)


def _layouts(array: np.ndarray) -> dict[int, np.ndarray]:
    """Return views of `array` in those of `LAYOUTS` that it can have, by their index."""
    if array.ndim == _IMAGE:
        return {0: array, 1: np.moveaxis(array, 1, -1)}
    if array.ndim == _TOKENS:
        return {0: array, 2: np.moveaxis(array, -1, 1), 3: np.swapaxes(array, 0, 1)}
    return {0: array}


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
    records = [each.ports.get(port) for each in unit.occurrences]
    marks = tuple(record.digest for record in records if record is not None and record.digest)
    return marks if len(marks) == len(records) else ()


def layout_of(key: str) -> str:
    """Return the layout of a key of digests, `LAYOUT/ROUNDING`."""
    return key.partition("/")[0]


def with_parts(reference: Sequence[Unit], candidate: Sequence[Unit]) -> list[Unit]:
    """Return the candidate's units, each fused projection followed by its parts.

    One is fused when each part of a parameter is one of the reference's and the whole is none: by digest, else by size.
    """
    known: set[str] = set()
    for unit in reference:
        for each in unit.weights.values():
            known.update(each.digests.values())
    sizes = {_sizes(unit) for unit in reference}
    found: list[Unit] = []
    for unit in candidate:
        found.append(unit)
        for count in PARTS:
            if _is_fused(unit, count, sizes, known):
                found += [replace(unit, part=each) for each in parts_of(count)]
    return found


def _is_fused(unit: Unit, count: int, sizes: set[tuple[float, ...]], known: set[str]) -> bool:
    """Tell whether a candidate's unit is `count` units of the reference in one; these have `sizes` and are `known`."""
    shape = unit.record.shape
    if not unit.weights or not shape or shape[-1] % count:
        return False
    if _sizes(unit) not in sizes and _sizes(unit, count) in sizes:
        return True
    return any(_holds_parts(each.digests, count, known) for each in unit.weights.values())


def _sizes(unit: Unit, count: int = 1) -> tuple[float, ...]:
    """Return the sizes of a unit's parameters over `count`, in ascending order."""
    return tuple(sorted(math.prod(each.shape) / count for each in unit.weights.values()))


def _holds_parts(digests: Mapping[str, str], count: int, known: set[str]) -> bool:
    """Tell whether every part of a parameter is a parameter of the reference, and the whole is none."""
    if digests.get(UNCHANGED) in known:
        return False
    for each in parts_of(count):
        held = {value for key, value in digests.items() if layout_of(key) == each.layout}
        if held.isdisjoint(known):
            return False
    return True
