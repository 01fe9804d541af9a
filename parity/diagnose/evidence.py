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
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from parity.address import Address, path_of, place_of, port_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np

    from parity.result import Pair, Result
    from parity.trace import RunReader, Trace, WeightDigests

__all__ = ["FAILED", "Evidence", "Failure", "Recordings", "Setting", "Suspect", "Weight", "worst_of"]

FAILED: Final = frozenset({"MISMATCH", "INCOMPARABLE"})
_WHOLE: Final = "identity/own"
_ATTRIBUTE: Final = "attribute."
_INPUT: Final = "input."


def worst_of(pairs: Iterable[Pair]) -> Pair:
    """Return the pair with the largest relative difference; one that is no finite number is larger than any."""
    return max(pairs, key=lambda pair: pair.rel_l2 if isinstance(pair.rel_l2, float) else float("inf"))


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A parameter that differs, by the digests of both sides; None for a side that has no such parameter."""

    pair: Pair
    reference: WeightDigests | None
    candidate: WeightDigests | None
    evidence: Evidence

    @property
    def place(self) -> str:
        """The module that owns it, or the parameter's address where it is not the module's weight."""
        address = self.pair.address
        return path_of(address) if port_of(address) == "weight" else address

    @property
    def native(self) -> str:
        """The candidate's own name of it, or its address."""
        return (self.candidate and self.candidate.native) or self.pair.address

    @property
    def aside(self) -> str:
        """The candidate's own name as a sentence adds it, or nothing."""
        return f" (native {self.candidate.native})" if self.candidate and self.candidate.native else ""

    @property
    def digest(self) -> str | None:
        """The digest of the candidate's tensor."""
        return self.candidate.digests.get(_WHOLE) if self.candidate else None

    @property
    def forms(self) -> list[str]:
        """Which forms of the reference's tensor, `LAYOUT/ROUNDING`, the candidate's tensor equals."""
        if self.reference is None or self.candidate is None:
            return []
        digest = self.digest
        return [form for form, known in self.reference.digests.items() if known == digest and form != _WHOLE]

    @property
    def twins(self) -> Iterator[str]:
        """The addresses of the reference's other parameters that the candidate's tensor equals."""
        digest = self.digest
        for address, other in self.evidence.reference.manifest.weights.items():
            if address != self.pair.address and other.digests.get(_WHOLE) == digest:
                yield address


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


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A path that is wrong by itself."""

    path: str
    pairs: tuple[Pair, ...]
    evidence: Evidence

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


class Evidence:
    """The result and the traces, indexed for the hypotheses."""

    def __init__(self, result: Result, reference: Trace, candidates: Sequence[Trace]) -> None:
        """Index `result`; tensors are read when a hypothesis asks. Weights are those of the first candidate."""
        self.result, self.reference, self.candidate = result, reference, candidates[0]
        layers = [pair for pair in result.pairs if pair.mode == "layers"]
        semantic = any(pair.question == "semantics" for pair in layers)
        question = "semantics" if semantic else "precision"
        self.layers = [pair for pair in layers if pair.question == question]
        self.failing = [pair for pair in self.layers if pair.verdict in FAILED]
        working = str(reference.manifest.case.get("precision", {}).get("dtype", "float32"))
        dtype = "float64" if semantic or working not in reference.runs else working
        self.reference_run: RunReader = reference.run(dtype)
        runs = [trace.run(f"layers-{dtype}") for trace in candidates if f"layers-{dtype}" in trace.runs]
        self.candidate_run: RunReader | None = runs[0] if runs else None

    @property
    def is_of_references(self) -> bool:
        """Whether the candidate is a second reference."""
        return self.candidate.manifest.side == "reference"

    def weights(self) -> Iterator[Weight]:
        """Yield the parameters that differ, in the reference's order."""
        theirs, ours = self.reference.manifest.weights, self.candidate.manifest.weights
        for pair in self.result.pairs:
            if pair.stage == "weights" and pair.mode == "audit" and pair.verdict != "MATCH":
                yield Weight(
                    pair=pair, reference=theirs.get(pair.address), candidate=ours.get(pair.address), evidence=self
                )

    def settings(self) -> Iterator[Setting]:
        """Yield the attributes that differ and are not without effect, each with all places where both values are the same."""
        places: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for pair in self.result.pairs:
            if pair.stage == "attributes" and pair.verdict == "MISMATCH" and "equivalent" not in pair.flags:
                path, name = path_of(pair.address), port_of(pair.address).removeprefix(_ATTRIBUTE)
                values = repr(self.attribute(path, name)), repr(self._reported(path, name))
                places[name, *values].append(path)
        for (name, _, _), paths in places.items():
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
        by_path: dict[str, list[Pair]] = defaultdict(list)
        for pair in self.failing:
            by_path[path_of(pair.address)].append(pair)
        for path, pairs in by_path.items():
            if not any(program.contains(path, other) for other in by_path):
                yield Suspect(path=path, pairs=tuple(pairs), evidence=self)

    def inputs(self, place: str) -> dict[str, np.ndarray]:
        """Return the recorded tensors that one call took, by key, in float64."""
        return {key: self.reference_run.wide(address) for key, address in self._inputs[place].items()}

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
        rows = self.candidate.manifest.alignment or []
        return next((row.native for row in rows if row.path == path), path)

    @cached_property
    def _inputs(self) -> dict[str, dict[str, str]]:
        """The addresses of the reference's input tensors by place and key."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for record in self.reference_run.records:
            port = port_of(record.address)
            if port.startswith(_INPUT) and record.kind == "tensor":
                found[place_of(record.address)][port.removeprefix(_INPUT)] = record.address
        return found


def _working_run(trace: Trace) -> RunReader:
    """Return the working run of a recording."""
    names = [name for name in trace.runs if trace.run(name).info.mode == "run"]
    return trace.run(next((name for name in names if name != "float64"), names[0]))
