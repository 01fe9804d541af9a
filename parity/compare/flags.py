"""Flags that relate pairs to each other: `platform-undecided`, `inherited` and `equivalent`.

`platform-undecided`: a module of several operators exceeds its floor in the layer replay by no more than what an operator
inside it may make of the floor on the candidate's platform (`parity.compare.platform`), and in float64 it is right. In the
free and the step replay it is what such a module reaches, or one that comes near its limit, and that is right by itself. Only a replay with these
operators in float64 tells whose excess it is.

`inherited`: a pair fails in the free or the step replay, its layer replay at the same address matches, and
something before it failed in the same run (in the same step, where every step starts anew); what is undecided
hands nothing on. The last condition keeps the first failure of a run a finding: a sampler that takes its noise one step late is right
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
from parity.compare.limits import NEAR, RMS_FACTOR
from parity.compare.summary import failing, is_about_reference
from parity.result import measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from parity.components import Components
    from parity.result import Flag, Pair, PairMode, Question

__all__ = ["UNDECIDED", "relate"]

UNDECIDED: Final[Flag] = "platform-undecided"
_RELATIVE: Final[frozenset[Flag]] = frozenset({"inherited", "equivalent", UNDECIDED})
_MAY_BE: Final = "may be the platform's "
_DECIDES: Final = "(parity diagnose decides)"


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
        """Those that fail and are neither undecided nor for the reference to answer, in order of completion."""
        wrong = filterfalse(is_about_reference, filter(failing, self.in_order))
        return list(filterfalse(_is_undecided, wrong))

    @property
    def in_order(self) -> list[Pair]:
        """All of them in order of completion."""
        return sorted(self.pairs, key=attrgetter("order"))

    @property
    def suspected(self) -> dict[str, dict[str, float]]:
        """The operators that may be to blame for what follows, by the address of what is undecided or near its limit."""
        wrong = set(map(attrgetter("address"), self.failed))
        near = filter(_is_near, self.pairs)
        return {pair.address: pair.platform for pair in near if pair.address not in wrong}

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
        if not _RELATIVE.isdisjoint(pair.flags):
            _clear(pair)
        runs[pair.mode, pair.question, pair.dtype].pairs.append(pair)
    exact = runs["layers", "semantics", "float64"]
    for dtype in dict.fromkeys(map(attrgetter("dtype"), pairs)):
        _flag_undecided(runs["layers", "precision", dtype], exact)
    for mode, question, dtype in list(runs):
        if mode in _SCOPE:
            alone = runs["layers", question, dtype]
            _flag_followers(runs[mode, question, dtype], _SCOPE[mode], alone, program)
            _flag_inherited(runs[mode, question, dtype], _SCOPE[mode], alone, program)
    _flag_equivalents(pairs, exact)


def _clear(pair: Pair) -> None:
    """Take from a pair its flags that relate it to others, and what was said of them."""
    pair.flags = list(filterfalse(_RELATIVE.__contains__, pair.flags))
    pair.detail = "; ".join(filterfalse(_says_may_be, pair.detail.split("; ")))


def _says_may_be(part: str) -> bool:
    """Tell whether a part of a detail is what was said of an undecided pair."""
    return part.startswith(_MAY_BE)


def _flag_undecided(run: _Run, exact: _Run) -> None:
    """Flag the pairs of a layer replay whose excess the platform's operators may explain, where they match in float64."""
    for pair in filter(_exceeds_floor, run.pairs):
        if pair.address in exact.matching:
            _suspect(pair, pair.platform)


def _flag_followers(
    run: _Run, scope_of: Callable[[str], int | None], alone: _Run, program: Components
) -> None:  # fmt: skip
    """Flag what exceeds its floor in a longer replay where operators reach it that bring a module near its limit or beyond.

    What is wrong by itself in the layer replay `alone` stays a finding.
    """
    operators, wrong = alone.suspected, set(map(attrgetter("address"), alone.failed))
    roots = [pair for pair in run.pairs if pair.address in operators]
    for pair in filter(_exceeds_floor, run.pairs):
        suspected: dict[str, float] = {}
        for root in filter(partial(_is_reached, pair, scope_of, program), roots):
            suspected |= operators[root.address]
        if pair.address not in wrong:
            _suspect(pair, suspected)


def _is_reached(pair: Pair, scope_of: Callable[[str], int | None], program: Components, root: Pair) -> bool:
    """Tell whether what a module computes reaches a pair: its own output, what comes after it, and what is inside of it."""
    if scope_of(root.address) != scope_of(pair.address):
        return False
    # A module completes after its parts, which its operators have reached already.
    is_inside = program.contains(path_of(root.address), path_of(pair.address))
    is_in_step = step_of(root.address) == step_of(pair.address)
    return root.order <= pair.order or all((is_inside, is_in_step))


def _is_undecided(pair: Pair) -> bool:
    """Tell whether the platform may be to blame for a pair."""
    return UNDECIDED in pair.flags


def _is_near(pair: Pair) -> bool:
    """Tell whether a pair comes near its limit, or is beyond."""
    return measured(pair.ratio_to_floor) > NEAR * RMS_FACTOR


def _exceeds_floor(pair: Pair) -> bool:
    """Tell whether a pair fails by its measured floor alone: by no rule, and in no way that no tolerance excuses."""
    return (pair.verdict, pair.basis, pair.hard) == ("MISMATCH", "floor", "")


def _suspect(pair: Pair, operators: Mapping[str, float]) -> None:
    """Flag a pair if operators that err so many times more than the reference's may make an error as large as its."""
    most = RMS_FACTOR * max(operators.values(), default=0.0)
    if measured(pair.ratio_to_floor) <= most:
        said = f"{_MAY_BE}{' or '.join(operators)} {_DECIDES}"
        pair.flags = [*pair.flags, UNDECIDED]
        pair.detail = "; ".join(filter(None, (pair.detail, said)))


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
