"""What differs, by name, where no order says what diverges first: plain files, and weights, of which it is said what became."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from parity.report.grouping import grouped
from parity.report.verdicts import excess, shown
from parity.report.words import after, count, joined, number, some, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from parity.result import Pair, Result

__all__ = ["differences", "of_weights", "taken_as"]

_LISTED: Final = 20
_OTHERWISE: Final = {
    "weights": "--as activations judges within rounding",
    "activations": "--as weights judges by equality",
}
_ORDER: Final = ("INCOMPARABLE", "MISMATCH", "undecided", "MISSING", "UNEXPECTED")
_KINDS: Final = {
    "": "not comparable",
    "initial": "still initial",
    "another tensor": "another tensor's values",
    "elements": "different in some elements",
    "update": "changed a little everywhere",
    "different": "of other values",
}
"""What weights are called together that became the same in different words; other kinds by their own name."""


def taken_as(result: Result) -> str:
    """Return what files were taken for and why, where they do not say it themselves; else nothing."""
    contents = str(result.checks.get("compared_as", ""))
    if contents not in _OTHERWISE:
        return ""
    return f"taken as {contents}: {visible(str(result.checks.get('because', '')))}; {_OTHERWISE[contents]}"


def of_weights(result: Result) -> str:
    """Return how many weights are equal, and what became of the others, in one line."""
    verdicts = Counter(map(attrgetter("verdict"), result.pairs))
    flags = Counter(chain.from_iterable(map(attrgetter("flags"), result.pairs)))
    wrong = list(filter(_differs, result.pairs))
    missing, unexpected = verdicts["MISSING"], verdicts["UNEXPECTED"]
    both = count(len(result.pairs) - missing - unexpected, "weight")
    told = joined(f"{both} equal", some(flags["mixed-dtype"], "of them stored in another type"))
    if wrong:
        told = f"{len(wrong):,} of {both} differ"
    one_sided = joined(
        some(missing, "missing"),
        some(sum(map(_is_renamed, result.pairs)), "of them there under another name"),
        some(unexpected, "unexpected"),
    )
    return joined(told, *_kinds(wrong), one_sided, by="; ")


def _differs(pair: Pair) -> bool:
    """Tell whether both sides have a weight, and it differs."""
    return pair.verdict in {"MISMATCH", "INCOMPARABLE"}


def _is_renamed(pair: Pair) -> bool:
    """Tell whether the candidate has the values of a weight that it lacks."""
    return pair.verdict == "MISSING" and pair.change == "another tensor"


def _kinds(wrong: Iterable[Pair]) -> Iterator[str]:
    """Yield what became of weights, and of how many, the most frequent first."""
    kinds = grouped(wrong, key=attrgetter("change"))
    for kind in sorted(kinds, key=lambda kind: -len(kinds[kind])):
        pairs = kinds[kind]
        words = {pair.detail for pair in pairs}
        if len(words) > 1:
            words = {_KINDS.get(kind, kind)}
        amount = f" ({len(pairs):,})".removesuffix(" (1)")
        yield f"{visible(words.pop())}{amount}{_range(pairs)}"


def _range(pairs: Sequence[Pair]) -> str:
    """Return the smallest and the largest distance of weights that changed a little."""
    distances = sorted(float(pair.rel_l2 or 0) for pair in pairs)
    if pairs[0].change != "update":
        return ""
    ends = dict.fromkeys([number(distances[0]), number(distances[-1])])
    return f", rel_l2 {' to '.join(ends)}"


def differences(result: Result) -> list[str]:
    """Return the pairs that fail, worst first, a line for each; none where a first divergence tells."""
    if result.first_divergence is not None:
        return []
    wrong = [pair for pair in result.pairs if shown(pair) in _ORDER]
    wrong.sort(key=_gravity)
    lines = [joined(f"{shown(pair)} {visible(pair.address)}", _told(pair), by=": ") for pair in wrong[:_LISTED]]
    if len(wrong) > _LISTED:
        lines.append(f"and {len(wrong) - _LISTED:,} more; --out writes a report with all")
    return lines


def _gravity(pair: Pair) -> tuple[int, float, int]:
    """Return what failing pairs are sorted by: what cannot be compared, what is furthest off, what one side lacks."""
    off = excess(pair)
    if off is None:
        off = float(pair.rel_l2 or 0)
    return _ORDER.index(shown(pair)), -off, pair.order


def _told(pair: Pair) -> str:
    """Return how far off a pair is, and what is known of it."""
    return joined(after("rel_l2 ", number(pair.rel_l2, nothing="")), visible(pair.detail))
