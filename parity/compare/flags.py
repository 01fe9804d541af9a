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
from functools import cached_property, partial
from itertools import filterfalse
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from parity.address import index_of, is_input, is_output, path_of, place_of, step_of
from parity.compare.summary import failing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from parity.components import Components
    from parity.result import Flag, Pair, PairMode, Question

__all__ = ["relate"]

_RELATIVE: Final[frozenset[Flag]] = frozenset({"inherited", "equivalent"})


def _whole_run(_: str) -> None:
    """Return the one scope of a run that never starts anew."""


_SCOPE: Final[dict[str, Callable[[str], int | None]]] = {"free": _whole_run, "steps": step_of}
"""In which replays a failure is handed on, and which part of one an address belongs to: every step of the step replay
starts from the reference's latents, so it inherits from itself alone."""


class _Run:
    """The pairs of one run; what follows from them is worked out when some pair needs it."""

    def __init__(self) -> None:
        """Start without any."""
        self.pairs: list[Pair] = []

    @property
    def failed(self) -> list[Pair]:
        """Those that fail, in order of completion."""
        return sorted(filter(failing, self.pairs), key=attrgetter("order"))

    @cached_property
    def matching(self) -> set[str]:
        """The addresses that match."""
        return {pair.address for pair in self.pairs if pair.verdict == "MATCH"}

    @cached_property
    def outputs(self) -> list[Pair]:
        """The pairs of what modules return."""
        return [pair for pair in self.pairs if is_output(pair.address)]

    @cached_property
    def clean_calls(self) -> set[str]:
        """The calls of which inputs are compared, and all of them match."""
        failed = map(attrgetter("address"), self.failed)
        right, wrong = filter(is_input, self.matching), filter(is_input, failed)
        return set(map(place_of, right)).difference(map(place_of, wrong))

    def verdicts_below(self, path: str) -> set[str]:
        """Return the verdicts of the outputs of a module and of all below it."""
        inside = f"{path}."
        return {pair.verdict for pair in self.outputs if f"{path_of(pair.address)}.".startswith(inside)}


def relate(pairs: Sequence[Pair], program: Components) -> None:
    """Set the flags of all pairs of a program anew; `contains` and the flags of a pair by itself stay."""
    runs: defaultdict[tuple[PairMode, Question, str | None], _Run] = defaultdict(_Run)
    for pair in pairs:
        pair.flags[:] = filterfalse(_RELATIVE.__contains__, pair.flags)
        runs[pair.mode, pair.question, pair.dtype].pairs.append(pair)
    for mode, question, dtype in list(runs):
        if mode in _SCOPE:
            alone = runs["layers", question, dtype]
            _flag_inherited(runs[mode, question, dtype], _SCOPE[mode], alone, program)
    _flag_equivalents(pairs, runs["layers", "semantics", "float64"])


def _flag_inherited(run: _Run, scope_of: Callable[[str], int | None], alone: _Run, program: Components) -> None:
    """Flag what a run's failing pairs inherited.

    Args:
        run: The run.
        scope_of: Tells where in the run an address is; what failed elsewhere is not handed on to it.
        alone: The layer replay, in which every module is given the reference's own inputs.
        program: What says which module is a part of which.
    """
    scopes: set[int | None] = set()
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for pair in run.failed:
        address = pair.address
        scope, path, failed_in_call = scope_of(address), path_of(address), paths[index_of(address)]
        is_part = partial(program.contains, path)
        # Made from right inputs and of parts none of which failed, an output is wrong of itself.
        is_own = is_output(address) and place_of(address) in run.clean_calls and not any(map(is_part, failed_in_call))
        if scope in scopes and address in alone.matching and not is_own:
            pair.flags.append("inherited")
        scopes.add(scope)
        failed_in_call.append(path)


def _flag_equivalents(pairs: Iterable[Pair], alone: _Run) -> None:
    """Flag attributes that differ without any effect on the outputs of the layer replay in float64, at or below them."""
    for pair in filter(_is_wrong_attribute, pairs):
        if alone.verdicts_below(path_of(pair.address)) == {"MATCH"}:
            pair.flags.append("equivalent")


def _is_wrong_attribute(pair: Pair) -> bool:
    """Tell whether a pair is of an attribute that differs."""
    return pair.stage == "attributes" and pair.verdict == "MISMATCH"
