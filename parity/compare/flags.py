"""Flags that relate pairs to each other: `inherited` and `equivalent`.

`inherited`: a pair fails in the free or the step replay, its layer replay at the same address matches, and
something before it failed in the same run (in the same step, where every step starts anew). The last
condition keeps the first failure of a run a finding: a sampler that takes its noise one step late is right
layer by layer, and nothing before it is wrong. So does the rule that a module whose recorded inputs all
match has nothing to inherit.

`equivalent`: an attribute differs, and every float64 output of the layer replay at its module and below matches.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from parity.address import index_of, is_input, is_output, path_of, place_of, step_of
from parity.compare.summary import failing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parity.components import Components
    from parity.result import Flag, Pair, PairMode, Question

__all__ = ["relate"]

_RELATIVE: Final[frozenset[Flag]] = frozenset({"inherited", "equivalent"})
_INHERITING: Final = frozenset({"free", "steps"})
_COMPARED: Final = frozenset({"MATCH", "MISMATCH", "INCOMPARABLE"})


def relate(pairs: Sequence[Pair], program: Components) -> None:
    """Set the flags of all pairs of a program anew; `contains` and the flags of a pair by itself stay."""
    runs: defaultdict[tuple[PairMode, Question, str | None], list[Pair]] = defaultdict(list)
    for pair in pairs:
        if not _RELATIVE.isdisjoint(pair.flags):
            pair.flags = [flag for flag in pair.flags if flag not in _RELATIVE]
        runs[pair.mode, pair.question, pair.dtype].append(pair)
    for (mode, question, dtype), members in runs.items():
        if mode in _INHERITING and any(map(failing, members)):
            alone = runs.get(("layers", question, dtype), ())
            right = {pair.address for pair in alone if pair.verdict == "MATCH"}
            in_order = sorted(members, key=lambda pair: pair.order)
            _inherit(in_order, right, program)
    _flag_equivalents(pairs)


def _inherit(members: Sequence[Pair], right: set[str], program: Components) -> None:
    """Flag what a run's failing pairs inherited.

    Args:
        members: The run's pairs, in order of completion.
        right: The addresses that match in the layer replay.
        program: What says which module is a part of which.
    """
    clean = _places_with_right_inputs(members)
    failed: defaultdict[int | None, list[str]] = defaultdict(list)
    for pair in filter(failing, members):
        address = pair.address
        # Every step of the step replay starts from the reference's latents, so it inherits from itself alone.
        scope = step_of(address) if pair.mode == "steps" else None
        before = failed[scope]
        if before and address in right and not _arises_at(address, clean, before, program):
            pair.flags.append("inherited")
        before.append(place_of(address))


def _places_with_right_inputs(members: Iterable[Pair]) -> set[str]:
    """Return the calls of which inputs are compared, and all of them match."""
    right: set[str] = set()
    wrong: set[str] = set()
    for pair in members:
        if not is_input(pair.address) or pair.verdict not in _COMPARED:
            continue
        place = place_of(pair.address)
        if failing(pair):
            wrong.add(place)
        else:
            right.add(place)
    return right - wrong


def _arises_at(address: str, clean: set[str], failed: Iterable[str], program: Components) -> bool:
    """Tell whether an output is wrong of itself: the inputs of its call are right, and no part of it failed before."""
    if not is_output(address) or place_of(address) not in clean:
        return False
    path, index = path_of(address), index_of(address)
    same_call = [path_of(place) for place in failed if index_of(place) == index]
    return not any(program.contains(path, other) for other in same_call)


def _flag_equivalents(pairs: Sequence[Pair]) -> None:
    """Flag attributes that differ without any effect on outputs: those of the float64 layer replay at or below them."""
    differing = [pair for pair in pairs if pair.stage == "attributes" and pair.verdict == "MISMATCH"]
    if not differing:
        return
    alone = [pair for pair in pairs if pair.mode == "layers" and pair.question == "semantics"]
    outputs = [pair for pair in alone if is_output(pair.address)]
    for pair in differing:
        verdicts = _verdicts_below(path_of(pair.address), outputs)
        if verdicts == {"MATCH"}:
            pair.flags.append("equivalent")


def _verdicts_below(path: str, pairs: Iterable[Pair]) -> set[str]:
    """Return the verdicts of pairs of a module and of all below it."""
    found: set[str] = set()
    inside = path + "."
    for pair in pairs:
        where = path_of(pair.address)
        if where == path or where.startswith(inside):
            found.add(pair.verdict)
    return found
