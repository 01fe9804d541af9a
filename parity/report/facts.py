"""What a result says beside its pairs: price, coverage, gaps, provenance, as text for every renderer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from parity.report.card import first_pair
from parity.report.words import NOTHING, count, plain, visible

if TYPE_CHECKING:
    from parity.result import Result

__all__ = ["PriceRow", "coverage", "flat", "listed", "not_measured", "price", "provenance"]

_LISTED: Final = 12


class PriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the divergence costs at one place: measures by name, as text; `within` its limit, where it has one."""

    what: str
    measures: dict[str, str]
    within: bool | None = None


def price(result: Result) -> list[PriceRow]:
    """Return the price table: one row per place of `result.price`; a table of tables gives a row for each."""
    rows = []
    for name, value in result.price.items():
        if isinstance(value, dict) and value and all(isinstance(item, dict) for item in value.values()):
            rows += [_price(f"{name}: {inner}", item) for inner, item in value.items()]
        else:
            rows.append(_price(name, value if isinstance(value, dict) else {"value": value}))
    return rows


def _price(name: str, measures: dict[str, Any]) -> PriceRow:
    """Return one row; it is within its limit when its `relative` is."""
    relative, limit = measures.get("relative"), measures.get("limit")
    within = relative <= limit if isinstance(relative, float) and isinstance(limit, float) else None
    told = {_spaced(key): f"{item:.4g}" if isinstance(item, float) else plain(item) for key, item in measures.items()}
    return PriceRow(what=_spaced(name), measures=told, within=within)


def _spaced(name: object) -> str:
    """Return a key as words."""
    return visible(str(name)).replace("_", " ")


def coverage(result: Result) -> list[tuple[str, str]]:
    """Return (what, how much) of the coverage, then one line per reason why something was not compared."""
    found = result.coverage
    rows = [
        ("paths compared", f"{found.compared:,} of {found.paths:,}"),
        ("modules that own a parameter", f"{found.parameter_owners_compared:,} of {found.parameter_owners:,}"),
        ("pairs", f"{found.pairs or len(result.pairs):,}"),
    ]
    reasons = Counter(found.not_compared.values())
    rows += [(f"not compared: {visible(reason)}", f"{amount:,}") for reason, amount in sorted(reasons.items())]
    if found.unexplained:
        rows.append(("not compared, no reason", listed(found.unexplained)))
    return rows


def listed(names: list[str]) -> str:
    """Return the first names and how many more there are."""
    more = len(names) - _LISTED
    return ", ".join(visible(name) for name in names[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def not_measured(result: Result) -> list[str]:
    """Return what this result cannot speak about, one sentence each; empty only when all was measured."""
    present = {(pair.question, pair.mode) for pair in result.pairs}
    gaps = []
    if not any(question == "semantics" for question, _ in present):
        gaps.append("semantics: there is no float64 run of both sides, so what is computed was not judged by itself")
    if not any(question == "precision" for question, _ in present):
        gaps.append("precision: there is no run in the working type")
    gaps += [
        f"{question}, {mode}: this replay was not made"
        for question in sorted({question for question, _ in present} - {"audit"})
        for mode in ("layers", "steps", "free")
        if (question, mode) not in present
    ]
    if not any(question == "audit" for question, _ in present):
        gaps.append("audits: weights, attributes, tokens and schedule were not audited")
    for check, sentence in (
        ("neutral", "that recording changes nothing"),
        ("repeatable", "that the reference repeats itself"),
    ):
        if result.checks.get(check) is None:
            gaps.append(f"{sentence} was not checked")
    gaps += [
        f"stage {visible(stage)}: {visible(verdict)}"
        for stage, verdict in result.stages.items()
        if verdict.lower() == "not measured"
    ]
    gaps += [f"{visible(reason)}: {count(amount, 'path')} of the reference" for reason, amount in
             sorted(Counter(result.coverage.not_compared.values()).items())]  # fmt: skip
    if result.coverage.unexplained:
        gaps.append(f"without a reason: {listed(result.coverage.unexplained)}")
    if not result.price:
        gaps.append("the price at the final latents and the image")
    unconfirmed = sum(not cause.confirmed for cause in result.causes)
    if unconfirmed:
        gaps.append(f"{count(unconfirmed, 'cause')} not confirmed by a counterfactual replay")
    if first_pair(result) is not None and not result.causes:
        gaps.append("the cause of the first divergence; run parity diagnose")
    return gaps


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


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested tables as dotted keys with text values."""
    found: dict[str, str] = {}
    for key, value in table.items():
        name = prefix + visible(str(key))
        if isinstance(value, dict):
            found.update(flat(value, name + "."))
        else:
            found[name] = " ".join(plain(item) for item in value) if isinstance(value, (list, tuple)) else plain(value)
    return found
