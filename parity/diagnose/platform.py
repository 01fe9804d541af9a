"""What the candidate's platform is to blame for: failing modules replayed with suspected operators in float64.

A module of several operators has no floor of the platform's own, since nobody knows which of them it calls and how
often. So where it errs by more than its limit in the working type and computes the right thing in float64, it is
replayed with one suspected kind of operator after another in float64, the worst first. If the excess disappears the
pair is a MATCH flagged `platform-precision`, and the operator is named; otherwise it stays a MISMATCH. What fails in
the free and the step replay is then replayed with the operators that were found.

Suspected is an operator whose own error on the candidate's platform is above the reference's (`parity doctor --floors`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from parity.compare.flags import relate
from parity.compare.plan import path_of
from parity.compare.summary import summarize
from parity.diagnose.counterfactual import replay_with
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
        return math.inf if not self.reference else self.candidate / self.reference

    def __str__(self) -> str:
        """Say both errors."""
        other = "unknown" if self.reference is None else f"{self.reference:.1e}"
        return f"{self.kind} by itself errs by {self.candidate:.1e} of its rms, the reference's by {other}"


def suspects(candidate: Manifest, reference: Manifest, dtype: str) -> list[_Suspect]:
    """Return the operators that err more on the candidate's platform than on the reference's, the worst first."""
    found = []
    for kind in WIDENED:
        own, other = (manifest.floors.get(kind, {}).get(dtype) for manifest in (candidate, reference))
        if own is not None:
            found.append(_Suspect(kind, own["rel_l2"], None if other is None else other["rel_l2"]))
    return sorted((each for each in found if each.excess > _WORSE), key=lambda each: -each.excess)


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
        for name in candidate.runs:
            run = candidate.run(name).info
            found = suspects(candidate.manifest, reference.manifest, run.dtype)
            excessive = [pair for pair in _excessive(result.pairs, run.dtype) if pair.mode == "layers"]
            if run.mode == "layers" and excessive and found and candidate.manifest.command:
                replays = _Replays(reference, candidate, folder, run.dtype, progress)
                causes += _explained(result.pairs, excessive, found, replays)
    if causes:
        relate(result.pairs)
        summarize(result)
    return causes


def _excessive(pairs: Sequence[Pair], dtype: str) -> list[Pair]:
    """Return the pairs that exceed a measured floor, and nothing else is known to be wrong with their semantics."""
    wrong = {
        pair.address
        for pair in pairs
        if pair.question == "semantics" and pair.mode == "layers" and pair.verdict in {"MISMATCH", "INCOMPARABLE"}
    }
    return [
        pair
        for pair in pairs
        if pair.verdict == "MISMATCH"
        and pair.ground == "floor"
        and pair.dtype == dtype
        and not (pair.hard or pair.address in wrong)
    ]


class _Replays(NamedTuple):
    """What the replays of one candidate in one type have in common."""

    reference: Trace
    candidate: Trace
    folder: Path
    dtype: str
    progress: Callable[[str, int, int], None]

    def settled(self, pairs: Sequence[Pair], kinds: Sequence[Operator]) -> dict[int, Pair]:
        """Replay these pairs with the kinds in float64; return how those that match now compare, by their place."""
        what = f"replay with {', '.join(kinds)} in float64"
        self.progress(what, 0, 1)
        after, refused = replay_with(
            [PrecisionEdit(operators=tuple(kinds))],
            list(dict.fromkeys(pair.address for pair in pairs)),
            reference=self.reference,
            candidate=self.candidate,
            folder=self.folder / "-".join(("float64", *kinds)),
            modes=list(dict.fromkeys(pair.mode for pair in pairs)),
            dtype=self.dtype,
        )
        self.progress(what, 1, 1)
        if refused:  # the candidate cannot be asked, so nothing is known
            return {}
        now = {(pair.mode, pair.address): pair for pair in after.pairs if pair.verdict == "MATCH"}
        keys = ((place, (pair.mode, pair.address)) for place, pair in enumerate(pairs))
        return {place: now[key] for place, key in keys if key in now}


def _explained(
    pairs: Sequence[Pair], excessive: list[Pair], found: Sequence[_Suspect], replays: _Replays
) -> list[Cause]:
    """Flag what the suspects explain: all together first, then one by one, then the free and the step replay."""
    together = replays.settled(excessive, [each.kind for each in found])
    left = {place: excessive[place] for place in together}
    causes, blamed = [], []
    for suspect in found if len(found) > 1 else ():
        members = list(left.values())
        settled = replays.settled(members, [suspect.kind]) if members else {}
        if settled:
            causes.append(_cause([suspect], [(members[place], now) for place, now in settled.items()]))
            blamed.append(suspect.kind)
            done = {id(members[place]) for place in settled}
            left = {place: pair for place, pair in left.items() if id(pair) not in done}
    if left:
        causes.append(_cause(found, [(pair, together[place]) for place, pair in left.items()]))
        blamed = [each.kind for each in found]
    later = [pair for pair in _excessive(pairs, replays.dtype) if pair.mode != "layers"]
    if causes and later:
        for place, now in replays.settled(later, blamed).items():
            _flag(later[place], now, blamed)
    return causes


def _flag(pair: Pair, now: Pair, kinds: Sequence[str]) -> None:
    """Call a pair a match, and say by which operators in float64 it became one."""
    pair.verdict = "MATCH"
    pair.flags = [*pair.flags, SLUG]
    said = f"with {', '.join(kinds)} in float64 its rms error is {measured(now.error_rms):.2g} instead of {measured(pair.error_rms):.2g}"
    pair.detail = f"{pair.detail}; {said}" if pair.detail else said


def _cause(operators: Sequence[_Suspect], settled: Sequence[tuple[Pair, Pair]]) -> Cause:
    """Flag pairs that match with these operators in float64, and return the cause."""
    kinds = [each.kind for each in operators]
    for pair, now in settled:
        _flag(pair, now, kinds)
    worst, now = max(settled, key=lambda both: measured(both[0].ratio_to_floor))
    paths = list(dict.fromkeys(path_of(pair.address) for pair, _ in settled))
    named = ", ".join(kinds)
    return Cause(
        slug=SLUG,
        address=paths[0],
        others=paths[1:],
        confirmed=True,
        confidence=1.0,
        evidence=[
            *map(str, operators),
            f"replayed with {named} in float64, {len(settled)} outputs of {len(paths)} modules match",
            f"without, they are wrong by up to {measured(worst.ratio_to_floor):.3g} times their floor",
        ],
        repair=f"the port is right; where this accuracy matters, compute {named} in float64, or once beforehand in numpy",
        edits=[msgspec.to_builtins(PrecisionEdit(operators=tuple(kinds)))],
        before=worst.rel_l2,
        after=now.rel_l2,
    )
