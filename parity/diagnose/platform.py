"""What the candidate's platform is to blame for: failing modules replayed with suspected operators in float64.

A module of several operators has no floor of the platform's own, since nobody knows which of them it calls and how
often. So where it errs by more than its limit in the working type and computes the right thing in float64, it is
replayed with one suspected kind of operator after another in float64, the worst first. If the excess disappears the
pair is a MATCH flagged `platform-precision`, and the operator is named; otherwise it stays a MISMATCH. What fails in
the free and the step replay is then replayed with the operators that were found.

Suspected is an operator whose own error on the candidate's platform is above the reference's (`parity doctor --floors`).
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from parity.compare.flags import relate
from parity.compare.summary import summarize
from parity.diagnose.counterfactual import replay_with
from parity.diagnose.pairs import Repeated, differs, has_failed, in_layers, paths_of
from parity.repair import WIDENED, PrecisionEdit
from parity.result import Cause, measured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from parity.repair import Operator
    from parity.result import Pair, Result
    from parity.trace import Manifest, Trace

__all__ = ["SLUG", "blame_platform", "suspects"]

SLUG: Final = "platform-precision"
_WORSE: Final = 1.5  # below this the two platforms are level


class _Suspect(NamedTuple):
    """A kind of operator with its own relative error on both platforms; the reference's may be unknown."""

    kind: Operator
    candidate: float
    reference: float | None

    @property
    def excess(self) -> float:
        """How many times the candidate's error is the reference's."""
        return self.candidate / self.reference if self.reference else math.inf

    def __str__(self) -> str:
        """Say both errors."""
        other = "unknown" if self.reference is None else f"{self.reference:.1e}"
        return f"{self.kind} by itself errs by {self.candidate:.1e} of its rms, the reference's by {other}"


def suspects(candidate: Manifest, reference: Manifest, dtype: str) -> list[_Suspect]:
    """Return the operators that err more on the candidate's platform than on the reference's, the worst first."""
    found = []
    for kind in WIDENED:
        ours, theirs = (_own_error(manifest, kind, dtype) for manifest in (candidate, reference))
        if ours is not None:
            found.append(_Suspect(kind, ours, theirs))
    worse = [each for each in found if each.excess > _WORSE]
    return sorted(worse, key=lambda each: -each.excess)


def _own_error(manifest: Manifest, kind: Operator, dtype: str) -> float | None:
    """Return how much an operator by itself errs on a platform, relative to its rms; None where it was not measured."""
    measured = manifest.floors.get(kind, {}).get(dtype)
    return None if measured is None else measured["rel_l2"]


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
    for candidate in candidates:
        if not candidate.manifest.command:
            continue
        for dtype in _types_of_layers(candidate):
            excessive = list(filter(in_layers, _excessive(result.pairs, dtype)))
            found = suspects(candidate.manifest, reference.manifest, dtype)
            if excessive and found:
                replays = _Replays(reference, candidate, folder, dtype, progress)
                causes += _explained(result.pairs, excessive, found, replays)
    if causes:
        relate(result.pairs, result.program)
        summarize(result)
    return causes


def _types_of_layers(candidate: Trace) -> list[str]:
    """Return the types in which a candidate was replayed layer by layer."""
    infos = [run.info for run in map(candidate.run, candidate.runs)]
    return [info.dtype for info in infos if info.mode == "layers"]


def _excessive(pairs: Sequence[Pair], dtype: str) -> list[Pair]:
    """Return the pairs of a type that exceed a measured floor, where nothing else is known to be wrong."""
    wrong = {pair.address for pair in filter(_is_wrong_in_float64, pairs)}
    return [pair for pair in pairs if _exceeds_floor(pair) and pair.dtype == dtype and pair.address not in wrong]


def _is_wrong_in_float64(pair: Pair) -> bool:
    """Tell whether a module computes something else, however accurately."""
    return in_layers(pair) and pair.question == "semantics" and has_failed(pair)


def _exceeds_floor(pair: Pair) -> bool:
    """Tell whether a pair differs by more than its floor, and in no way that no tolerance excuses."""
    return differs(pair) and pair.ground == "floor" and not pair.hard


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

    def settled(self, pairs: Sequence[Pair], suspected: Sequence[_Suspect]) -> list[_Settled]:
        """Replay these pairs with the suspects in float64; return those that match now."""
        if not pairs:
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
            return []
        repeated = Repeated(after.pairs)
        return [_Settled(pair, now) for pair in pairs if (now := repeated.match_of(pair))]


def _explained(
    pairs: Sequence[Pair], excessive: Sequence[Pair], found: Sequence[_Suspect], replays: _Replays
) -> list[Cause]:
    """Flag what the suspects explain: all together first, then one by one, then the free and the step replay."""
    left = replays.settled(excessive, found)
    causes: list[Cause] = []
    blamed: list[_Suspect] = []
    # One suspect that explains everything has been tried already.
    for suspect in found if len(found) > 1 else ():
        settled = replays.settled([each.pair for each in left], [suspect])
        if settled:
            causes.append(_cause([suspect], settled))
            blamed.append(suspect)
            left = _without(left, settled)
    if left:
        causes.append(_cause(found, left))
        blamed = list(found)
    if causes:
        later = itertools.filterfalse(in_layers, _excessive(pairs, replays.dtype))
        for each in replays.settled(list(later), blamed):
            _flag(each, blamed)
    return causes


def _without(all_of: Sequence[_Settled], some: Sequence[_Settled]) -> list[_Settled]:
    """Return those of the first whose pairs are none of the second's."""
    done = {id(each.pair) for each in some}
    return [each for each in all_of if id(each.pair) not in done]


def _wider(operators: Sequence[_Suspect]) -> PrecisionEdit:
    """Return the edit that computes these operators in float64."""
    return PrecisionEdit(operators=tuple(each.kind for each in operators))


def _names(operators: Sequence[_Suspect]) -> str:
    """Return the kinds of operators as a sentence lists them."""
    return ", ".join(_wider(operators).operators)


def _flag(settled: _Settled, operators: Sequence[_Suspect]) -> None:
    """Call a pair a match, and say by which operators in float64 it became one."""
    pair, now = settled
    pair.verdict = "MATCH"
    pair.flags = [*pair.flags, SLUG]
    errors = f"{measured(now.error_rms):.2g} instead of {measured(pair.error_rms):.2g}"
    said = f"with {_names(operators)} in float64 its rms error is {errors}"
    pair.detail = f"{pair.detail}; {said}" if pair.detail else said


def _cause(operators: Sequence[_Suspect], settled: Sequence[_Settled]) -> Cause:
    """Flag pairs that match with these operators in float64, and return the cause."""
    for each in settled:
        _flag(each, operators)
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
