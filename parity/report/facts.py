"""What a result says beside its pairs: coverage, gaps, provenance, as text for every renderer."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from parity.report.card import first_pair
from parity.report.grouping import COLUMNS, column_of
from parity.report.words import NOTHING, after, as_table, count, joined, plain, some, visible

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from parity.result import Coverage, Result

__all__ = [
    "Line",
    "coverage",
    "first_of",
    "flat",
    "listed",
    "makes_images",
    "not_measured",
    "provenance",
    "side_by_side",
    "unread",
]

_LISTED: Final = 12
_FILES: Final = 10
_UNASKED: Final = {
    "semantics": "semantics: there is no float64 run of both sides, so what is computed was not judged by itself",
    "precision": "precision: there is no run in the working type",
    "audit": "audits: weights, attributes, tokens and schedule were not audited",
}
_CHECKS: Final = {"neutral": "that recording changes nothing", "repeatable": "that the reference repeats itself"}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a table: what it is about, and one text for each of those who stand beside each other."""

    what: str
    texts: list[str]


def coverage(result: Result) -> list[tuple[str, str]]:
    """Return (what, how much) of the coverage, then one line per reason why something was not compared."""
    found = result.coverage
    audits = sum(pair.question == "audit" for pair in result.pairs)
    rows = [
        ("paths compared", f"{found.compared:,} of {found.paths:,}"),
        ("modules that own a parameter", f"{found.parameter_owners_compared:,} of {found.parameter_owners:,}"),
        ("pairs", f"{len(result.pairs) - audits:,} of tensors and values, {count(audits, 'audit')}"),
    ]
    for reason, amount in _reasons(found):
        rows.append((f"not compared: {reason}", f"{amount:,}"))
    rows.append(("excluded by the case", listed(found.excluded)))
    rows.append(("not compared, no reason", listed(found.unexplained)))
    return [(what, told) for what, told in rows if told]


def _reasons(found: Coverage) -> list[tuple[str, int]]:
    """Return how many paths were not compared for each reason."""
    amounts = Counter(found.not_compared.values())
    return [(visible(reason), amounts[reason]) for reason in sorted(amounts)]


def listed(names: Collection[str]) -> str:
    """Return the first names and how many more there are."""
    first = ", ".join(map(visible, list(names)[:_LISTED]))
    more = some(max(0, len(names) - _LISTED), "more")
    return joined(first, more, by=" and ")


def unread(result: Result) -> list[str]:
    """Return what lies under the sides and was not read, each with its reason: the first ones, and how many more."""
    return first_of(result.coverage.unread)


def first_of(unread: Mapping[str, str]) -> list[str]:
    """Return the first of what was not read, each with its reason, and how many more there are."""
    told = [visible(f"{name} {reason}") for name, reason in unread.items()]
    return list(filter(None, [*told[:_FILES], some(max(0, len(told) - _FILES), "more")]))


def not_measured(result: Result) -> list[str]:
    """Return what this result cannot speak about, one sentence each; empty only when all was measured."""
    if result.is_of_weights:
        return _uncovered(result)  # nothing ran
    return [*_questions(result), *_checks(result), *_uncovered(result), *_left_out(result)]


def _questions(result: Result) -> list[str]:
    """Return the questions and replays that have no pair."""
    present = set(map(column_of, result.pairs))
    asked = set(map(itemgetter(0), present))
    gaps = [sentence for question, sentence in _UNASKED.items() if question not in asked]
    # A question that nobody asked is one gap above, not one for each of its replays.
    for question, mode in sorted(COLUMNS, key=itemgetter(0)):
        if question in asked and (question, mode) not in present:
            gaps.append(f"{question}, {mode}: this replay was not made")
    return gaps


def _checks(result: Result) -> list[str]:
    """Return what the recorder did not prove about itself."""
    return [f"{sentence} was not checked" for check, sentence in _CHECKS.items() if result.checks.get(check) is None]


def _uncovered(result: Result) -> list[str]:
    """Return the stages, paths and addresses that were not compared."""
    found = result.coverage
    gaps = []
    for stage, verdict in result.stages.items():
        if verdict == "not measured":
            gaps.append(f"stage {visible(stage)}: not measured")
    for reason, amount in _reasons(found):
        gaps.append(f"{reason}: {count(amount, 'path')} of the reference")
    if found.excluded:
        gaps.append(f"excluded by the case: {count(len(found.excluded), 'address', 'addresses')}")
    gaps.append(after("without a reason: ", listed(found.unexplained)))
    gaps.append(some(len(found.unread), "files or parts of files, which were not read"))
    return list(filter(None, gaps))


def _left_out(result: Result) -> list[str]:
    """Return what the result has no price, picture or cause for."""
    gaps: dict[str, bool] = {}
    if makes_images(result):
        gaps["the price at the final latents and the image"] = not result.price
        gaps["the pictures: this result holds none"] = not result.images
    confirmed = [cause.confirmed for cause in result.causes if not cause.is_about_reference]
    unproven = f"{count(confirmed.count(False), 'cause')} not confirmed by a counterfactual replay"
    gaps[unproven] = False in confirmed
    unexplained = first_pair(result) is not None and not confirmed
    gaps["the cause of the first divergence; run parity diagnose"] = unexplained
    return [gap for gap, stands in gaps.items() if stands]


def makes_images(result: Result) -> bool:
    """Tell whether this is about a program that makes images: its case has a size in pixels, or nobody told the case."""
    return not result.case or "size" in result.case


def provenance(result: Result) -> list[Line]:
    """Return what the numbers depend on, both sides beside each other; what belongs to neither has one text."""
    rest: dict[str, Any] = dict(result.provenance)
    reference, candidate = flat(rest.pop("reference", None)), flat(rest.pop("candidate", None))
    lines = side_by_side([reference, candidate])
    for what, text in flat(rest).items():
        lines.append(Line(what=what, texts=[text]))
    return lines


def side_by_side(tables: Iterable[dict[str, str]]) -> list[Line]:
    """Return a row for each key that any table has, and a column for each table."""
    columns = list(tables)
    lines = []
    for what in dict.fromkeys(chain.from_iterable(columns)):
        texts = [column.get(what, NOTHING) for column in columns]
        lines.append(Line(what=what, texts=texts))
    return lines


def flat(table: object, *, nothing: str = NOTHING) -> dict[str, str]:
    """Return nested tables as dotted keys with text values; None reads `nothing`, and what is no table is empty."""
    return {name: _text(name, value, nothing) for name, value in _leaves(as_table(table), "")}


def _leaves(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    """Yield the dotted key and the value of all that is no table, however deep it stands."""
    for key, value in table.items():
        name = f"{prefix}{visible(str(key))}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _text(name: str, value: object, nothing: str) -> str:
    """Return a value as text."""
    if value is None:
        return nothing
    if not isinstance(value, (list, tuple)):
        return plain(value)
    return _between(name, value).join(map(plain, value)) or "none"


def _between(name: str, items: Sequence[object]) -> str:
    """Return what stands between the items of a list: a space in a command, a bar where texts may hold a comma."""
    if name.endswith("argv"):
        return " "
    if {str}.issuperset(map(type, items)):
        return " | "
    return ", "
