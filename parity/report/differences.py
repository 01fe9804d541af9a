"""What differs, by name, where no order says what diverges first: plain files, and weights, of which it is said what became."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from parity.report.grouping import grouped
from parity.report.verdicts import FAILING, excess, shown
from parity.report.words import count, joined, number, some, visible

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
    shared = [pair for pair in result.pairs if pair.verdict not in {"MISSING", "UNEXPECTED"}]
    wrong = [pair for pair in shared if pair.verdict in FAILING]
    retyped = sum("mixed-dtype" in pair.flags for pair in shared)
    equal = joined(
        f"{count(len(shared) - len(wrong), 'weight')} equal", some(retyped, "of them stored in another type")
    )
    differ = f"{len(wrong):,} of {count(len(shared), 'weight')} differ" if wrong else equal
    found = [pair for pair in result.pairs if pair.verdict == "MISSING"]
    renamed = sum(pair.change == "another tensor" for pair in found)
    one_sided = joined(
        some(len(found), "missing"),
        some(renamed, "of them there under another name"),
        some(sum(pair.verdict == "UNEXPECTED" for pair in result.pairs), "unexpected"),
    )
    return joined(differ, *_kinds(wrong), one_sided, by="; ")


def _kinds(wrong: Iterable[Pair]) -> Iterator[str]:
    """Yield what became of weights, and of how many, the most frequent first."""
    kinds = grouped(wrong, key=attrgetter("change"))
    for kind, pairs in sorted(kinds.items(), key=lambda item: -len(item[1])):
        details = {pair.detail for pair in pairs}
        words = details.pop() if len(details) == 1 else _KINDS.get(kind, kind or "not comparable")
        amount = f" ({len(pairs):,})" if len(pairs) > 1 else ""
        yield f"{visible(words)}{amount}{_range(pairs)}"


def _range(pairs: Sequence[Pair]) -> str:
    """Return the smallest and the largest distance of weights that changed a little."""
    found = [float(pair.rel_l2) for pair in pairs if pair.change == "update" and pair.rel_l2 is not None]
    if not found:
        return ""
    return f", rel_l2 {' to '.join(dict.fromkeys(map(number, (min(found), max(found)))))}"


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
    return joined(f"rel_l2 {number(pair.rel_l2)}" if pair.rel_l2 is not None else "", visible(pair.detail), by=", ")
