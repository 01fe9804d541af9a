"""What the candidate's platform is to blame for: failing modules replayed with suspected operators in float64.

A module of several operators has no floor of the platform's own, since nobody knows which of them it calls and how
often. So where it errs by more than its limit in the working type and computes the right thing in float64, it is
replayed with one suspected kind of operator after another in float64, the worst first. If the excess disappears the
pair is a MATCH flagged `platform-precision`, and the operator is named; otherwise it is a MISMATCH. What fails in
the free and the step replay is then replayed with the operators that were found, and where no layer fails any more
with all suspects.

Suspected is an operator whose own error on the candidate's platform is above the reference's (`parity doctor --floors`).
What the comparison left undecided for the platform's sake is decided by these replays; where none can be made it stays
undecided, and the result's checks say why.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from parity.compare.flags import UNDECIDED, relate
from parity.compare.platform import Suspect, suspects
from parity.compare.summary import summarize
from parity.diagnose.counterfactual import replay_with
from parity.diagnose.pairs import Repeated, add_flag, differs, has_failed, in_layers, paths_of
from parity.repair import PrecisionEdit
from parity.result import Cause, measured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from parity.result import Pair, Result
    from parity.trace import Trace

__all__ = ["SLUG", "blame_platform", "suspects"]

SLUG: Final = "platform-precision"


def blame_platform(
    result: Result,
    reference: Trace,
    candidates: Sequence[Trace],
    folder: Path,
    progress: Callable[[str, int, int], None],
) -> list[Cause]:
    """Flag what the platform explains, judge the result anew, and return a cause for each operator that explains some.

    Raises:
        ChildError: a replay failed.
    """
    causes: list[Cause] = []
    obstacles: list[str] = []
    for candidate in candidates:
        for dtype in _types_to_replay(candidate):
            replays = _Replays(reference, candidate, folder, dtype, progress, obstacles)
            causes += _explained(result.pairs, replays)
    undecided = [pair for pair in result.pairs if UNDECIDED in pair.flags and pair.verdict != "MATCH"]
    if not any(candidate.manifest.command for candidate in candidates):
        obstacles.append("the candidate's trace names no command that replays it")
    if undecided and obstacles:
        result.checks["undecided"] = "; ".join(dict.fromkeys(obstacles))
    else:
        _decide(undecided, result.pairs)
    relate(result.pairs, result.program)
    summarize(result)
    return causes


def _decide(undecided: Sequence[Pair], pairs: Sequence[Pair]) -> None:
    """Make findings of pairs that no replay explains: nothing is suspected of the platform any more."""
    for pair in pairs:
        pair.platform = {}
    for pair in undecided:
        said = "the platform's operators in float64 do not remove it"
        pair.detail = "; ".join(filter(None, (pair.detail, said)))


def _types_to_replay(candidate: Trace) -> list[str]:
    """Return the types in which a candidate was replayed layer by layer and, given its command, can be again."""
    if not candidate.manifest.command:
        return []
    runs = map(candidate.run, candidate.runs)
    return [run.info.dtype for run in runs if run.info.mode == "layers"]


def _excessive(pairs: Sequence[Pair], dtype: str) -> list[Pair]:
    """Return the pairs of a type that exceed a measured floor, where nothing else is known to be wrong."""
    wrong = {pair.address for pair in filter(_is_wrong_in_float64, pairs)}
    excessive = filter(_exceeds_floor, pairs)
    return [pair for pair in excessive if pair.dtype == dtype and pair.address not in wrong]


def _is_wrong_in_float64(pair: Pair) -> bool:
    """Tell whether a module computes something else, however accurately."""
    return in_layers(pair) and pair.question == "semantics" and has_failed(pair)


def _exceeds_floor(pair: Pair) -> bool:
    """Tell whether a pair differs by more than its floor, and in no way that nothing excuses."""
    return differs(pair) and pair.ground == "floor" and not pair.hard and "reference-error" not in pair.flags


class _Settled(NamedTuple):
    """A pair that exceeds its floor, and the same as it was measured with operators in float64, where it matches."""

    pair: Pair
    now: Pair


class _Replays(NamedTuple):
    """What the replays of one candidate in one type have in common."""

    reference: Trace
    candidate: Trace
    folder: Path
    dtype: str
    progress: Callable[[str, int, int], None]
    obstacles: list[str]

    def settled(self, pairs: Sequence[Pair], suspected: Sequence[Suspect]) -> list[_Settled]:
        """Replay these pairs with the suspects in float64; return those that match now."""
        if not (pairs and suspected):
            return []
        what = f"replay with {_names(suspected)} in float64"
        edit = _wider(suspected)
        modes, addresses = zip(*((pair.mode, pair.address) for pair in pairs), strict=True)
        self.progress(what, 0, 1)
        after, refused = replay_with(
            [edit],
            list(dict.fromkeys(addresses)),
            reference=self.reference,
            candidate=self.candidate,
            folder=self.folder / "-".join(("float64", *edit.operators)),
            modes=list(dict.fromkeys(modes)),
            dtype=self.dtype,
        )
        self.progress(what, 1, 1)
        if refused:  # the candidate cannot be asked, so nothing is known
            self.obstacles.extend(refused.values())
            return []
        repeated = Repeated(after.pairs)
        return [_Settled(pair, now) for pair in pairs if (now := repeated.match_of(pair))]


def _explained(pairs: Sequence[Pair], replays: _Replays) -> list[Cause]:
    """Flag what the suspects explain: all together first, then one by one, then the free and the step replay."""
    dtype = replays.dtype
    found = suspects(replays.candidate.manifest, replays.reference.manifest, dtype)
    excessive = list(filter(in_layers, _excessive(pairs, dtype)))
    left = replays.settled(excessive, found)
    causes: list[Cause] = []
    blamed: list[Suspect] = []
    # One suspect that explains everything has been tried already.
    for suspect in found if len(found) > 1 else ():
        settled = replays.settled([each.pair for each in left], [suspect])
        if settled:
            causes.append(_cause([suspect], settled))
            blamed.append(suspect)
            left = _without(left, settled)
    if left:
        causes.append(_cause(found, left))
        blamed = found
    later = list(itertools.filterfalse(in_layers, _excessive(pairs, dtype)))
    followed = replays.settled(later, blamed)
    _flag(followed, blamed)
    # Where every layer is right by now, what is left in a longer replay can only be several operators together.
    if not any(has_failed(pair) for pair in pairs if in_layers(pair)):
        remaining = [pair for pair in later if differs(pair)]
        _flag(replays.settled(remaining, found), found)
    return causes


def _without(all_of: Sequence[_Settled], some: Sequence[_Settled]) -> list[_Settled]:
    """Return those of the first whose pairs are none of the second's."""
    done = {id(each.pair) for each in some}
    return [each for each in all_of if id(each.pair) not in done]


def _wider(operators: Sequence[Suspect]) -> PrecisionEdit:
    """Return the edit that computes these operators in float64."""
    return PrecisionEdit(operators=tuple(each.kind for each in operators))


def _names(operators: Sequence[Suspect]) -> str:
    """Return the kinds of operators as a sentence lists them."""
    return ", ".join(_wider(operators).operators)


def _flag(settled: Sequence[_Settled], operators: Sequence[Suspect]) -> None:
    """Call pairs a match, and say by which operators in float64 they became one."""
    for pair, now in settled:
        pair.verdict = "MATCH"
        add_flag(pair, SLUG)
        errors = f"{measured(now.error_rms):.2g} instead of {measured(pair.error_rms):.2g}"
        said = f"with {_names(operators)} in float64 its rms error is {errors}"
        pair.detail = "; ".join(filter(None, (pair.detail, said)))


def _cause(operators: Sequence[Suspect], settled: Sequence[_Settled]) -> Cause:
    """Flag pairs that match with these operators in float64, and return the cause."""
    _flag(settled, operators)
    worst = max(settled, key=lambda each: measured(each.pair.ratio_to_floor))
    paths = paths_of(each.pair for each in settled)
    named = _names(operators)
    return Cause(
        slug=SLUG,
        address=paths[0],
        others=paths[1:],
        confirmed=True,
        confidence=1.0,
        evidence=[
            *map(str, operators),
            f"replayed with {named} in float64, {len(settled)} outputs of {len(paths)} modules match",
            f"without, they are wrong by up to {measured(worst.pair.ratio_to_floor):.3g} times their floor",
        ],
        repair=f"the port is right; where this accuracy matters, compute {named} in float64, or once beforehand in numpy",
        edits=[msgspec.to_builtins(_wider(operators))],
        before=worst.pair.rel_l2,
        after=worst.now.rel_l2,
    )
