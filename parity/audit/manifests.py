"""What two manifests say: weights by digest, attributes by value.

The recorder stores for every parameter the digests of what commonly becomes of it (transposed, flipped,
rounded to a half type), the candidate the digest of what it loaded, pulled back to the reference's name,
layout and shape. So a wrong parameter is not only found but often named:

    MISMATCH  text_encoder_2.text_projection:weight  equals the reference's transpose
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import filterfalse
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from parity.address import place_of, port_of
from parity.changes import Change, variant_of
from parity.digests import UNCHANGED, digest
from parity.dtypes import storage
from parity.result import Pair, Worst

if TYPE_CHECKING:
    from parity.result import Verdict
    from parity.trace.schema import Manifest, WeightDigests

__all__ = ["audit_attributes", "audit_weights", "same_attribute", "weight_address"]

_INITIAL: Final = frozenset({"float64", "float32", "float16"})
_FLOAT32_EPS: Final = 2.0**-23

_LACKING: Final = {"MISSING": "candidate", "UNEXPECTED": "reference"}
"""Which side has no such parameter, by the verdict."""


class _Found(NamedTuple):
    """Where in the reference a digest occurs: a parameter, and which form of it, `LAYOUT/ROUNDING`."""

    address: str
    form: str


Index = Mapping[str, Sequence[_Found]]
"""From a digest to where in the reference it occurs."""


def weight_address(name: str) -> str:
    """Return a parameter's address, `PATH:weight`, also when it is named `PATH.weight`."""
    if port_of(name):
        return name
    owner, _, port = name.rpartition(".")
    return f"{owner}:{port}"


def audit_weights(reference: Manifest, candidate: Manifest) -> list[Pair]:
    """Compare the digests of all parameters; what the candidate says it does not compare is left out.

    The reference's buffers that a candidate may make itself are compared where the candidate has them.
    """
    weights, theirs = _by_address(reference.weights), _by_address(candidate.weights)
    buffers = {address: each for address, each in _by_address(reference.buffers).items() if address in theirs}
    ours = weights | buffers
    index = _index(ours)
    pairs = []
    for order, (address, wanted) in enumerate(ours.items()):
        if address in theirs:
            pairs.append(_weight_pair(address, order, wanted, theirs[address], index))
        elif place_of(address) not in candidate.not_compared:
            pairs.append(_one_sided(address, "MISSING", order, wanted))
    unexpected = filterfalse(ours.__contains__, theirs)
    pairs += [_one_sided(address, "UNEXPECTED", len(ours), theirs[address]) for address in unexpected]
    return pairs


def _one_sided(address: str, verdict: Literal["MISSING", "UNEXPECTED"], order: int, weight: WeightDigests) -> Pair:
    """Return the pair of a parameter that one side lacks."""
    detail = f"the {_LACKING[verdict]} has no such parameter"
    return _pair(address, verdict, order, detail, native=weight.native, shape=weight.shape)


def _by_address(weights: Mapping[str, WeightDigests]) -> dict[str, WeightDigests]:
    """Return the digests of one side's parameters by address."""
    return {weight_address(name): digests for name, digests in weights.items()}


def _index(weights: Mapping[str, WeightDigests]) -> Index:
    """Return for each digest where in the reference it occurs."""
    index: dict[str, list[_Found]] = defaultdict(list)
    for address, weight in weights.items():
        for form, mark in weight.digests.items():
            index[mark].append(_Found(address, form))
    return index


def _weight_pair(address: str, order: int, wanted: WeightDigests, found: WeightDigests, index: Index) -> Pair:
    """Compare one parameter."""
    pair = _pair(address, "MATCH", order, "", native=found.native, shape=wanted.shape)
    pair.basis, pair.limit = "exact", "equal digests"
    change = _difference(address, wanted, found, index)
    if change is not None:
        pair.verdict, pair.change, pair.detail = "MISMATCH", change.kind, change.words
    if found.shape != wanted.shape:
        pair.verdict = "INCOMPARABLE"
        shapes = f"shape {list(found.shape)}; the reference has {list(wanted.shape)}"
        pair.detail = "; ".join(filter(None, (shapes, pair.detail)))
    return pair


def _difference(address: str, wanted: WeightDigests, found: WeightDigests, index: Index) -> Change | None:
    """Say how a parameter's value differs; nothing where it is the reference's."""
    if found.initial:
        return Change("initial", "still at its initial value")
    loaded = found.digests.get(UNCHANGED, "")
    if loaded == wanted.digests.get(UNCHANGED):
        return None
    initial = _initial(found, loaded)
    if initial is not None:
        return initial
    return explain(address, loaded, index)


def _initial(found: WeightDigests, unknown: str) -> Change | None:
    """Say that all elements of a parameter are zeros or ones, where they are."""
    if found.dtype not in _INITIAL:
        return None
    dtype = storage(found.dtype)
    for value, words in ((0, "all zeros"), (1, "all ones")):
        if digest(np.full(found.shape, value, dtype)) == unknown:
            return Change("initial", words)
    return None


def explain(address: str, loaded: str, index: Index) -> Change:
    """Say what a digest is the digest of: a variant of this parameter, another parameter, or unknown."""
    found = index.get(loaded)
    if not found:
        return Change("different", "different, kind unknown")
    # This parameter rather than another, and a parameter as it stands rather than changed.
    told = min(found, key=lambda each: (each.address != address, each.form != UNCHANGED))
    variant = variant_of(told.form)
    if told.address == address:
        return variant
    said = f"equals the reference's {told.address}"
    if told.form != UNCHANGED:
        said += f", {variant.words}"
    others = {each.address for each in found} - {told.address}
    if others:
        said += f" and {len(others)} others"
    return Change("another tensor", said)


def audit_attributes(reference: Manifest, candidate: Manifest) -> list[Pair]:
    """Compare the attributes that both sides report."""
    pairs: list[Pair] = []
    for path, attributes in reference.attributes.items():
        theirs = candidate.attributes.get(path, {})
        for name, wanted in attributes.items():
            if name in theirs:
                pairs.append(_attribute_pair(f"{path}:attribute.{name}", len(pairs), wanted, theirs[name]))
    return pairs


def _attribute_pair(address: str, order: int, wanted: Any, found: Any) -> Pair:
    """Compare one attribute."""
    if same_attribute(wanted, found):
        pair = _pair(address, "MATCH", order, "", stage="attributes")
    else:
        name = port_of(address).removeprefix("attribute.")
        detail = f"{name} is {found!r}; the reference has {wanted!r}"
        pair = _pair(address, "MISMATCH", order, detail, stage="attributes")
    pair.basis, pair.limit = "exact", "equal, floats up to float32 rounding"
    pair.worst = Worst(index=(), reference=_shown(wanted), candidate=_shown(found))
    return pair


def same_attribute(first: Any, second: Any) -> bool:
    """Tell whether two attribute values are equal, floats up to the rounding of float32."""
    match first, second:
        case (list() | tuple(), list() | tuple()):
            if len(first) != len(second):
                return False
            return all(map(same_attribute, first, second))
        case (bool(), _) | (_, bool()) | (None, _) | (_, None):
            return first is second  # True is no 1, and None no 0
        case (int() | float(), int() | float()):
            return math.isclose(first, second, rel_tol=_FLOAT32_EPS)
    return bool(first == second)


def _shown(value: object) -> float | str:
    """Return a value as a result can hold it: a finite number, a text, or how Python writes it."""
    match value:
        case bool():
            return repr(value)
        case int() | float() if math.isfinite(value):
            return float(value)
        case str():
            return value
    return repr(value)


def _pair(
    address: str,
    verdict: Verdict,
    order: int,
    detail: str,
    *,
    stage: str = "weights",
    native: str | None = None,
    shape: tuple[int, ...] = (),
) -> Pair:
    """Make an audit pair; of a parameter the candidate's own name and the shape are told."""
    return Pair(
        address=address,
        native=native,
        stage=stage,
        question="audit",
        mode="audit",
        verdict=verdict,
        order=order,
        shape=shape,
        detail=detail,
    )
