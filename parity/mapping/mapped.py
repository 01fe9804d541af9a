"""A candidate's trace under the reference's names, as a mapping says: what the comparer reads instead of the original.

Only outputs that are judged appear in it. Everything else of the reference stays without a counterpart, so the comparer
finds it missing and the verdict is INCOMPLETE; `explain` says at each such pair what the mapping proposed.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from itertools import chain, filterfalse
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from parity.address import literal, path_of, place_of, port_of
from parity.align import transform, transformed
from parity.digests import UNCHANGED
from parity.errors import AlignmentError, nearest
from parity.mapping.units import WHOLE, are_integers, no_run, outputs_of, owners, part
from parity.trace import Row, Trace
from parity.trace.files import Tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Mapping as Table

    from numpy.typing import NDArray

    from parity.mapping.table import Counterpart, Mapping
    from parity.mapping.units import Part
    from parity.result import Pair
    from parity.trace import Record, RunReader, WeightDigests

__all__ = ["excluded", "explain", "mapped"]

_SLICE = re.compile(r"slice:(?P<index>[0-9]+)/(?P<count>[1-9][0-9]*)")
_UNNAMED_PARAMETER = "not judged: the mapping does not say which parameter this is; name it under weights"
_Calls = dict[tuple[int | None, int], "Record"]
"""(step, call) -> the record of an output, in order."""

_Outputs = dict[tuple[str, str], _Calls]
"""(path, port) -> the records of an output."""


class _Source(NamedTuple):
    """A record under the reference's address, the native one that its tensor is read from, and the transform between."""

    record: Record
    native: Record
    transform: str | None


class _Transformed(Tensors):
    """Tensors of a native run in the reference's layout."""

    def __init__(self, native: RunReader, sources: Table[str, _Source]) -> None:
        """Read from `native`; `sources` is by the reference's address."""
        self._native = native
        self._sources = sources

    def read(self, record: Record) -> NDArray[Any]:
        """Return a tensor in the reference's layout."""
        source = self._sources[record.address]
        array = self._native.tensor(source.native.address)
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
    whole = reference.in_modes("run")
    if not whole:
        raise AlignmentError(no_run(reference, "run of the whole model"))
    known = _outputs(whole[0])
    _check_known(mapping, reference, known)
    judged = list(filter(mapping.judged, mapping.counterparts))
    _check_not_both(mapping, judged)
    runs = {name: _mapped_run(candidate, name, judged, known) for name in candidate.runs}
    whole_paths = {name: reason for name, reason in mapping.not_compared.items() if not port_of(name)}
    manifest = msgspec.structs.replace(
        candidate.manifest,
        alignment=list(map(_row, judged)),
        not_compared=whole_paths,
        weights=_weights(judged, reference, candidate),
    )
    return Trace(candidate.folder, manifest, runs, plain=False, unread=candidate.unread, notes=candidate.notes)


def _mapped_run(candidate: Trace, name: str, judged: Iterable[Counterpart], known: _Outputs) -> RunReader:
    """Return a run under the reference's addresses, in the order in which the candidate ran."""
    run = candidate.run(name)
    outputs = _outputs(run)
    sources: dict[str, _Source] = {}
    for each in judged:
        for mine, native in _calls(each, known, outputs, candidate):
            sources[mine.address] = _Source(
                record=_renamed(each, mine, native),
                native=native,
                transform=each.transform,
            )
    order = {record.address: number for number, record in enumerate(run.records)}
    in_order = sorted(sources.values(), key=lambda source: order[source.native.address])
    return run.with_records([source.record for source in in_order], _Transformed(run, sources))


def _outputs(run: RunReader) -> _Outputs:
    """Return the outputs of a run."""
    found: _Outputs = defaultdict(dict)
    for output in outputs_of(run):
        found[output.path, output.port][output.step, output.call] = output.record
    return dict(found)


def _check_known(mapping: Mapping, reference: Trace, known: _Outputs) -> None:
    """Refuse paths that the reference does not have.

    Raises:
        AlignmentError: there is one.
    """
    paths = {path for path, _ in known}.union(reference.manifest.modules, owners(reference))
    names = paths.union(f"{path}:{port}" for path, port in known)
    named = [each.path for each in mapping.counterparts]
    for name in (*named, *mapping.not_compared):
        if name not in names:
            message = f"the mapping names {name!r}, which the reference does not have{nearest(name, paths)}"
            raise AlignmentError(message)


def _check_not_both(mapping: Mapping, judged: Iterable[Counterpart]) -> None:
    """Refuse what is both judged and left out.

    Raises:
        AlignmentError: there is such a path or output.
    """
    names = set(chain.from_iterable((each.path, each.output) for each in judged))
    for name in mapping.not_compared:
        if name in names:
            message = f"{name} has a pair that is judged and is listed as not compared; remove one"
            raise AlignmentError(message)


def _calls(each: Counterpart, known: _Outputs, outputs: _Outputs, candidate: Trace) -> Sequence[tuple[Record, Record]]:
    """Return the reference's record of each call with the candidate's.

    Equally many calls correspond in their order, whether or not the candidate told its steps; else those of the same
    step and call do.

    Raises:
        AlignmentError: the candidate has no such path or port.
    """
    if (each.native, each.take) not in outputs:
        raise AlignmentError(_no_output(each, outputs, candidate))
    mine = _of_call(known.get((each.path, each.port), {}), each.call)
    theirs = _of_call(outputs[each.native, each.take], each.native_call)
    if len(mine) == len(theirs):
        return list(zip(mine.values(), theirs.values(), strict=True))
    return [(record, theirs[place]) for place, record in mine.items() if place in theirs]


def _no_output(each: Counterpart, outputs: _Outputs, candidate: Trace) -> str:
    """Return what is wrong with a counterpart that the candidate does not have."""
    ports = sorted(port for path, port in outputs if path == each.native)
    if ports:
        return f"the mapping takes {each.take!r} of {each.native!r}, whose outputs are {', '.join(ports)}"
    paths = {path for path, _ in outputs}
    return f"the mapping names {each.native!r}, which {candidate.folder} does not have{nearest(each.native, paths)}"


def _of_call(records: _Calls, call: int | None) -> _Calls:
    """Return the records of one call within the step, or all."""
    return {place: record for place, record in records.items() if call in {None, place[1]}}


def _renamed(each: Counterpart, mine: Record, native: Record) -> Record:
    """Return the candidate's record under the reference's address and in its layout."""
    named = msgspec.structs.replace(
        native,
        address=mine.address,
        stage=mine.stage,
        native=each.native,
    )
    if native.kind != "tensor" or each.transform is None:
        return named
    shape = transformed(each.transform, native.shape, mine.shape)
    dtype = native.dtype
    if each.transform == "integer-width" and are_integers(native.dtype, mine.dtype):
        dtype = mine.dtype
    return msgspec.structs.replace(named, shape=shape, dtype=dtype, digest="")


def _row(each: Counterpart) -> Row:
    """Return a counterpart as a row of an alignment."""
    return Row(
        path=each.path,
        native=each.native,
        port=each.port,
        call=each.call,
        native_call=each.native_call,
        output=each.transform,
        take=each.take.removeprefix("output").removeprefix("."),
    )


def _weights(judged: Iterable[Counterpart], reference: Trace, candidate: Trace) -> dict[str, WeightDigests]:
    """Return the candidate's parameters under the reference's names, in its layout as the mapping declares it.

    Raises:
        AlignmentError: a side has no such parameter.
    """
    mine, theirs = owners(reference), owners(candidate)
    # The reference names its parameters in one of two ways, and only its own names are found beside them.
    separator = "."
    if any(map(port_of, reference.manifest.weights)):
        separator = ":"
    found: dict[str, WeightDigests] = {}
    for each in judged:
        for name, told in each.weights.items():
            native, _, layout = told.partition(" ")
            wanted = _parameter(mine, each.path, name, "reference")
            held = _parameter(theirs, each.native, native, "candidate")
            pulled = _pulled_back(wanted, held, layout, _part_of(each.transform))
            found[f"{each.path}{separator}{name}"] = msgspec.structs.replace(pulled, native=f"{each.native}.{native}")
    return found


def _parameter(known: Table[str, Table[str, WeightDigests]], path: str, name: str, side: str) -> WeightDigests:
    """Return a parameter of one side.

    Raises:
        AlignmentError: there is none of this name.
    """
    found = known.get(path, {}).get(name)
    if found is None:
        message = f"the mapping names the parameter {name!r} of {path!r}, which the {side} does not have"
        raise AlignmentError(message)
    return found


def _part_of(taken: str | None) -> Part:
    """Return the part of a fused projection that a transform takes of its output."""
    found = _SLICE.fullmatch(taken or "")
    if found is None:
        return WHOLE
    return part(int(found["index"]), int(found["count"]))


def _pulled_back(wanted: WeightDigests, held: WeightDigests, layout: str, share: Part) -> WeightDigests:
    """Return a native parameter as the reference has it: its share of a fused one, in its type and layout."""
    unrounded = held.digests.get(f"{share.layout}/own", "")
    digest = held.digests.get(f"{share.layout}/{wanted.dtype}", unrounded)
    # The mapping says that it is stored turned: then the reference's, turned in the same way, has these values.
    if layout and digest and digest == wanted.digests.get(f"{layout}/own"):
        digest = wanted.digests[UNCHANGED]
    shape = held.shape
    if math.prod(held.shape) // share.count == math.prod(wanted.shape):
        shape = wanted.shape
    return msgspec.structs.replace(held, shape=shape, digests={UNCHANGED: digest})


def excluded(mapping: Mapping) -> list[dict[str, str]]:
    r"""Return the single outputs of `not_compared` as excludes for the comparer.

    >>> from parity.mapping import Mapping
    >>> excluded(Mapping(counterparts=[], not_compared={"unet.act:output": "identity"}))
    [{'address': 'unet\\.act(@[^:]*)?:output', 'reason': 'identity'}]
    """
    tables = []
    for name, reason in mapping.not_compared.items():
        if port_of(name):
            pattern = f"{literal(place_of(name))}(@[^:]*)?:{literal(port_of(name))}"
            tables.append({"address": pattern, "reason": reason})
    return tables


def explain(pairs: Iterable[Pair], mapping: Mapping) -> None:
    """Say at every missing pair what the mapping proposed, and what a person can do."""
    # Parameters are looked up by their owner's path, outputs by PATH:PORT, so one table serves both.
    details = {each.path: _UNNAMED_PARAMETER for each in mapping.counterparts}
    for each in filterfalse(mapping.judged, mapping.counterparts):
        details[each.path] = details[each.output] = _why_not_judged(each, mapping)
    for pair in pairs:
        if pair.verdict == "MISSING":
            pair.detail = details.get(_looked_up(pair), pair.detail)


def _looked_up(pair: Pair) -> str:
    """Return what the mapping knows a pair by: of a parameter its owner, of an output the output of every call."""
    path = path_of(pair.address)
    if pair.mode == "audit":
        return path
    return f"{path}:{port_of(pair.address)}"


def _why_not_judged(each: Counterpart, mapping: Mapping) -> str:
    """Return why an output is not judged, and what a person can do."""
    if not each.native:
        return "not judged: the mapping has no counterpart; name one, or give a reason under not_compared"
    return f"not judged: {each.native} has confidence {each.confidence:g} below {mapping.threshold:g}; accept or correct it in the mapping"
