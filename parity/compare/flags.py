"""Flags that relate pairs to each other: `inherited` and `equivalent`.

`inherited`: a pair fails in the free or the step replay, its layer replay at the same address matches, and
something before it failed in the same run (in the same step, where every step starts anew). The last
condition keeps the first failure of a run a finding: a sampler that takes its noise one step late is right
layer by layer, and nothing before it is wrong. So does the rule that a module whose recorded inputs all
match has nothing to inherit.

`equivalent`: an attribute differs, and every float64 output of the layer replay at its module and below matches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from parity.compare.summary import failing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from parity.components import Components
    from parity.result import Flag, Pair, Question, Verdict

__all__ = ["relate"]

_RELATIVE: Final[frozenset[Flag]] = frozenset({"inherited", "equivalent"})


def relate(pairs: Sequence[Pair], program: Components) -> None:
    """Set the flags of all pairs of a program anew; `contains` and the flags of a pair by itself stay."""
    for pair in pairs:
        if not _RELATIVE.isdisjoint(pair.flags):
            pair.flags = [flag for flag in pair.flags if flag not in _RELATIVE]
    local = {(pair.address, pair.question, pair.dtype): pair.verdict for pair in pairs if pair.mode == "layers"}
    runs: dict[tuple[str, str, str | None], list[Pair]] = {}
    for pair in pairs:
        if pair.mode in {"free", "steps"}:
            runs.setdefault((pair.mode, pair.question, pair.dtype), []).append(pair)
    for members in runs.values():
        _inherit(members, local, program)
    _equivalents(pairs)


def _split(address: str) -> tuple[str, str]:
    """Return path with index, and port."""
    place, _, port = address.rpartition(":")
    return place, port


def _step(place: str) -> str:
    """Return the step of a place as text, empty outside the loop."""
    index = place.partition("@")[2]
    return index.partition(",")[0] if index.startswith("step=") else ""


def _inherit(
    members: list[Pair], local: Mapping[tuple[str, Question, str | None], Verdict], program: Components
) -> None:
    """Flag what a run's failing pairs inherited, in order of completion."""
    if not any(failing(pair) for pair in members):
        return
    members.sort(key=lambda pair: pair.order)
    inputs: dict[str, bool] = {}
    for pair in members:
        place, port = _split(pair.address)
        if port.startswith("input") and pair.verdict in {"MATCH", "MISMATCH", "INCOMPARABLE"}:
            inputs[place] = inputs.get(place, False) or failing(pair)
    failed: dict[str, list[str]] = {}
    for pair in members:
        if not failing(pair):
            continue
        place, port = _split(pair.address)
        scope = _step(place) if pair.mode == "steps" else ""
        before = failed.setdefault(scope, [])
        matches_alone = local.get((pair.address, pair.question, pair.dtype)) == "MATCH"
        if matches_alone and before and not (port.startswith("output") and _clean(place, inputs, before, program)):
            pair.flags.append("inherited")
        before.append(place)


def _clean(place: str, inputs: dict[str, bool], before: list[str], program: Components) -> bool:
    """Tell whether all recorded inputs of a call match and nothing inside it failed."""
    if inputs.get(place, True):
        return False
    path, _, index = place.partition("@")
    return not any(
        program.contains(path, other.partition("@")[0]) and other.partition("@")[2] == index for other in before
    )


def _equivalents(pairs: Sequence[Pair]) -> None:
    """Flag attributes that differ without any effect on outputs."""
    differing = [pair for pair in pairs if pair.stage == "attributes" and pair.verdict == "MISMATCH"]
    if not differing:
        return
    outputs = list(_float64_outputs(pairs))
    for pair in differing:
        path = pair.address.partition(":")[0]
        below = [ok for where, ok in outputs if where == path or where.startswith(path + ".")]
        if below and all(below):
            pair.flags.append("equivalent")


def _float64_outputs(pairs: Iterable[Pair]) -> Iterable[tuple[str, bool]]:
    """Yield path and success of every output of the float64 layer replay."""
    for pair in pairs:
        if pair.question == "semantics" and pair.mode == "layers":
            place, port = _split(pair.address)
            if port.startswith("output"):
                yield place.partition("@")[0], pair.verdict == "MATCH"
