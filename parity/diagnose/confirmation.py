"""Confirmation: one counterfactual replay applies all repairs, and what matches then was caused by what they repair.

A cause is confirmed when every pair at its places matches. A larger module that failed only because it contains a repaired
one is flagged `contains`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from parity.address import path_of, port_of
from parity.diagnose.counterfactual import replay_with
from parity.diagnose.evidence import worst_of
from parity.diagnose.hypothesis import PROVEN
from parity.repair import Edit, SubstituteEdit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from parity.diagnose.evidence import Evidence
    from parity.result import Cause, Pair, Result
    from parity.trace import Trace

__all__ = ["can_confirm", "confirm", "edits_of"]

_DOUBTED = 0.5
"""Confidence in a cause whose repair does not remove the divergence."""


def can_confirm(evidence: Evidence, causes: Sequence[Cause]) -> bool:
    """Tell whether there is something to repair, something that could match then, and a command that replays it."""
    return bool(edits_of(causes) and _mismatches(evidence) and evidence.candidate.manifest.command)


def confirm(result: Result, evidence: Evidence, causes: Sequence[Cause], folder: Path) -> None:
    """Replay with the repairs; put into the result and its causes what that proves.

    Raises:
        ChildError: the replay failed.
    """
    after = _repaired(causes, evidence, folder)
    now = {pair.address: pair for pair in after.pairs if pair.mode == "layers"}
    for cause in causes:
        places = {path_of(cause.address), *cause.others}
        mine = [pair for pair in evidence.failing if path_of(pair.address) in places]
        if mine and cause.edits:
            _judge(cause, mine, now)
    _flag_containers(result, now)
    result.price["repaired"] = after.price


def edits_of(causes: Iterable[Cause]) -> list[Edit]:
    """Return all edits of the causes, then a substitution for each place that none repairs."""
    found: list[Edit] = []
    substituted: list[Edit] = []
    for cause in causes:
        found.extend(msgspec.convert(edit, Edit) for edit in cause.edits)
        if not cause.edits and not port_of(cause.address):
            substituted.extend(SubstituteEdit(path=path) for path in (cause.address, *cause.others))
    return found + substituted


def _mismatches(evidence: Evidence) -> list[Pair]:
    """Return the failing pairs that were measured."""
    return [pair for pair in evidence.failing if pair.verdict == "MISMATCH"]


def _repaired(causes: Sequence[Cause], evidence: Evidence, folder: Path) -> Result:
    """Replay what fails with the repairs of all causes, then without those that the candidate could not take.

    A place whose repair was refused is substituted, so that what contains it is still told from what fails by itself.
    """
    failing = _mismatches(evidence)
    addresses = [*(pair.address for pair in failing), *_end(evidence.reference)]
    for _ in range(2):
        after, refused = replay_with(
            edits_of(causes), addresses, reference=evidence.reference, candidate=evidence.candidate, folder=folder,
            modes=("layers", "free"), dtype=failing[0].dtype or "float64",
        )  # fmt: skip
        if not refused:
            break
        for cause in causes:
            _give_up_refused(cause, refused)
    return after


def _give_up_refused(cause: Cause, refused: Mapping[str, str]) -> None:
    """Take a cause's edits away when one of them was refused, and say why."""
    texts = {_as_json(edit) for edit in cause.edits}
    reasons = {refused[text] for text in texts & refused.keys()}
    if reasons:
        cause.edits = []
        cause.evidence.extend(f"the repair could not be tried: {reason}" for reason in sorted(reasons))


def _as_json(edit: dict[str, Any]) -> str:
    """Return an edit as a manifest writes it."""
    return msgspec.json.encode(msgspec.convert(edit, Edit)).decode()


def _judge(cause: Cause, failed: Sequence[Pair], now: Mapping[str, Pair]) -> None:
    """Put into a cause what became of its failing pairs."""
    worst = worst_of(failed)
    repaired = now.get(worst.address)
    cause.before = worst.rel_l2
    cause.after = None if repaired is None else repaired.rel_l2
    cause.confirmed = all(_matches(now.get(pair.address)) for pair in failed)
    if cause.confirmed:
        cause.evidence.append(f"replayed with the repair applied, {worst.address} matches")
        cause.confidence = PROVEN
    else:
        cause.evidence.append(f"replayed with the repair applied, {worst.address} still differs")
        cause.confidence = min(cause.confidence, _DOUBTED)


def _matches(pair: Pair | None) -> bool:
    """Tell whether a pair was replayed and matches."""
    return pair is not None and pair.verdict == "MATCH"


def _flag_containers(result: Result, now: Mapping[str, Pair]) -> None:
    """Flag `contains` on failing modules that match once a failing descendant of theirs is repaired."""
    failing = [pair for pair in result.pairs if pair.mode == "layers" and pair.verdict == "MISMATCH"]
    paths = {path_of(pair.address) for pair in failing}
    program = result.program
    for pair in failing:
        holds = any(program.contains(path_of(pair.address), other) for other in paths)
        if holds and _matches(now.get(pair.address)) and "contains" not in pair.flags:
            pair.flags = [*pair.flags, "contains"]


def _end(reference: Trace) -> list[str]:
    """Return the addresses of the final latents, where the case has steps, and of the image."""
    steps = int(reference.manifest.case.get("sampling", {}).get("steps", 0))
    latents = [f"scheduler.step@step={steps - 1}:output"] if steps else []
    return [*latents, "postprocess:output"]
