"""Why the two sides differ: hypotheses from audits and tensors, confirmed by a replay with the repair applied.

1. Exact audits name weights and attributes that differ (`audits`).
2. Every suspect that no audit explains is fitted (`hypotheses`).
3. One counterfactual replay applies all repairs. A cause is confirmed when every pair at its place matches then; a
   larger module that failed only because it contains a repaired one is flagged `contains`.

First of all, what the platform explains is flagged and no longer fails (`platform`).

Nothing here knows what was planted: the input is the result and the two traces.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from parity import mapping
from parity.address import STAGES, Address, contains, stage_of
from parity.compare.several import folder_name, join, split
from parity.compare.summary import summarize
from parity.diagnose.audits import from_attributes, from_weights
from parity.diagnose.counterfactual import replay_with
from parity.diagnose.evidence import Evidence
from parity.diagnose.hypotheses import HYPOTHESES
from parity.diagnose.platform import blame_platform
from parity.diagnose.references import from_references
from parity.repair import Edit, SubstituteEdit
from parity.result import Cause
from parity.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from parity.diagnose.evidence import Suspect
    from parity.result import Number, Pair, Result

__all__ = ["SLUGS", "causes_of", "diagnose"]

SLUGS: Final = (
    "transposed-weight", "flipped-weight", "half-precision-weight", "swapped-weight", "weight-not-loaded",
    "weight-missing", "different-weight", "norm-epsilon", "norm-groups", "activation-variant", "attention-scale",
    "attention-heads", "attribute-differs", "noise-step-shifted", "sampler-step-scaled", "guidance-halves-swapped", "guidance-scale",
    "scaled-output", "shifted-output", "permuted-channels", "step-shifted", "half-precision-grid", "padding", "platform-precision",
    "unknown",
    "padding-token-in-prompt", "negative-conditioning", "timestep-spacing",
)  # fmt: skip
"""Every kind of cause; docs/causes/SLUG.md explains it."""

_FAILED = {"MISMATCH", "INCOMPARABLE"}


def diagnose(result: Result, folder: Path, *, progress: Callable[[str, int, int], None]) -> Result:
    """Return the result with causes, `contains` flags, and the verdicts that follow from them.

    Of several candidates, each that does not match is diagnosed by itself.

    Raises:
        TraceError: a trace that the result names is gone or damaged.
        ChildError: a counterfactual replay failed.
    """
    if not result.candidates:
        return _diagnosed(result, folder / "counterfactual", progress)
    views = split(result)
    for label, view in views.items():
        if view.verdict != "MATCH":
            _diagnosed(view, folder / folder_name(label) / "counterfactual", progress)
    return join(views, before=result)


def _diagnosed(result: Result, folder: Path, progress: Callable[[str, int, int], None]) -> Result:
    """Put causes, flags and verdicts into the result of one candidate; its repaired replay lies in `folder`."""
    reference = Trace.open(result.traces["reference"])
    candidates = [Trace.open(path) for name, path in sorted(result.traces.items()) if name.startswith("candidate_")]
    if "mapping" in result.checks:
        table = mapping.read(Path(result.checks["mapping"]))
        candidates = [mapping.mapped(each, table, reference) for each in candidates]
    platform = blame_platform(result, reference, candidates, folder.with_name("platform"), progress)
    evidence = Evidence(result, reference, candidates)
    progress("fit hypotheses", 0, 1)
    causes = causes_of(evidence)
    progress("fit hypotheses", 1, 1)
    failing = [pair for pair in evidence.failing if pair.verdict == "MISMATCH"]
    if _edits(causes) and failing and evidence.candidate.manifest.command:
        progress("replay with the repairs", 0, 1)
        after = _repaired(causes, evidence, failing, folder)
        _confirm(result, evidence, causes, after)
        progress("replay with the repairs", 1, 1)
    result.causes = sorted([*causes, *platform], key=_order)
    summarize(result)
    return result


def _repaired(causes: list[Cause], evidence: Evidence, failing: Sequence[Pair], folder: Path) -> Result:
    """Replay what fails with the repairs of all causes, then without those that the candidate could not take.

    A place whose repair was refused is substituted, so that what contains it is still told from what fails by itself.
    """
    addresses = [*(pair.address for pair in failing), *_end(evidence.reference)]
    for _ in range(2):
        after, refused = replay_with(
            _edits(causes), addresses, reference=evidence.reference, candidate=evidence.candidate, folder=folder,
            modes=("layers", "free"), dtype=failing[0].dtype or "float64",
        )  # fmt: skip
        if not refused:
            break
        for cause in causes:
            reasons = {refused[text] for edit in cause.edits if (text := _as_json(edit)) in refused}
            if reasons:
                cause.edits = []
                cause.evidence.extend(f"the repair could not be tried: {reason}" for reason in sorted(reasons))
    return after


def _as_json(edit: dict[str, Any]) -> str:
    """Return an edit as a manifest writes it."""
    return msgspec.json.encode(msgspec.convert(edit, Edit)).decode()


def causes_of(evidence: Evidence) -> list[Cause]:
    """Return the causes that audits and fits find, before any is confirmed."""
    causes = [*from_weights(evidence), *from_attributes(evidence)]
    if evidence.candidate.manifest.side == "reference":
        return [*causes, *from_references(evidence.reference, evidence.candidate)]
    explained = {path for cause in causes for path in (cause.address.partition(":")[0], *cause.others)}
    fitted: dict[tuple[str, str], Cause] = {}
    for suspect in evidence.suspects():
        if suspect.path in explained or any(contains(suspect.path, place) for place in explained):
            continue
        cause = next((found for hypothesis in HYPOTHESES if (found := hypothesis(evidence, suspect))), None)
        cause = cause or _unknown(suspect)
        key = (cause.slug, cause.repair) if cause.slug != "unknown" else (cause.slug, cause.address)
        if key in fitted:
            fitted[key].others.append(cause.address)
            fitted[key].edits.extend(cause.edits)
        else:
            fitted[key] = cause
    _add_fits(evidence, causes)
    return [*causes, *fitted.values()]


def _add_fits(evidence: Evidence, causes: list[Cause]) -> None:
    """Add to each audited attribute what its tensors say, where a fit agrees."""
    suspects = {suspect.path: suspect for suspect in evidence.suspects()}
    for cause in causes:
        suspect = suspects.get(cause.address)
        found = None if suspect is None else next((c for h in HYPOTHESES if (c := h(evidence, suspect))), None)
        if found is not None and found.slug == cause.slug:
            cause.evidence.extend(found.evidence)
            cause.confidence = 1.0


def _unknown(suspect: Suspect) -> Cause:
    """Return the cause that only says where."""
    pair = suspect.worst
    facts = [
        f"{len(suspect.pairs)} outputs differ with identical inputs; the largest relative difference is {_short(pair.rel_l2)}"
    ]
    return Cause(
        slug="unknown", address=suspect.path, confirmed=False, confidence=0.3, evidence=[*facts, pair.detail],
        repair=f"compare how both sides compute {suspect.path}; its inputs match", edits=[],
    )  # fmt: skip


def _short(value: Number | None) -> str:
    """Return a distance as a sentence quotes it."""
    return f"{value:.1e}" if isinstance(value, float) else str(value)


def _confirm(result: Result, evidence: Evidence, causes: list[Cause], after: Result) -> None:
    """Mark what the counterfactual replay proved."""
    now = {pair.address: pair for pair in after.pairs if pair.mode == "layers"}
    before = {pair.address: pair for pair in evidence.layers}
    for cause in causes:
        places = {cause.address.partition(":")[0], *cause.others}
        mine = [pair for pair in evidence.failing if Address.parse(pair.address).path in places]
        if not mine or not cause.edits:
            continue
        worst = max(mine, key=lambda pair: pair.rel_l2 if isinstance(pair.rel_l2, float) else float("inf"))
        cause.before = before[worst.address].rel_l2
        cause.after = now[worst.address].rel_l2 if worst.address in now else None
        cause.confirmed = all(pair.address in now and now[pair.address].verdict == "MATCH" for pair in mine)
        said = "matches" if cause.confirmed else "still differs"
        cause.evidence.append(f"replayed with the repair applied, {worst.address} {said}")
        cause.confidence = 1.0 if cause.confirmed else min(cause.confidence, 0.5)
    _flag_containers(result, now)
    result.price["repaired"] = after.price


def _flag_containers(result: Result, now: dict[str, Pair]) -> None:
    """Flag `contains` on failing modules that match once a failing descendant of theirs is repaired."""
    failing = [pair for pair in result.pairs if pair.mode == "layers" and pair.verdict == "MISMATCH"]
    paths = {Address.parse(pair.address).path for pair in failing}
    for pair in failing:
        path = Address.parse(pair.address).path
        holds = any(contains(path, other) for other in paths)
        repaired = now.get(pair.address)
        if holds and repaired is not None and repaired.verdict == "MATCH" and "contains" not in pair.flags:
            pair.flags = [*pair.flags, "contains"]


def _edits(causes: Iterable[Cause]) -> list[Edit]:
    """Return all edits of the causes, and a substitution for each place that none repairs."""
    found: list[Edit] = [msgspec.convert(edit, Edit) for cause in causes for edit in cause.edits]
    found.extend(
        SubstituteEdit(path=path)
        for cause in causes
        if not cause.edits and ":" not in cause.address
        for path in (cause.address, *cause.others)
    )
    return found


def _end(reference: Trace) -> list[str]:
    """Return the addresses of the final latents and the image."""
    steps = int(reference.manifest.case["sampling"]["steps"])
    return [f"scheduler.step@step={steps - 1}:output", "postprocess:output"]


def _order(cause: Cause) -> tuple[Any, ...]:
    """Order causes by stage, then by confidence."""
    path, _, port = cause.address.partition(":")
    stage = (
        "weights"
        if cause.slug.endswith("-weight") or cause.slug.startswith("weight-")
        else stage_of(path, port or "output")
    )
    return (STAGES.index(stage), -cause.confidence, cause.address)
