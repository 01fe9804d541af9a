"""What the diagnosis may look at: the result, the two traces, and nothing else.

`Evidence` indexes them. A suspect is a path whose layer replay fails while none of its descendants' does: the
fault sits in that module itself. Fits use the float64 layer replay, where the rounding is far below any fault, and
fall back to the working type's when there is no float64 run.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.address import Address, contains

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from parity.result import Pair, Result
    from parity.trace import RunReader, Trace

__all__ = ["Call", "Evidence", "Suspect", "relative"]


def relative(candidate: np.ndarray, reference: np.ndarray) -> float:
    """Return |candidate - reference| / |reference| in the 2-norm; infinite where shapes differ."""
    if candidate.shape != reference.shape:
        return float("inf")
    scale = float(np.linalg.norm(reference.ravel()))
    distance = float(np.linalg.norm((candidate - reference).ravel()))
    return distance / scale if scale else (0.0 if distance == 0 else float("inf"))


@dataclass(frozen=True, kw_only=True)
class Call:
    """One failing call of a suspect, in float64."""

    address: Address
    reference: np.ndarray
    candidate: np.ndarray
    inputs: dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A path that is wrong by itself."""

    path: str
    pairs: tuple[Pair, ...]

    @property
    def worst(self) -> Pair:
        """The pair with the largest relative difference."""
        return max(self.pairs, key=lambda pair: pair.rel_l2 if isinstance(pair.rel_l2, float) else float("inf"))


class Evidence:
    """The result and the traces, indexed for the hypotheses."""

    def __init__(self, result: Result, reference: Trace, candidates: Sequence[Trace]) -> None:
        """Index `result`; tensors are read when a hypothesis asks. Weights are those of the first candidate."""
        self.result, self.reference, self.candidate = result, reference, candidates[0]
        self.semantic = any(pair.question == "semantics" and pair.mode == "layers" for pair in result.pairs)
        question = "semantics" if self.semantic else "precision"
        self.layers = [pair for pair in result.pairs if pair.mode == "layers" and pair.question == question]
        self.failing = [pair for pair in self.layers if pair.verdict in {"MISMATCH", "INCOMPARABLE"}]
        working = str(reference.manifest.case.get("precision", {}).get("dtype", "float32"))
        dtype = "float64" if self.semantic or working not in reference.runs else working
        self.reference_run: RunReader = reference.run(dtype)
        runs = [trace.run(f"layers-{dtype}") for trace in candidates if f"layers-{dtype}" in trace.runs]
        self.candidate_run: RunReader | None = runs[0] if runs else None

    def suspects(self) -> Iterator[Suspect]:
        """Yield the innermost failing paths, in order of completion."""
        by_path: dict[str, list[Pair]] = defaultdict(list)
        for pair in self.failing:
            by_path[Address.parse(pair.address).path].append(pair)
        for path, pairs in by_path.items():
            if not any(contains(path, other) for other in by_path):
                yield Suspect(path=path, pairs=tuple(pairs))

    def calls(self, suspect: Suspect) -> Iterator[Call]:
        """Yield the suspect's failing calls with their inputs; nothing when a side has no such run."""
        if self.candidate_run is None:
            return
        for pair in suspect.pairs:
            if pair.address in self.candidate_run and pair.address in self.reference_run:
                address = Address.parse(pair.address)
                yield Call(
                    address=address,
                    reference=self.reference_run.wide(pair.address),
                    candidate=self.candidate_run.wide(pair.address),
                    inputs=self.inputs(address),
                )

    def inputs(self, address: Address) -> dict[str, np.ndarray]:
        """Return the recorded tensors that the module took, by key, in float64."""
        found = {}
        for record in self._records(address):
            if record.kind == "tensor":
                found[Address.parse(record.address).port.removeprefix("input.")] = self.reference_run.wide(
                    record.address
                )
        return found

    def recorded(self, path: str, near: Address, port: str = "output") -> np.ndarray | None:
        """Return the reference's tensor of another path in the same step and call, or None."""
        for call in (near.call, None):
            text = str(Address(path=path, step=near.step, call=call, port=port))
            if text in self.reference_run:
                return self.reference_run.wide(text)
        return None

    def attribute(self, path: str, name: str) -> Any:
        """Return the reference's attribute of a path, or None."""
        return self.reference.manifest.attributes.get(path, {}).get(name)

    def module(self, path: str) -> str:
        """Return the class of the reference's module at a path, or nothing."""
        return self.reference.manifest.modules.get(path, "")

    def _records(self, address: Address) -> list[Any]:
        """Return the reference's input records of one call."""
        if not hasattr(self, "_inputs"):
            self._inputs: dict[str, list[Any]] = defaultdict(list)
            for record in self.reference_run.records:
                head, _, port = record.address.rpartition(":")
                if port.startswith("input."):
                    self._inputs[head].append(record)
        return self._inputs[f"{address.path}{address.index}"]
