"""Weights: what became of a parameter, by the digests of both sides. Equal digests prove it; no tolerance is involved."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from parity.address import component_of
from parity.changes import variant_of
from parity.diagnose.evidence import ABSENT
from parity.diagnose.hypothesis import FITTED, PROVEN, Hypothesis
from parity.digests import ROUNDINGS
from parity.repair import WeightEdit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from parity.diagnose.evidence import Weight
    from parity.repair import Change

__all__ = [
    "another_parameter",
    "different",
    "flipped",
    "missing",
    "not_loaded",
    "rounded",
    "shares",
    "transposed",
]

_TRANSPOSES: Final[tuple[Change, ...]] = ("transpose", "transpose01", "transpose23")
_FLIPS: Final[dict[Change, int]] = {"flip0": 0, "flip1": 1, "flip2": 2, "flip3": 3}


def not_loaded(weight: Weight) -> Iterator[Hypothesis]:
    """The candidate's parameter was never filled."""
    if weight.reference is ABSENT or weight.pair.change != "initial":
        return
    confidence, said = PROVEN, "was never loaded; it still has its initial value"
    if not weight.candidate.initial:
        confidence, said = FITTED, f"is {weight.pair.detail}, as one is that was never loaded"
    facts = [f"the candidate's parameter{weight.aside} {said}"]
    unused = weight.evidence.candidate.manifest.provenance.get("unused_tensors")
    if unused:
        facts.append(f"{len(unused)} tensors of the checkpoint fill no parameter, {unused[0]} among them")
    yield Hypothesis(
        confidence=confidence,
        evidence=tuple(facts),
        repair=f"map a tensor of the checkpoint to {weight.native}",
    )


def missing(weight: Weight) -> Iterator[Hypothesis]:
    """One side has no such parameter."""
    for side, digests in (("candidate", weight.candidate), ("reference", weight.reference)):
        if digests is ABSENT:
            yield Hypothesis(
                confidence=PROVEN,
                evidence=(f"the {side} has no such parameter",),
                repair="map the parameter's name",
            )


def transposed(weight: Weight) -> Iterator[Hypothesis]:
    """Two axes are exchanged."""
    for change in _TRANSPOSES:
        if weight.equals(change):
            yield Hypothesis(
                confidence=PROVEN,
                evidence=(
                    f"the candidate's weight{weight.aside} {_words(change)}, exactly (digest {weight.digest})",
                    f"shape {list(weight.reference.shape)}: square, so no shape check could see it",
                ),
                repair=f"transpose {weight.native} once more when the checkpoint is made (weight = weight.T)",
                edits=(WeightEdit(address=weight.pair.address, change=change),),
            )


def flipped(weight: Weight) -> Iterator[Hypothesis]:
    """One axis runs backwards."""
    for change, axis in _FLIPS.items():
        if weight.equals(change):
            said = f"the candidate's weight{weight.aside} {_words(change)}, exactly"
            yield Hypothesis(
                confidence=PROVEN,
                evidence=(said,),
                repair=f"do not flip axis {axis} of {weight.native}",
                edits=(WeightEdit(address=weight.pair.address, change=change),),
            )


def _words(change: Change) -> str:
    """Return how an audit says it."""
    return variant_of(f"{change}/own").words


def rounded(weight: Weight) -> Iterator[Hypothesis]:
    """The value went through a half type."""
    for rounding in ROUNDINGS:
        if weight.equals("identity", rounding):
            said = f"the candidate's weight{weight.aside} equals the reference's rounded to {rounding}, exactly"
            yield Hypothesis(
                confidence=PROVEN,
                evidence=(said,),
                repair="convert from the file of full precision",
            )


def another_parameter(weight: Weight) -> Iterator[Hypothesis]:
    """The value is that of another parameter."""
    for address in weight.twins:
        said = f"the candidate's weight{weight.aside} equals the reference's {address}, exactly"
        yield Hypothesis(
            confidence=PROVEN,
            evidence=(said,),
            repair=f"load {weight.pair.address} here and not {address}",
        )


def different(weight: Weight) -> Iterator[Hypothesis]:
    """The value differs in a way that no other cause is, or in no known way."""
    detail = weight.pair.detail
    said = f"the candidate's weight{weight.aside} differs from the reference's in value; the kind is unknown: {detail}"
    if weight.pair.change not in {"", "different"}:
        said = f"the candidate's weight{weight.aside} differs from the reference's in value: {detail}"
    yield Hypothesis(
        confidence=PROVEN,
        evidence=(said,),
        repair="compare how both sides make this tensor from the checkpoint",
    )


def shares(weights: Sequence[Weight]) -> str:
    """Say how many of each component's parameters these are."""
    total = Counter(map(component_of, weights[0].evidence.reference.manifest.weights))
    share = Counter(component_of(weight.pair.address) for weight in weights)
    parts = []
    for name, count in share.items():
        many = f"all {count}" if count == total[name] else f"{count} of {total[name]}"
        parts.append(f"{many} of {name}")
    return ", ".join(parts)
