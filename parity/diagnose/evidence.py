"""What the diagnosis may look at: the result, the two traces, and nothing else.

`Evidence` indexes them and hands out what wants an explanation:

- a `Weight`, a parameter that differs;
- a `Setting`, an attribute that differs in the same way at some places;
- a `Suspect`, a path whose layer replay fails while none of its descendants' does: the fault sits in that module
  itself. Its tensors are those of the float64 layer replay, where the rounding is far below any fault, and those of the
  working type's when there is no float64 run;
- `Recordings`, where the candidate is a second reference.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from parity.address import Address, path_of, place_of, port_of
from parity.diagnose.pairs import grouped, has_failed, holds_any, in_layers, path_of_pair, paths_of, worst_of
from parity.digests import UNCHANGED
from parity.trace import WeightDigests

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import numpy as np

    from parity.result import Pair, Result
    from parity.trace import Record, RunReader, Trace

__all__ = ["ABSENT", "Evidence", "Failure", "Recordings", "Setting", "Suspect", "Weight"]

ABSENT: Final = WeightDigests(shape=(), dtype="", digests={})
"""What a side has that has no such parameter."""
_ATTRIBUTE: Final = "attribute."
_INPUT: Final = "input."


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A parameter that differs, by the digests of both sides."""

    pair: Pair
    reference: WeightDigests
    candidate: WeightDigests
    evidence: Evidence

    @property
    def place(self) -> str:
        """The module that owns it, or the parameter's address where it is not the module's weight."""
        address = self.pair.address
        return path_of(address) if port_of(address) == "weight" else address

    @property
    def native(self) -> str:
        """The candidate's own name of it, or its address."""
        return self.candidate.native or self.pair.address

    @property
    def aside(self) -> str:
        """The candidate's own name as a sentence adds it, or nothing."""
        return f" (native {self.candidate.native})" if self.candidate.native else ""

    @property
    def digest(self) -> str | None:
        """The digest of the candidate's tensor."""
        return self.candidate.digests.get(UNCHANGED)

    @property
    def forms(self) -> list[str]:
        """Which forms of the reference's tensor, `LAYOUT/ROUNDING`, the candidate's tensor equals."""
        return [form for form, digest in self.reference.digests.items() if digest == self.digest]

    def equals(self, layout: str, rounding: str = "own") -> bool:
        """Tell whether the candidate's tensor equals the reference's in a layout, in its own type or rounded."""
        return f"{layout}/{rounding}" in self.forms

    @property
    def twins(self) -> list[str]:
        """The addresses of the reference's other parameters that the candidate's tensor equals."""
        equal = self.evidence.parameters.get(self.digest, [])
        return [address for address in equal if address != self.pair.address]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """An attribute that differs in the same way at these places; `native` is the candidate's name of the first."""

    name: str
    reference: Any
    candidate: Any
    paths: tuple[str, ...]
    native: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One output of a suspect that differs, with the inputs of its call, in float64."""

    address: Address
    reference: np.ndarray
    candidate: np.ndarray
    inputs: dict[str, np.ndarray]

    @property
    def first_input(self) -> np.ndarray | None:
        """The first tensor that the module took."""
        return next(iter(self.inputs.values()), None)

    def is_of_one_shape(self, inputs: Collection[str]) -> bool:
        """Tell whether these inputs are there, and they and the candidate's output in the shape of the reference's."""
        if not self.inputs.keys() >= set(inputs):
            return False
        shapes = {self.candidate.shape, *(self.inputs[name].shape for name in inputs)}
        return shapes == {self.reference.shape}


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A path that is wrong by itself."""

    path: str
    pairs: tuple[Pair, ...]
    evidence: Evidence

    @property
    def worst(self) -> Pair:
        """The pair with the largest relative difference."""
        return worst_of(self.pairs)

    def failures(self) -> Iterator[Failure]:
        """Yield its outputs that differ; nothing when a side has no such run."""
        theirs, ours = self.evidence.reference_run, self.evidence.candidate_run
        if ours is None:
            return
        for pair in self.pairs:
            if pair.address in ours and pair.address in theirs:
                yield Failure(
                    address=Address.parse(pair.address),
                    reference=theirs.wide(pair.address),
                    candidate=ours.wide(pair.address),
                    inputs=self.evidence.inputs(place_of(pair.address)),
                )

    def attribute(self, name: str) -> Any:
        """Return the reference's attribute of the module, or None."""
        return self.evidence.attribute(self.path, name)


class Recordings(NamedTuple):
    """The working runs of two references of the same weights."""

    first: RunReader
    second: RunReader

    @classmethod
    def of(cls, reference: Trace, other: Trace) -> Recordings:
        """Return the working runs of two traces."""
        return cls(_working_run(reference), _working_run(other))

    def hold(self, address: str) -> bool:
        """Tell whether both have a record."""
        return address in self.first and address in self.second


class Evidence:
    """The result and the traces, indexed for the hypotheses."""

    def __init__(self, result: Result, reference: Trace, candidates: Sequence[Trace]) -> None:
        """Index `result`; tensors are read when a hypothesis asks. Weights are those of the first candidate."""
        self.result, self.reference, self.candidate = result, reference, candidates[0]
        layers = grouped(filter(in_layers, result.pairs), lambda pair: pair.question)
        self.layers = layers.get("semantics") or layers.get("precision", [])
        self.failing = list(filter(has_failed, self.layers))
        dtype = reference.manifest.working
        if "semantics" in layers or dtype not in reference.runs:
            dtype = "float64"
        self.reference_run: RunReader = reference.run(dtype)
        name = f"layers-{dtype}"
        self.candidate_run = next((trace.run(name) for trace in candidates if name in trace.runs), None)

    @property
    def is_of_references(self) -> bool:
        """Whether the candidate is a second reference."""
        return self.candidate.manifest.side == "reference"

    def weights(self) -> Iterator[Weight]:
        """Yield the parameters that differ, in the reference's order."""
        manifest = self.reference.manifest
        theirs, ours = manifest.weights | manifest.buffers, self.candidate.manifest.weights
        for pair in filter(_is_wrong_weight, self.result.pairs):
            yield Weight(
                pair=pair,
                reference=theirs.get(pair.address, ABSENT),
                candidate=ours.get(pair.address, ABSENT),
                evidence=self,
            )

    def settings(self) -> Iterator[Setting]:
        """Yield the attributes that differ, each with all places where both values are the same."""

        def difference(pair: Pair) -> tuple[str, str, str]:
            path, name = path_of_pair(pair), _name_of(pair)
            return name, repr(self.attribute(path, name)), repr(self._reported(path, name))

        for alike in grouped(filter(_is_wrong_setting, self.result.pairs), difference).values():
            paths, name = paths_of(alike), _name_of(alike[0])
            yield Setting(
                name=name,
                reference=self.attribute(paths[0], name),
                candidate=self._reported(paths[0], name),
                paths=tuple(paths),
                native=self._native(paths[0]),
            )

    def suspects(self) -> Iterator[Suspect]:
        """Yield the innermost failing paths, in order of completion."""
        program = self.reference.manifest.program
        by_path = grouped(self.failing, path_of_pair)
        for path, pairs in by_path.items():
            if not holds_any(program, path, by_path):
                yield Suspect(path=path, pairs=tuple(pairs), evidence=self)

    def failing_at(self, paths: Collection[str]) -> list[Pair]:
        """Return the failing pairs of the layer replay at these paths."""
        return [pair for pair in self.failing if path_of_pair(pair) in paths]

    @cached_property
    def parameters(self) -> dict[str | None, list[str]]:
        """The addresses of the reference's parameters by the digest of their value."""
        weights = self.reference.manifest.weights
        return grouped(weights, lambda address: weights[address].digests.get(UNCHANGED))

    def inputs(self, place: str) -> dict[str, np.ndarray]:
        """Return the recorded tensors that one call took, by key, in float64."""
        addresses = [record.address for record in self._inputs.get(place, [])]
        return {port_of(address).removeprefix(_INPUT): self.reference_run.wide(address) for address in addresses}

    def recorded(self, address: Address) -> np.ndarray | None:
        """Return the reference's tensor at an address, or that of its only call, or None."""
        for each in (address, dataclasses.replace(address, call=None)):
            if str(each) in self.reference_run:
                return self.reference_run.wide(str(each))
        return None

    def attribute(self, path: str, name: str) -> Any:
        """Return the reference's attribute of a path, or None."""
        return self.reference.manifest.attributes.get(path, {}).get(name)

    def _reported(self, path: str, name: str) -> Any:
        """Return the candidate's attribute of a path, or None."""
        return self.candidate.manifest.attributes.get(path, {}).get(name)

    def _native(self, path: str) -> str:
        """Return the candidate's own name of a path, or the path."""
        rows = self.candidate.manifest.alignment or ()
        return next((row.native for row in rows if row.path == path), path)

    @cached_property
    def _inputs(self) -> dict[str, list[Record]]:
        """The reference's input tensors by the call that took them."""
        inputs = filter(_is_input_tensor, self.reference_run.records)
        return grouped(inputs, lambda record: place_of(record.address))


def _is_wrong_weight(pair: Pair) -> bool:
    """Tell whether a pair is of a parameter that differs or that one side lacks."""
    return pair.mode == "audit" and pair.stage == "weights" and pair.verdict != "MATCH"


def _is_wrong_setting(pair: Pair) -> bool:
    """Tell whether a pair is of an attribute that differs and is not without effect."""
    return pair.stage == "attributes" and pair.verdict == "MISMATCH" and "equivalent" not in pair.flags


def _is_input_tensor(record: Record) -> bool:
    """Tell whether a record is a tensor that a call took."""
    return port_of(record.address).startswith(_INPUT) and record.kind == "tensor"


def _name_of(pair: Pair) -> str:
    """Return the name of the attribute that a pair is of."""
    return port_of(pair.address).removeprefix(_ATTRIBUTE)


def _working_run(trace: Trace) -> RunReader:
    """Return the working run of a recording, or its twin where that is all there is."""
    whole = [run for run in map(trace.run, trace.runs) if run.info.mode == "run"]
    return min(whole, key=lambda run: run.name == "float64")
