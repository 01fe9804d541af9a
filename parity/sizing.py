"""How large a recording will be, from one counted run of two steps; nothing is written.

`predict` runs the case with two steps and the hooks in place, keeps each tensor's shape, type and digest, and lets
every step of the real run look like the second. So the records and the recorded bytes are those of the recording.
The stored bytes are an upper bound: what repeats within a step is known, and what both steps and the time before
them share; latents that one step hands to the next count twice, and in `forced` nothing counts as a repetition.
It costs loading the model and two steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from parity.address import Address, path_of, port_of
from parity.dtypes import is_float
from parity.errors import AddressError
from parity.taps import Taps
from parity.trace import Estimate, Record, digest, estimate
from parity.trace.records import plain_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    records = [
        record for record in _expanded(seen.records, counting.counts, loop) if wanted(record.address, _step(record))
    ]
    if not records:
        message = f"--taps {options.taps!r} matches no address of the run; a pattern matches the whole address"
        raise AddressError(message)
    found = {working: estimate(records, store=store)}
    if options.twin:
        widened = [_widened(record) for record in records]
        forced = (
            msgspec.structs.replace(record, digest="")
            for record in widened
            if record.kind == "tensor" and ":output" in record.address
        )
        both = estimate(widened, store=store)
        found |= {"float64": both, "forced": estimate(forced, store=store), "steps": both}
    return found


def _step(record: Record) -> int | None:
    """Return the step of a record."""
    return Address.parse(record.address).step


def _expanded(records: Iterable[Record], counts: dict[tuple[str, int | None], int], loop: int) -> Iterator[Record]:
    """Yield the records of the whole run under the contract's addresses, every step like the last one that was run."""
    by_step: dict[int | None, dict[Address, Record]] = {}
    for record in records:
        address = Address.parse(record.address)
        by_step.setdefault(address.step, {})[replace(address, step=None)] = record
    before = by_step.pop(None, {})
    last = max((step for step in by_step if step is not None), default=0)
    shared = {record.digest for record in before.values()} if last else set()
    for step in (None, *range(loop)):
        model = before if step is None else by_step.get(last, {})
        for place, record in model.items():
            called = counts.get((place.path, None if step is None else last), 1)
            address = replace(place, step=step, call=None if called == 1 else place.call)
            same = last and step is not None and by_step[last - 1].get(place)
            constant = step is None or record.digest in shared or (same and same.digest == record.digest)
            mark = record.digest if constant or not record.digest else f"{step:08x}{record.digest[8:]}"
            yield msgspec.structs.replace(record, address=str(address), digest=mark)


def _widened(record: Record) -> Record:
    """Return the record as the float64 run has it."""
    return msgspec.structs.replace(record, dtype="float64") if is_float(record.dtype) else record
