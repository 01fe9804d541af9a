"""What is wrong with the reference, as causes: `compare` itself lists them, since no replay of a candidate is needed.

One for each kind: `reference-error`, where the working run is off, `twin-error`, where a float64 run is. They follow
from the flags of the pairs, so a saved result that is judged again has them too.
"""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from parity.address import path_of
from parity.result import OF_REFERENCE, Cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parity.components import Components
    from parity.result import Flag, Pair, PairMode, Result

__all__ = ["with_findings"]

_SHARPEST: Final[tuple[PairMode, ...]] = ("layers", "steps", "free")
"""The replays in the order in which they say where an error begins."""


class _Words(NamedTuple):
    """What is said of a kind: which run is off, and what a person does about it."""

    run: str
    repair: str


_WORDS: Final[dict[Flag, _Words]] = {
    "reference-error": _Words(
        "the reference's working run",
        "look at the reference, not at the port: a coarse kernel or policy (TF32, HF32), an overflow, a module that "
        "computes something else than in float64, or a trace that was altered; mend it, record again, replay again",
    ),
    "twin-error": _Words(
        "the reference's float64 run",
        "look at the reference's float64 twin, not at the port: an operator that it lifts wrongly, or a trace that was "
        "altered; mend it, record again, replay again",
    ),
}


def with_findings(result: Result) -> list[Cause]:
    """Return the findings about the reference, and after them the causes that a result has otherwise."""
    others = [cause for cause in result.causes if not cause.is_about_reference]
    return [*_findings(result.pairs, result.program), *others]


def _findings(pairs: Sequence[Pair], program: Components) -> list[Cause]:
    """Return a cause for each run of the reference that is off."""
    causes: list[Cause] = []
    for flag in OF_REFERENCE:
        flagged = [pair for pair in pairs if flag in pair.flags]
        if flagged:
            causes.append(_cause(flag, flagged, program))
    return causes


def _cause(flag: Flag, pairs: Sequence[Pair], program: Components) -> Cause:
    """Return the finding that pairs with a flag make together: the first place in order of completion, then the others."""
    amounts = Counter(map(attrgetter("mode"), pairs))
    modes = list(filter(amounts.__contains__, _SHARPEST))
    sharpest = [pair for pair in pairs if pair.mode == modes[0]]
    sharpest.sort(key=attrgetter("order"))
    first, words = sharpest[0], _WORDS[flag]
    amount = ", ".join(f"{amounts[mode]} in {mode}" for mode in modes)
    return Cause(
        slug=flag,
        address=first.address,
        others=_innermost(sharpest, program)[1:],
        confirmed=False,
        confidence=1.0,
        evidence=[
            f"{words.run} is off first at {first.address}: {first.detail}",
            f"pairs that rest on it and are no match: {amount}",
        ],
        repair=words.repair,
    )


def _innermost(ordered: Iterable[Pair], program: Components) -> list[str]:
    """Return the paths of pairs, each once, without those that contain one which completed before."""
    around: set[str] = set()
    paths: dict[str, None] = {}
    for pair in ordered:
        path = path_of(pair.address)
        if path not in around:
            paths[path] = None
            around |= program.containers(path)
    return list(paths)
