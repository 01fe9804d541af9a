"""Audits: weights by digest, attributes by value. Exact, and first in the order of execution.

The recorder stores for every parameter the digests of what commonly becomes of it (transposed, flipped,
rounded to a half type), the candidate the digest of what it loaded, pulled back to the reference's name,
layout and shape. So a wrong parameter is not only found but often named:

    MISMATCH  text_encoder_2.text_projection:weight  equals the reference's transpose
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from parity.address import port_of
from parity.result import Pair, Worst

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parity.result import Verdict
    from parity.trace.schema import Manifest, WeightDigests

__all__ = ["audit_attributes", "audit_weights", "same_attribute", "weight_address"]

_SAME: Final = "identity/own"
_FLOAT32_EPS: Final = 2.0**-23
_ROUNDINGS: Final = ("own", "float16", "bfloat16")


def weight_address(name: str) -> str:
    """Return a parameter's address, `PATH:weight`, also when it is named `PATH.weight`."""
    if ":" in name:
        return name
    owner, _, port = name.rpartition(".")
    return f"{owner}:{port}"


def audit_weights(reference: Manifest, candidate: Manifest) -> list[Pair]:
    """Compare the digests of all parameters; what the candidate says it does not compare is left out."""
    theirs = {weight_address(name): digests for name, digests in candidate.weights.items()}
    ours = {weight_address(name): digests for name, digests in reference.weights.items()}
    index = _index(ours)
    pairs = []
    for order, (address, wanted) in enumerate(ours.items()):
        found = theirs.get(address)
        if found is not None:
            pairs.append(_weight_pair(address, order, wanted, found, index))
        elif address.partition(":")[0] not in candidate.not_compared:
            pairs.append(_pair(address, "MISSING", order, "the candidate has no such parameter", wanted))
    for address, found in theirs.items():
        if address not in ours:
            detail = "the reference has no such parameter"
            pairs.append(_pair(address, "UNEXPECTED", len(ours), detail, found))
    return pairs


def _index(weights: Mapping[str, WeightDigests]) -> dict[str, list[tuple[str, str]]]:
    """Return for each digest where in the reference it occurs: (address, layout/rounding)."""
    index: dict[str, list[tuple[str, str]]] = {}
    for address, each in weights.items():
        for key, value in each.digests.items():
            index.setdefault(value, []).append((address, key))
    return index


def _weight_pair(
    address: str, order: int, wanted: WeightDigests, found: WeightDigests, index: Mapping[str, list[tuple[str, str]]]
) -> Pair:
    """Compare one parameter."""
    digest = found.digests.get(_SAME, "")
    verdict: Verdict = "MATCH" if digest == wanted.digests.get(_SAME) else "MISMATCH"
    detail = ""
    if verdict == "MISMATCH" or found.initial:
        detail = "still at its initial value" if found.initial else explain(address, digest, wanted, index)
        verdict = "MISMATCH"
    if found.shape != wanted.shape:
        verdict = "INCOMPARABLE"
        detail = f"shape {list(found.shape)}; the reference has {list(wanted.shape)}" + (
            f"; {detail}" if detail else ""
        )
    pair = _pair(address, verdict, order, detail, found)
    pair.shape = wanted.shape
    pair.basis, pair.limit = "exact", "equal digests"
    return pair


def explain(address: str, digest: str, wanted: WeightDigests, index: Mapping[str, list[tuple[str, str]]]) -> str:
    """Say what a digest is the digest of: a variant of this parameter, another parameter, or unknown."""
    for key, value in wanted.digests.items():
        if value == digest and digest:
            return _variant(key)
    others = [(where, key) for where, key in index.get(digest, []) if where != address]
    if others:
        where, key = min(others, key=lambda item: item[1] != _SAME)
        more = len({each for each, _ in others}) - 1
        text = f"equals the reference's {where}" + ("" if key == _SAME else f", {_variant(key)}")
        return text + (f" and {more} others" if more else "")
    return "different, kind unknown"


def _variant(key: str) -> str:
    """Say in words what `transpose/float16` means."""
    layout, _, rounding = key.partition("/")
    changes = []
    if layout == "transpose":
        changes.append("equals the reference's transpose")
    elif layout.startswith("flip"):
        changes.append(f"flipped axis {layout.removeprefix('flip')}")
    elif layout != "identity":
        changes.append(layout)
    if rounding in _ROUNDINGS[1:]:
        changes.append(f"the reference's value rounded to {rounding}" if not changes else f"rounded to {rounding}")
    return ", ".join(changes)


def audit_attributes(reference: Manifest, candidate: Manifest) -> list[Pair]:
    """Compare the attributes that both sides report."""
    pairs = []
    order = 0
    for path, attributes in reference.attributes.items():
        theirs = candidate.attributes.get(path, {})
        for name, wanted in attributes.items():
            if name not in theirs:
                continue
            equal = same_attribute(wanted, theirs[name])
            detail = "" if equal else f"{name} is {theirs[name]!r}; the reference has {wanted!r}"
            pair = _pair(f"{path}:attribute.{name}", "MATCH" if equal else "MISMATCH", order, detail)
            pair.basis, pair.limit = "exact", "equal, floats up to float32 rounding"
            pair.worst = Worst(index=(), reference=_shown(wanted), candidate=_shown(theirs[name]))
            pairs.append(pair)
            order += 1
    return pairs


def same_attribute(first: Any, second: Any) -> bool:
    """Tell whether two attribute values are equal, floats up to the rounding of float32."""
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(same_attribute, first, second))
    if isinstance(first, bool) or isinstance(second, bool) or first is None or second is None:
        return first is second
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return first == second or math.isclose(first, second, rel_tol=_FLOAT32_EPS)
    return type(first) is type(second) and first == second


def _shown(value: object) -> float | str:
    """Return a value as a result can hold it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return value if isinstance(value, str) else repr(value)


def _pair(address: str, verdict: Verdict, order: int, detail: str, weight: WeightDigests | None = None) -> Pair:
    """Make an audit pair; of a parameter the candidate's own name and the shape are told."""
    return Pair(
        address=address,
        native=None if weight is None else weight.native,
        stage="attributes" if port_of(address).startswith("attribute.") else "weights",
        question="audit",
        mode="audit",
        verdict=verdict,
        order=order,
        shape=() if weight is None else weight.shape,
        detail=detail,
    )
