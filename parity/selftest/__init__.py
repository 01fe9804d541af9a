"""The comparer tested on pairs whose right answer is known.

`corpus` makes real faults, healthy pairs and odd ones from a seed; `run` sends them through the whole
comparer - written as two traces, without a float64 twin, at the default settings - and counts false passes,
false alarms and silences. Beside them stand the formulas of other tools on the same pairs.

    >>> score = run(7)
    >>> (score.false_passes, score.false_alarms, score.silences)
    ([], [], [])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

import msgspec
import numpy as np

from parity.selftest.faults import faults
from parity.selftest.healthy import flagged, healthy
from parity.selftest.judging import judged
from parity.selftest.peers import PEERS, peer_score
from parity.selftest.specimen import Answer

if TYPE_CHECKING:
    from parity.result import Pair
    from parity.selftest.specimen import Specimen

__all__ = ["SEED", "Score", "corpus", "judged", "run"]

SEED: Final = 7
"""The seed of the published score."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge got wrong, by name of the pair; `pairs` counts faults, healthy and flagged ones."""

    tool: str
    pairs: dict[str, int]
    false_passes: list[str]
    false_alarms: list[str]
    silences: list[str]
    crashes: list[str]
    peers: list[Score] = []


def corpus(seed: int = SEED) -> list[Specimen]:
    """Return all pairs made from a seed."""
    with np.errstate(over="ignore", invalid="ignore"):
        return [*faults(seed), *healthy(seed), *flagged(seed)]


def run(seed: int = SEED, *, peers: bool = False) -> Score:
    """Judge the corpus of a seed; with `peers` also by other tools' formulas."""
    specimens = corpus(seed)
    found = judged(specimens)
    wrong: dict[str, list[str]] = {answer: [] for answer in get_args(Answer)}
    counts = dict.fromkeys(wrong, 0)
    for specimen in specimens:
        counts[specimen.answer] += 1
        if not _is_right(specimen, found[specimen.name]):
            wrong[specimen.answer].append(specimen.name)
    score = Score(
        tool="parity",
        pairs=counts,
        false_passes=wrong["fault"],
        false_alarms=wrong["healthy"],
        silences=wrong["flagged"],
        crashes=[],
    )
    if not peers:
        return score
    others = [Score(tool=name, pairs=counts, **peer_score(name, specimens)) for name in PEERS]
    return msgspec.structs.replace(score, peers=others)


def _is_right(specimen: Specimen, pair: Pair) -> bool:
    """Tell whether the judge gave the known answer."""
    if specimen.answer == "healthy":
        return pair.verdict == "MATCH" and not pair.flags
    if specimen.answer == "fault":
        return pair.verdict != "MATCH" and "unbounded-depth" not in pair.flags
    return pair.verdict != "MATCH" or bool(pair.flags)
