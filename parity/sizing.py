"""How large a recording will be, from one counted run of two steps; nothing is written.

`predict` runs the case with two steps and the hooks in place, keeps each tensor's shape, type and digest, and lets
every step of the real run look like the second. So the records and the recorded bytes are those of the recording.
The stored bytes are an upper bound: what repeats within a step is known, and what both steps and the time before
them share; latents that one step hands to the next count twice, and in `forced` nothing counts as a repetition.
It costs loading the model and two steps.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from parity.address import Address, path_of, port_of, step_of
from parity.dtypes import is_float
from parity.errors import AddressError
from parity.taps import Taps
from parity.trace import Estimate, Record, digest, estimate
from parity.trace.records import plain_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np

    from parity.case import Resolved
    from parity.components import Components
    from parity.record import Options, Reference

__all__ = ["SHORT", "predict"]

_SHARD: Final = "tensors-0000.h5"
_OFFSET: Final = 1 << 30

SHORT: Final = 2
"""Steps that are run: the fewest that show what a step shares with another."""


class _Seen:
    """A sink that keeps a record of everything, with a place as long as a real one, and no bytes."""

    def __init__(self, components: Components) -> None:
        """Begin empty; `components` tell the stage of a path."""
        self.records: list[Record] = []
        self._components = components

    def tensor(
        self, address: str, array: np.ndarray, *, dtype: str | None = None, copy: bool = True, **told: Any
    ) -> None:
        """Note a tensor; `told` is its native path and its island."""
        del copy
        name = dtype or array.dtype.name
        self.records.append(
            Record(
                address=address, stage=self._stage(address), shape=array.shape, dtype=name, digest=digest(array, name),
                shard=_SHARD, offset=_OFFSET, **told,
            )
        )  # fmt: skip

    def value(self, address: str, value: object, **told: Any) -> None:
        """Note a value that is no tensor."""
        record = Record(address=address, stage=self._stage(address), kind="value", value=plain_value(value), **told)
        self.records.append(record)

    def _stage(self, address: str) -> str:
        """Return the stage of an address."""
        return self._components.stage_of(path_of(address), port_of(address))


def predict(short: Resolved, reference: Reference, options: Options, *, loop: int) -> dict[str, Estimate]:
    """Return the size of each run of a recording by name.

    Args:
        short: The case with the steps that are run: `SHORT`, or fewer where the recording has fewer.
        reference: What runs it.
        options: What is chosen for the recording.
        loop: The number of steps of the recording.

    Raises:
        AddressError: the pattern `options.taps` matches nothing.
        CaseError, InputError: the case cannot be run.
    """
    short.require(reference.sections, reference.name)
    working, wanted, store = options.working(short), options.wanted, options.store
    system = reference.load(short, device=options.device, dtype=working, source=options.source)
    seen = _Seen(system.components)
    counting = Taps(seen)
    system.run(counting, lambda _done, _total: None)
    whole = _expanded(seen.records, counting.counts, loop)
    records = [record for record in whole if wanted(record.address, step_of(record.address))]
    if not records:
        message = f"--taps {options.taps!r} matches no address of the run; a pattern matches the whole address"
        raise AddressError(message)
    found = {working: estimate(records, store=store)}
    if options.twin:
        widened = list(map(_widened, records))
        both = estimate(widened, store=store)
        found |= {"float64": both, "forced": estimate(_forced(widened), store=store), "steps": both}
    return found


def _expanded(records: Iterable[Record], counts: Mapping[tuple[str, int | None], int], loop: int) -> Iterator[Record]:
    """Yield the records of the whole run under the contract's addresses, every step like the last one that was run."""
    outside, by_step = _by_step(records)
    for place, record in outside.items():
        yield _placed(record, place, calls=counts.get((place.path, None), 1))
    last = max(by_step, default=0)
    model = by_step[last]
    repeated = _repeated(model, by_step[last - 1], outside) if last else set()
    for step in range(loop):
        for place, record in model.items():
            # What is not known to repeat counts as new.
            made = record if place in repeated else _renewed(record, step)
            yield _placed(made, replace(place, step=step), calls=counts.get((place.path, last), 1))


def _renewed(record: Record, step: int) -> Record:
    """Return a record with a digest of its own in this step; a value has none."""
    own = record.digest and f"{step:08x}{record.digest[8:]}"
    return msgspec.structs.replace(record, digest=own)


def _by_step(records: Iterable[Record]) -> tuple[dict[Address, Record], dict[int, dict[Address, Record]]]:
    """Return the records outside of the loop, and those of each step, by their address without it."""
    outside: dict[Address, Record] = {}
    steps: dict[int, dict[Address, Record]] = defaultdict(dict)
    for record in records:
        address = Address.parse(record.address)
        place = replace(address, step=None)
        if address.step is None:
            outside[place] = record
        else:
            steps[address.step][place] = record
    return outside, steps


def _repeated(
    model: Mapping[Address, Record], before: Mapping[Address, Record], outside: Mapping[Address, Record]
) -> set[Address]:
    """Return the places of a step whose tensor the step before it, or the time before the loop, has as well."""
    outside_digests = {record.digest for record in outside.values()}
    in_place = {(place, record.digest) for place, record in before.items()}
    found = set()
    for place, record in model.items():
        if record.digest in outside_digests or (place, record.digest) in in_place:
            found.add(place)
    return found


def _placed(record: Record, place: Address, *, calls: int) -> Record:
    """Return a record at a place; an address names the call where there are several."""
    address = replace(place, call=None) if calls == 1 else place
    return msgspec.structs.replace(record, address=str(address))


def _forced(records: Iterable[Record]) -> Iterator[Record]:
    """Yield what the forced twin records: outputs, each of which may be unlike all others."""
    for record in records:
        if record.is_output_tensor:
            yield msgspec.structs.replace(record, digest="")


def _widened(record: Record) -> Record:
    """Return the record as the float64 run has it."""
    return msgspec.structs.replace(record, dtype="float64") if is_float(record.dtype) else record
