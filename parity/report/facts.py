"""What a result says beside its pairs: coverage, gaps, provenance, as text for every renderer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from parity.report.card import first_pair
from parity.report.words import NOTHING, count, plain, visible

if TYPE_CHECKING:
    from parity.result import Result

__all__ = ["coverage", "flat", "listed", "not_measured", "provenance"]

_LISTED: Final = 12
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
    reasons = Counter(found.not_compared.values())
    rows += [(f"not compared: {visible(reason)}", f"{amount:,}") for reason, amount in sorted(reasons.items())]
    if found.excluded:
        rows.append(("excluded by the case", listed(list(found.excluded))))
    if found.unexplained:
        rows.append(("not compared, no reason", listed(found.unexplained)))
    return rows


def listed(names: list[str]) -> str:
    """Return the first names and how many more there are."""
    more = len(names) - _LISTED
    return ", ".join(visible(name) for name in names[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def not_measured(result: Result) -> list[str]:
    """Return what this result cannot speak about, one sentence each; empty only when all was measured."""
    reasons = Counter(result.coverage.not_compared.values())
    gaps = _questions(result) + _checks(result)
    gaps += [
        f"stage {visible(stage)}: not measured" for stage, verdict in result.stages.items() if verdict == "not measured"
    ]
    gaps += [
        f"{visible(reason)}: {count(amount, 'path')} of the reference" for reason, amount in sorted(reasons.items())
    ]
    if result.coverage.excluded:
        gaps.append(f"excluded by the case: {count(len(result.coverage.excluded), 'address', 'addresses')}")
    if result.coverage.unexplained:
        gaps.append(f"without a reason: {listed(result.coverage.unexplained)}")
    if not result.price:
        gaps.append("the price at the final latents and the image")
    if not result.images:
        gaps.append("the pictures: this result holds none")
    unconfirmed = sum(not cause.confirmed for cause in result.causes)
    if unconfirmed:
        gaps.append(f"{count(unconfirmed, 'cause')} not confirmed by a counterfactual replay")
    if first_pair(result) is not None and not result.causes:
        gaps.append("the cause of the first divergence; run parity diagnose")
    return gaps


def _questions(result: Result) -> list[str]:
    """Return the questions and replays that have no pair."""
    present = {(pair.question, pair.mode) for pair in result.pairs}
    asked = {question for question, _ in present}
    gaps = [sentence for question, sentence in _UNASKED.items() if question not in asked]
    return gaps + [
        f"{question}, {mode}: this replay was not made"
        for question in sorted(asked - {"audit"})
        for mode in ("layers", "steps", "free")
        if (question, mode) not in present
    ]


def _checks(result: Result) -> list[str]:
    """Return what the recorder did not prove about itself."""
    return [f"{sentence} was not checked" for check, sentence in _CHECKS.items() if result.checks.get(check) is None]


def provenance(result: Result) -> list[tuple[str, str, str]]:
    """Return rows (what, reference, candidate); what belongs to neither side stands in the first of the two."""
    known: dict[str, Any] = result.provenance
    reference, candidate = (
        flat(known[role] if isinstance(known.get(role), dict) else {}) for role in ("reference", "candidate")
    )
    rows = [
        (key, reference.get(key, NOTHING), candidate.get(key, NOTHING))
        for key in dict.fromkeys((*reference, *candidate))
    ]
    rest = flat({key: value for key, value in known.items() if key not in {"reference", "candidate"}})
    return rows + [(key, value, "") for key, value in rest.items()]


def flat(table: dict[str, Any], prefix: str = "", *, nothing: str = NOTHING) -> dict[str, str]:
    """Return nested tables as dotted keys with text values; None reads `nothing`."""
    found: dict[str, str] = {}
    for key, value in table.items():
        name = prefix + visible(str(key))
        if isinstance(value, dict):
            found.update(flat(value, name + ".", nothing=nothing))
        else:
            words = _joined(name, value) if isinstance(value, (list, tuple)) else plain(value)
            found[name] = nothing if value is None else words
    return found


def _joined(name: str, items: list[Any] | tuple[Any, ...]) -> str:
    """Return a list as text: a command's words by spaces, texts by bars, because they may hold commas."""
    texts = all(isinstance(item, str) for item in items)
    return (" " if name.endswith("argv") else " | " if texts else ", ").join(map(plain, items)) or "none"
