"""Causes that the audits prove exactly: a weight in another layout, an attribute with another value."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from parity.address import Address
from parity.repair import AttributeEdit, WeightEdit
from parity.result import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.diagnose.evidence import Evidence
    from parity.repair import Edit
    from parity.result import Pair

__all__ = ["from_attributes", "from_weights"]

# What the audit says of a weight -> (slug, repair in words). The layout's own name is in the evidence.
_LAYOUTS = {"transpose": "transposed-weight", "transpose01": "transposed-weight", "transpose23": "transposed-weight"}
_LAYOUT_NAMES = {
    "transpose": "transpose",
    "transpose01": "transpose of its first two axes",
    "transpose23": "transpose of its last two axes",
}
_ABSENT = {"weight-not-loaded": "parameters never loaded", "weight-missing": "parameters that one side lacks"}
_ATTRIBUTE_SLUGS = {
    "eps": "norm-epsilon",
    "approximate": "activation-variant",
    "activation": "activation-variant",
    "scale": "attention-scale",
    "heads": "attention-heads",
    "num_groups": "norm-groups",
    "pad": "padding",
    "pad_value": "padding",
}


def from_weights(evidence: Evidence) -> Iterator[Cause]:
    """Yield one cause for each weight that differs, from the digests of both sides, and one for all that are absent."""
    absent: dict[str, list[tuple[Pair, Cause]]] = {slug: [] for slug in _ABSENT}
    for pair in evidence.result.pairs:
        if pair.stage == "weights" and pair.mode == "audit" and pair.verdict != "MATCH":
            cause = _weight(evidence, pair)
            if cause.slug in absent:
                absent[cause.slug].append((pair, cause))
            else:
                yield cause
    for found in absent.values():
        if found:
            yield _together(evidence, [pair.address for pair, _ in found], [cause for _, cause in found])


def _together(evidence: Evidence, addresses: list[str], causes: list[Cause]) -> Cause:
    """Return one cause for parameters that are absent for the same reason, with how many of which component."""
    first = causes[0]
    if len(causes) > 1:
        paths = list(dict.fromkeys(address.partition(":")[0] for address in addresses))
        first.address, first.others = paths[0], paths[1:]
        first.evidence.insert(0, f"{_ABSENT[first.slug]}: {_shares(evidence, addresses)}")
        first.repair += f", and likewise for the other {len(causes) - 1}"
    unused = evidence.candidate.manifest.provenance.get("unused_tensors")
    if unused and first.slug == "weight-not-loaded":
        first.evidence.append(f"{len(unused)} tensors of the checkpoint fill no parameter, {unused[0]} among them")
    return first


def _shares(evidence: Evidence, addresses: list[str]) -> str:
    """Say how many of each component's parameters these are."""
    total = Counter(address.partition(".")[0] for address in evidence.reference.manifest.weights)
    share = Counter(address.partition(".")[0] for address in addresses)
    parts = [
        f"all {count} of {name}" if count == total[name] else f"{count} of {total[name]} of {name}"
        for name, count in share.items()
    ]
    return ", ".join(parts)


def _weight(evidence: Evidence, pair: Pair) -> Cause:
    """Return the cause of one weight's difference, as exactly as the digests allow."""
    ours = evidence.candidate.manifest.weights.get(pair.address)
    theirs = evidence.reference.manifest.weights.get(pair.address)
    native = f" (native {ours.native})" if ours is not None and ours.native else ""
    if ours is None or theirs is None:
        side = "candidate" if ours is None else "reference"
        return _cause("weight-missing", pair, [f"the {side} has no such parameter"], "map the parameter's name", [])
    if ours.initial:
        facts = [f"the candidate's parameter{native} was never loaded; it still has its initial value"]
        return _cause("weight-not-loaded", pair, facts, f"map a tensor of the checkpoint to {ours.native}", [])
    own = ours.digests.get("identity/own")
    same = [name for name, digest in theirs.digests.items() if digest == own and name != "identity/own"]
    for layout, rounding in (name.split("/") for name in same):
        if rounding == "own" and layout in _LAYOUTS:
            words = _LAYOUT_NAMES[layout]
            facts = [f"the candidate's weight{native} equals the reference's {words}, exactly (digest {own})"]
            facts.append(f"shape {list(theirs.shape)}: square, so no shape check could see it")
            repair = (
                f"transpose {ours.native or pair.address} once more when the checkpoint is made (weight = weight.T)"
            )
            edits: list[Edit] = [WeightEdit(address=pair.address, change=layout)]  # type: ignore[arg-type]
            return _cause(_LAYOUTS[layout], pair, facts, repair, edits)
        if rounding == "own" and layout.startswith("flip"):
            facts = [f"the candidate's weight{native} equals the reference's flipped along axis {layout[4:]}, exactly"]
            edits = [WeightEdit(address=pair.address, change=layout)]  # type: ignore[arg-type]
            return _cause("flipped-weight", pair, facts, f"do not flip axis {layout[4:]} of {ours.native}", edits)
        if layout == "identity":
            facts = [f"the candidate's weight{native} equals the reference's rounded to {rounding}, exactly"]
            return _cause("half-precision-weight", pair, facts, "convert from the file of full precision", [])
    return _cause_of_foreign(evidence, pair, own, native)


def _cause_of_foreign(evidence: Evidence, pair: Pair, own: str | None, native: str) -> Cause:
    """Return `swapped-weight` when the value is another tensor of the reference, else `different-weight`."""
    for address, theirs in evidence.reference.manifest.weights.items():
        if address != pair.address and theirs.digests.get("identity/own") == own:
            facts = [f"the candidate's weight{native} equals the reference's {address}, exactly"]
            return _cause("swapped-weight", pair, facts, f"load {pair.address} here and not {address}", [])
    facts = [
        f"the candidate's weight{native} differs from the reference's in value; the kind is unknown: {pair.detail}"
    ]
    return _cause("different-weight", pair, facts, "compare how both sides make this tensor from the checkpoint", [])


def _cause(slug: str, pair: Pair, evidence: list[str], repair: str, edits: list[Edit]) -> Cause:
    """Return an exact cause at the module that owns the weight."""
    address = Address.parse(pair.address)
    return Cause(
        slug=slug, address=address.path if address.port == "weight" else str(address), confirmed=False, confidence=1.0,
        evidence=evidence, repair=repair, edits=[_plain(edit) for edit in edits],
    )  # fmt: skip


def _plain(edit: Edit) -> dict[str, Any]:
    """Return an edit as plain JSON data."""
    plain: dict[str, Any] = msgspec.to_builtins(edit)
    return plain


def from_attributes(evidence: Evidence) -> Iterator[Cause]:
    """Yield one cause for each kind of attribute difference, with all its places."""
    groups: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in evidence.result.pairs:
        if pair.stage == "attributes" and pair.verdict == "MISMATCH" and "equivalent" not in pair.flags:
            name = Address.parse(pair.address).port.removeprefix("attribute.")
            groups[name, *_values(evidence, pair)].append(pair)
    for (name, reference, candidate), pairs in groups.items():
        first = Address.parse(pairs[0].address)
        paths = [Address.parse(pair.address).path for pair in pairs]
        value = evidence.attribute(first.path, name)
        yield Cause(
            slug=_ATTRIBUTE_SLUGS.get(name, "attribute-differs"),
            address=first.path,
            others=paths[1:],
            confirmed=False,
            confidence=0.9,
            evidence=[
                f"attribute {name} is {reference} in the reference and {candidate} in the candidate, at {_places(paths)}"
            ],
            repair=f"set {name} to {reference} in {_natives(evidence, paths)}",
            edits=[_plain(AttributeEdit(path=path, name=name, value=value)) for path in paths],
        )


def _values(evidence: Evidence, pair: Pair) -> tuple[str, str]:
    """Return both values of an attribute as text."""
    address = Address.parse(pair.address)
    name = address.port.removeprefix("attribute.")
    ours = evidence.candidate.manifest.attributes.get(address.path, {}).get(name)
    return repr(evidence.attribute(address.path, name)), repr(ours)


def _places(paths: list[str]) -> str:
    """Return how many places, and which kind of path, in words."""
    if len(paths) == 1:
        return paths[0]
    kinds = sorted({re.sub(r"\.\d+", ".*", path) for path in paths})
    return f"{len(paths)} places ({', '.join(kinds[:3])}{', …' if len(kinds) > 3 else ''})"  # noqa: PLR2004 - three are enough to see the kind


def _natives(evidence: Evidence, paths: list[str]) -> str:
    """Return the candidate's own name of the first path, and how many more there are."""
    rows = evidence.candidate.manifest.alignment or []
    native = next((row.native for row in rows if row.path == paths[0]), paths[0])
    return native if len(paths) == 1 else f"{native} and {len(paths) - 1} more"
