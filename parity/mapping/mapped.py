"""A candidate's trace under the reference's names, as a mapping says: what the comparer reads instead of the original.

Only pairs that are judged appear in it. Everything else of the reference stays without a counterpart, so the comparer
finds it missing and the verdict is INCOMPLETE; `explain` says at each such pair what the mapping proposed.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from parity.address import Address
from parity.align import transform, transformed
from parity.errors import AlignmentError, nearest
from parity.mapping.units import owners
from parity.trace import Row, Trace
from parity.trace.files import Tensors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from parity.mapping.table import Mapping, Pair
    from parity.result import Pair as Judged
    from parity.trace import Record, RunReader, WeightDigests

__all__ = ["excluded", "explain", "mapped"]

_Places = dict[tuple[str, str], list["Record"]]


class _Source(NamedTuple):
    """Where a tensor comes from: the native record, and the transform from its layout to the reference's."""

    record: Record
    transform: str | None


class _Transformed(Tensors):
    """Tensors of a native run in the reference's layout."""

    def __init__(self, native: RunReader, sources: dict[str, _Source]) -> None:
        """Read from `native`; `sources` is by the new address."""
        self._native = native
        self._sources = sources

    def read(self, record: Record) -> NDArray[Any]:
        """Return a tensor in the reference's layout."""
        source = self._sources[record.address]
        array = self._native.tensor(source.record.address)
        moved = transform(source.transform, array, record.shape, record.dtype)
        return np.ascontiguousarray(moved).reshape(record.shape)


def mapped(candidate: Trace, mapping: Mapping, reference: Trace) -> Trace:
    """Return the candidate's trace under the reference's addresses, with the mapping as its alignment.

    Raises:
        AlignmentError: the mapping names a path that one of the sides does not have, or a layout that a tensor cannot
            have, or the candidate's trace is under the reference's names already.
    """
    if candidate.manifest.alignment is not None:
        message = f"{candidate.folder} has an alignment table of its own; compare it without --mapping"
        raise AlignmentError(message)
    judged = [pair for pair in mapping.pairs if mapping.judged(pair)]
    known = _places(_whole_run(reference))
    _check_known(mapping, reference, known)
    runs: dict[str, RunReader] = {}
    for name in candidate.runs:
        run = candidate.run(name)
        places = _places(run)
        records: list[Record] = []
        sources: dict[str, _Source] = {}
        for pair in judged:
            for new, old in _calls(pair, known, places, candidate):
                records.append(_renamed(pair, new, old))
                sources[new.address] = _Source(old, pair.transform)
        order = {record.address: number for number, record in enumerate(run.records)}
        records.sort(key=lambda each: order[sources[each.address].record.address])
        runs[name] = run.with_records(records, _Transformed(run, sources))
    manifest = msgspec.structs.replace(
        candidate.manifest, alignment=[_row(pair) for pair in judged],
        not_compared={name: reason for name, reason in mapping.not_compared.items() if ":" not in name},
        weights=_weights(judged, reference, candidate),
    )  # fmt: skip
    return Trace(candidate.folder, manifest, runs, plain=False)


def _whole_run(reference: Trace) -> RunReader:
    """Return a run of the whole reference."""
    for name in reference.runs:
        if reference.run(name).info.mode == "run":
            return reference.run(name)
    message = f"{reference.folder} has no run of the whole model; its runs are {', '.join(reference.runs) or 'none'}"
    raise AlignmentError(message)


def _places(run: RunReader) -> _Places:
    """Return (path, port) -> its output records in order."""
    found: _Places = {}
    for record in run.records:
        address = Address.parse(record.address)
        if address.port.startswith("output"):
            found.setdefault((address.path, address.port), []).append(record)
    return found


def _check_known(mapping: Mapping, reference: Trace, known: _Places) -> None:
    """Refuse paths that the reference does not have.

    Raises:
        AlignmentError: there is one.
    """
    paths = {path for path, _ in known} | set(reference.manifest.modules) | set(owners(reference))
    outputs = {f"{path}:{port}" for path, port in known}
    for name in (*(pair.path for pair in mapping.pairs), *mapping.not_compared):
        if name not in paths | outputs:
            message = f"the mapping names {name!r}, which the reference does not have{nearest(name, paths)}"
            raise AlignmentError(message)
    for name in mapping.not_compared:
        if any(name in {pair.path, f"{pair.path}:{pair.port}"} and mapping.judged(pair) for pair in mapping.pairs):
            message = f"{name} has a pair that is judged and is listed as not compared; remove one"
            raise AlignmentError(message)


def _calls(pair: Pair, known: _Places, places: _Places, candidate: Trace) -> list[tuple[Record, Record]]:
    """Return the reference's record of each call with the candidate's.

    Equally many calls correspond in their order, whether or not the candidate told its steps; else those of the same
    step and call do.

    Raises:
        AlignmentError: the candidate has no such path or port.
    """
    mine = _of_call(known.get((pair.path, pair.port), []), pair.call)
    if (pair.native, pair.take) not in places:
        ports = sorted(port for path, port in places if path == pair.native)
        if ports:
            message = f"the mapping takes {pair.take!r} of {pair.native!r}, whose outputs are {', '.join(ports)}"
        else:
            paths = {path for path, _ in places}
            message = f"the mapping names {pair.native!r}, which {candidate.folder} does not have{nearest(pair.native, paths)}"
        raise AlignmentError(message)
    theirs = _of_call(places[pair.native, pair.take], pair.native_call)
    if len(mine) == len(theirs):
        return list(zip(mine, theirs, strict=True))
    by_call = {_step_and_call(record): record for record in theirs}
    return [(record, by_call[_step_and_call(record)]) for record in mine if _step_and_call(record) in by_call]


def _of_call(records: Iterable[Record], call: int | None) -> list[Record]:
    """Return the records of one call within the step, or all."""
    return [record for record in records if call is None or (Address.parse(record.address).call or 0) == call]


def _step_and_call(record: Record) -> tuple[int | None, int]:
    """Return step and call of a record."""
    address = Address.parse(record.address)
    return address.step, address.call or 0


def _renamed(pair: Pair, new: Record, old: Record) -> Record:
    """Return the candidate's record under the reference's address and in its layout."""
    if old.kind != "tensor":
        return msgspec.structs.replace(old, address=new.address, stage=new.stage, native=pair.native)
    shape = transformed(pair.transform, old.shape, new.shape)
    both_integers = {old.dtype[:3], new.dtype[:3]} <= {"int", "uin"}
    dtype = new.dtype if pair.transform == "integer-width" and both_integers else old.dtype
    return msgspec.structs.replace(
        old, address=new.address, stage=new.stage, shape=shape, dtype=dtype, native=pair.native,
        digest=old.digest if pair.transform is None else "",
    )  # fmt: skip


def _row(pair: Pair) -> Row:
    """Return a pair as a row of an alignment."""
    return Row(
        path=pair.path, native=pair.native, port=pair.port, call=pair.call, native_call=pair.native_call,
        output=pair.transform, take=pair.take.removeprefix("output").removeprefix("."),
    )  # fmt: skip


def _weights(judged: Iterable[Pair], reference: Trace, candidate: Trace) -> dict[str, WeightDigests]:
    """Return the candidate's parameters under the reference's names, in its layout as the mapping declares it."""
    mine, theirs = owners(reference), owners(candidate)
    separator = ":" if any(":" in name for name in reference.manifest.weights) else "."
    found: dict[str, WeightDigests] = {}
    for pair in judged:
        for name, told in pair.weights.items():
            native, _, layout = told.partition(" ")
            wanted, held = mine.get(pair.path, {}).get(name), theirs.get(pair.native, {}).get(native)
            if wanted is None or held is None:
                side, owner, missing = (
                    ("reference", pair.path, name) if wanted is None else ("candidate", pair.native, native)
                )
                message = f"the mapping names the parameter {missing!r} of {owner!r}, which the {side} does not have"
                raise AlignmentError(message)
            found[f"{pair.path}{separator}{name}"] = _pulled_back(wanted, held, layout, pair, native)
    return found


def _pulled_back(wanted: WeightDigests, held: WeightDigests, layout: str, pair: Pair, native: str) -> WeightDigests:
    """Return a native parameter as the reference has it: its share of a fused one, in its type and layout."""
    index, _, count = (pair.transform or "").removeprefix("slice:").partition("/")
    stem = f"part{index}of{count}" if count and (pair.transform or "").startswith("slice:") else "identity"
    digest = held.digests.get(f"{stem}/{wanted.dtype}") or held.digests.get(f"{stem}/own", "")
    if layout and digest and digest == wanted.digests.get(f"{layout}/own"):
        digest = wanted.digests["identity/own"]
    size = math.prod(held.shape) // (int(count) if stem != "identity" else 1)
    return msgspec.structs.replace(
        held, shape=wanted.shape if size == math.prod(wanted.shape) else held.shape, digests={"identity/own": digest},
        native=f"{pair.native}.{native}",
    )  # fmt: skip


def excluded(mapping: Mapping) -> list[dict[str, str]]:
    r"""Return the single outputs of `not_compared` as excludes for the comparer.

    >>> from parity.mapping import Mapping
    >>> excluded(Mapping(pairs=[], not_compared={"unet.act:output": "identity"}))[0]["address"]
    'unet\.act(@[^:]*)?:output'
    """
    tables = []
    for name, reason in mapping.not_compared.items():
        path, _, port = name.partition(":")
        if port:
            tables.append({"address": f"{re.escape(path)}(@[^:]*)?:{re.escape(port)}", "reason": reason})
    return tables


def explain(pairs: Iterable[Judged], mapping: Mapping) -> None:
    """Say at every missing pair what the mapping proposed, and what a person can do."""
    unjudged = [pair for pair in mapping.pairs if not mapping.judged(pair)]
    by_output = {(pair.path, pair.port): pair for pair in unjudged}
    by_path = {pair.path: pair for pair in unjudged}
    known = {pair.path for pair in mapping.pairs}
    for judged in pairs:
        if judged.verdict != "MISSING":
            continue
        place, _, port = judged.address.rpartition(":")
        path = place.partition("@")[0]
        pair = by_path.get(path) if judged.mode == "audit" else by_output.get((path, port))
        if pair is not None and pair.native:
            judged.detail = f"not judged: {pair.native} has confidence {pair.confidence:g} below {mapping.threshold:g}; accept or correct it in the mapping"
        elif pair is not None:
            judged.detail = "not judged: the mapping has no counterpart; name one, or give a reason under not_compared"
        elif judged.mode == "audit" and path in known:
            judged.detail = "not judged: the mapping does not say which parameter this is; name it under weights"
