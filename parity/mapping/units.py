"""What a mapping pairs: modules (or single calls of them) with shapes, place in the order, digests and fingerprints.

A module that owns parameters is one unit. One that owns none may be shared, as an activation often is, so within the
loop each of its calls in a step is a unit. A fused projection of a candidate yields further units, one for each part.

A fingerprint is a sample of the first and of the last output at places that depend on the size alone, taken as the
tensor lies and as it lies in the other layouts of `parity.align`. So two recordings of one tensor have nearly the same
fingerprint whatever their rounding, and two different tensors have not.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from parity.address import Address, is_output, place_of, port_of
from parity.align import transform
from parity.digests import UNCHANGED
from parity.dtypes import widen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from parity.trace import Record, RunReader, Trace, WeightDigests

__all__ = [
    "LAYOUTS",
    "PARTS",
    "SAMPLES",
    "WHOLE",
    "Occurrence",
    "Output",
    "Part",
    "Unit",
    "are_integers",
    "digests_in",
    "fingerprint",
    "fingerprints",
    "layout_of",
    "no_run",
    "outputs_of",
    "owners",
    "part",
    "units_of",
    "with_parts",
]

LAYOUTS: Final = (None, "nchw-to-tokens", "tokens-to-nchw", "sequence-first")
"""The layouts in which a tensor is fingerprinted; None is as it lies."""

SAMPLES: Final = 128

_AXES: Final[dict[int, dict[int, tuple[int, ...]]]] = {
    4: {LAYOUTS.index("nchw-to-tokens"): (0, 2, 3, 1)},
    3: {LAYOUTS.index("tokens-to-nchw"): (0, 2, 1), LAYOUTS.index("sequence-first"): (1, 0, 2)},
}
"""Number of axes -> each further layout that such a tensor can have -> the order of its axes there."""


@dataclass(frozen=True, slots=True, kw_only=True)
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


WHOLE: Final = Part(count=1, layout="identity", transform=None)
"""The only part of what is not cut."""


def part(index: int, count: int) -> Part:
    """Return one of the equal parts of a fused projection."""
    return Part(
        count=count,
        layout=f"part{index}of{count}",
        transform=f"slice:{index}/{count}",
    )


PARTS: Final = ((part(0, 2), part(1, 2)), (part(0, 3), part(1, 3), part(2, 3)))
"""The parts of a fused projection of two and of three, in order: these are looked for."""


class Output(NamedTuple):
    """One output of one call, the parts of its address as both sides tell them: a call that has no number is call 0."""

    path: str
    step: int | None
    call: int
    port: str
    record: Record


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One call: its path, step and number, and its output records by port."""

    path: str
    step: int | None
    call: int
    ports: dict[str, Record] = field(default_factory=dict)

    def mark(self, port: str) -> str:
        """Return the digest of an output; empty where it is not known."""
        record = self.ports.get(port)
        if record is None:
            return ""
        return record.digest


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
    def ports(self) -> dict[str, Record]:
        """The outputs of the first call by port, which stand for those of all."""
        return self.occurrences[0].ports

    @property
    def port(self) -> str:
        """The first output."""
        return next(iter(self.ports))

    @property
    def record(self) -> Record:
        """The record of the first output of the first call."""
        return self.ports[self.port]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first output; of a part, its share of the last axis."""
        shape = self.record.shape
        if self.part is WHOLE:
            return shape
        *most, last = shape
        return (*most, last // self.part.count)

    @property
    def digests(self) -> set[str]:
        """Every digest of its parameters, in all layouts and roundings."""
        return set().union(*(each.digests.values() for each in self.weights.values()))

    def parameter_sizes(self, count: int = 1) -> tuple[float, ...]:
        """Return the sizes of its parameters over `count`, in ascending order."""
        return tuple(sorted(math.prod(each.shape) / count for each in self.weights.values()))

    def marks(self, port: str) -> tuple[str, ...]:
        """Return the digests of an output in all calls; empty where one is not known."""
        marks = tuple(each.mark(port) for each in self.occurrences)
        if not all(marks):
            return ()
        return marks


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


def outputs_of(run: RunReader) -> Iterator[Output]:
    """Yield the outputs of a run in order of completion."""
    for record in run.records:
        if is_output(record.address):
            address = Address.parse(record.address)
            yield Output(
                path=address.path,
                step=address.step,
                call=address.call or 0,
                port=address.port,
                record=record,
            )


def units_of(trace: Trace, run: RunReader) -> list[Unit]:
    """Return the units of a run in order of completion."""
    weights = owners(trace)
    grouped: defaultdict[tuple[str, int | None], list[Occurrence]] = defaultdict(list)
    for each in _occurrences(run):
        number: int | None = each.call
        if each.path in weights or each.step is None:
            number = None  # all its calls are one unit
        grouped[each.path, number].append(each)
    often = Counter(path for path, _ in grouped)
    units = []
    for (path, number), occurrences in grouped.items():
        # What is only ever called once in a step needs no number, and may be given to all calls of its counterpart.
        call = number if often[path] > 1 else None
        unit = Unit(
            path=path,
            call=call,
            occurrences=tuple(occurrences),
            weights=weights.get(path, {}),
        )
        units.append(unit)
    return units


def _occurrences(run: RunReader) -> Iterable[Occurrence]:
    """Return the calls of a run by which something came out, in order of completion."""
    found: dict[tuple[str, int | None, int], Occurrence] = {}
    for output in outputs_of(run):
        if output.record.kind != "tensor" or 0 in output.record.shape:
            continue
        call = output.path, output.step, output.call
        occurrence = found.setdefault(call, Occurrence(*call))
        occurrence.ports[output.port] = output.record
    return found.values()


def fingerprints(run: RunReader, units: Sequence[Unit]) -> np.ndarray:
    """Return `[units, layouts, 2 * SAMPLES]` float64: samples of the first and the last call in each layout.

    A layout that a tensor cannot have is NaN.
    """
    found = [fingerprint(run, unit, unit.port) for unit in units]
    return np.reshape(found, (len(units), len(LAYOUTS), 2 * SAMPLES))


def fingerprint(run: RunReader, unit: Unit, port: str) -> np.ndarray:
    """Return `[layouts, 2 * SAMPLES]` of one output."""
    found = np.full((len(LAYOUTS), 2, SAMPLES), np.nan)
    for half, occurrence in enumerate((unit.occurrences[0], unit.occurrences[-1])):
        record = occurrence.ports.get(port)
        if record is None:
            continue
        array = transform(unit.part.transform, run.tensor(record.address), ())
        found[0, half] = _sample(array, record.dtype)
        for layout, axes in _AXES.get(array.ndim, {}).items():
            found[layout, half] = _sample(array.transpose(axes), record.dtype)
    return found.reshape(len(LAYOUTS), 2 * SAMPLES)


def _sample(view: np.ndarray, dtype: str) -> np.ndarray:
    """Return elements of a tensor at fixed places, as float64; what is not finite is 0."""
    view = np.atleast_1d(view)
    taken = view[np.unravel_index(_places(view.size), view.shape)]
    if taken.dtype.kind == "c":
        taken = np.abs(taken)
    repeated = np.resize(widen(taken, dtype), SAMPLES)
    return np.nan_to_num(repeated, nan=0.0, posinf=0.0, neginf=0.0)


@lru_cache(maxsize=1024)
def _places(size: int) -> np.ndarray:
    """Return the sampled flat places of a tensor of this size."""
    if size <= SAMPLES:
        return np.arange(size)
    return np.sort(np.random.default_rng(size).choice(size, SAMPLES, replace=False))


def layout_of(key: str) -> str:
    """Return the layout of a key of digests, `LAYOUT/ROUNDING`."""
    return key.partition("/")[0]


def digests_in(layout: str, parameter: WeightDigests) -> list[str]:
    """Return the digests of a parameter in one layout, or of one part of it, in every rounding."""
    return [value for key, value in parameter.digests.items() if layout_of(key) == layout]


def are_integers(*dtypes: str) -> bool:
    """Tell whether all types are of integers."""
    return all(dtype.startswith(("int", "uint")) for dtype in dtypes)


def with_parts(reference: Sequence[Unit], candidate: Sequence[Unit]) -> list[Unit]:
    """Return the candidate's units, each fused projection followed by its parts.

    One is fused when each part of a parameter is one of the reference's and the whole is none: by digest, else by size.
    """
    known: set[str] = set().union(*(unit.digests for unit in reference))
    sizes = {unit.parameter_sizes() for unit in reference}
    found: list[Unit] = []
    for unit in candidate:
        found.append(unit)
        for parts in PARTS:
            if _is_fused(unit, parts, sizes, known):
                found += [replace(unit, part=each) for each in parts]
    return found


def _is_fused(unit: Unit, parts: Sequence[Part], sizes: Collection[tuple[float, ...]], known: set[str]) -> bool:
    """Tell whether a candidate's unit is so many units of the reference in one; these have `sizes` and are `known`."""
    count = len(parts)
    if not _is_divisible(unit.record.shape, count):
        return False
    if unit.parameter_sizes(count) in sizes and unit.parameter_sizes() not in sizes:
        return True
    return any(_holds_parts(each, parts, known) for each in unit.weights.values())


def _is_divisible(shape: tuple[int, ...], count: int) -> bool:
    """Tell whether a tensor has a last axis that can be cut into so many equal parts."""
    return bool(shape) and shape[-1] % count == 0


def _holds_parts(parameter: WeightDigests, parts: Sequence[Part], known: set[str]) -> bool:
    """Tell whether every part of a parameter is a parameter of the reference, and the whole is none."""
    if parameter.digests.get(UNCHANGED) in known:
        return False
    held = (digests_in(each.layout, parameter) for each in parts)
    return not any(map(known.isdisjoint, held))
