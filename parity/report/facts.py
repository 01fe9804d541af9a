"""What a result says beside its pairs: coverage, gaps, provenance, as text for every renderer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from parity.report.card import first_pair
from parity.report.grouping import column_of
from parity.report.words import NOTHING, count, joined, plain, some, visible

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from parity.result import Coverage, Result

__all__ = ["coverage", "flat", "listed", "not_measured", "provenance"]

_LISTED: Final = 12
_REPLAYS: Final = ("layers", "steps", "free")
_UNASKED: Final = {
    "semantics": "semantics: there is no float64 run of both sides, so what is computed was not judged by itself",
    "precision": "precision: there is no run in the working type",
    "audit": "audits: weights, attributes, tokens and schedule were not audited",
}
_CHECKS: Final = {"neutral": "that recording changes nothing", "repeatable": "that the reference repeats itself"}


def coverage(result: Result) -> list[tuple[str, str]]:
    """Return (what, how much) of the coverage, then one line per reason why something was not compared."""
    found = result.coverage
    audits = sum(pair.question == "audit" for pair in result.pairs)
    rows = [
        ("paths compared", f"{found.compared:,} of {found.paths:,}"),
        ("modules that own a parameter", f"{found.parameter_owners_compared:,} of {found.parameter_owners:,}"),
        ("pairs", f"{len(result.pairs) - audits:,} of tensors and values, {count(audits, 'audit')}"),
    ]
    rows += [(f"not compared: {reason}", f"{amount:,}") for reason, amount in _reasons(found)]
    if found.excluded:
        rows.append(("excluded by the case", listed(found.excluded)))
    if found.unexplained:
        rows.append(("not compared, no reason", listed(found.unexplained)))
    return rows


def _reasons(found: Coverage) -> list[tuple[str, int]]:
    """Return how many paths were not compared for each reason."""
    amounts = Counter(found.not_compared.values())
    return [(visible(reason), amounts[reason]) for reason in sorted(amounts)]


def listed(names: Collection[str]) -> str:
    """Return the first names and how many more there are."""
    first = ", ".join(map(visible, list(names)[:_LISTED]))
    more = some(max(0, len(names) - _LISTED), "more")
    return joined(first, more, by=" and ")


def not_measured(result: Result) -> list[str]:
    """Return what this result cannot speak about, one sentence each; empty only when all was measured."""
    return [*_questions(result), *_checks(result), *_uncovered(result), *_left_out(result)]


def _questions(result: Result) -> list[str]:
    """Return the questions and replays that have no pair."""
    present = set(map(column_of, result.pairs))
    asked = {question for question, _ in present}
    gaps = [sentence for question, sentence in _UNASKED.items() if question not in asked]
    for question in sorted(asked - {"audit"}):
        missing = (mode for mode in _REPLAYS if (question, mode) not in present)
        gaps += [f"{question}, {mode}: this replay was not made" for mode in missing]
    return gaps


def _checks(result: Result) -> list[str]:
    """Return what the recorder did not prove about itself."""
    return [f"{sentence} was not checked" for check, sentence in _CHECKS.items() if result.checks.get(check) is None]


def _uncovered(result: Result) -> list[str]:
    """Return the stages, paths and addresses that were not compared."""
    found = result.coverage
    empty = [visible(stage) for stage, verdict in result.stages.items() if verdict == "not measured"]
    gaps = [f"stage {stage}: not measured" for stage in empty]
    gaps += [f"{reason}: {count(amount, 'path')} of the reference" for reason, amount in _reasons(found)]
    if found.excluded:
        gaps.append(f"excluded by the case: {count(len(found.excluded), 'address', 'addresses')}")
    if found.unexplained:
        gaps.append(f"without a reason: {listed(found.unexplained)}")
    return gaps


def _left_out(result: Result) -> list[str]:
    """Return what the result has no price, picture or cause for."""
    gaps = []
    if not result.price:
        gaps.append("the price at the final latents and the image")
    if not result.images:
        gaps.append("the pictures: this result holds none")
    unconfirmed = sum(not cause.confirmed for cause in result.causes)
    if unconfirmed:
        gaps.append(f"{count(unconfirmed, 'cause')} not confirmed by a counterfactual replay")
    if not result.causes and first_pair(result) is not None:
        gaps.append("the cause of the first divergence; run parity diagnose")
    return gaps


def provenance(result: Result) -> list[tuple[str, str, str]]:
    """Return rows (what, reference, candidate); what belongs to neither side stands in the first of the two."""
    rest: dict[str, Any] = dict(result.provenance)
    reference, candidate = (flat(rest.pop(role, None)) for role in ("reference", "candidate"))
    keys = dict.fromkeys((*reference, *candidate))
    rows = [(key, reference.get(key, NOTHING), candidate.get(key, NOTHING)) for key in keys]
    return rows + [(key, value, "") for key, value in flat(rest).items()]


def flat(table: object, *, nothing: str = NOTHING) -> dict[str, str]:
    """Return nested tables as dotted keys with text values; None reads `nothing`, and what is no table is empty."""
    found: dict[str, str] = {}
    if not isinstance(table, dict):
        return found
    for key, value in table.items():
        name = visible(str(key))
        if isinstance(value, dict):
            below = flat(value, nothing=nothing)
            found |= {f"{name}.{inner}": text for inner, text in below.items()}
        else:
            found[name] = nothing if value is None else _text(name, value)
    return found


def _text(name: str, value: object) -> str:
    """Return a value as text: a command's words joined by spaces, texts by bars, because they may hold commas."""
    if not isinstance(value, (list, tuple)):
        return plain(value)
    return _separator(name, value).join(map(plain, value)) or "none"


def _separator(name: str, items: Sequence[object]) -> str:
    """Return what stands between the items of a list."""
    if name.endswith("argv"):
        return " "
    texts = all(isinstance(item, str) for item in items)
    return " | " if texts else ", "
