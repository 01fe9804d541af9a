"""Confirmation: one counterfactual replay applies all repairs, and what matches then was caused by what they repair.

A cause is confirmed when every pair at its places matches. A larger module that failed only because it contains a repaired
one is flagged `contains`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from parity.address import port_of
from parity.components import IMAGE, STEP
from parity.diagnose.counterfactual import replay_with
from parity.diagnose.hypothesis import PROVEN
from parity.diagnose.pairs import (
    Repeated,
    add_flag,
    differs,
    holds_any,
    in_layers,
    path_of_pair,
    paths_of,
    places_of,
    worst_of,
)
from parity.repair import Edit, SubstituteEdit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from parity.diagnose.evidence import Evidence
    from parity.result import Cause, Pair, Result
    from parity.trace import Trace

__all__ = ["can_confirm", "confirm"]

_DOUBTED = 0.5
"""Confidence in a cause whose repair does not remove the divergence."""


def can_confirm(evidence: Evidence, causes: Sequence[Cause]) -> bool:
    """Tell whether there is something to repair, something that could match then, and a command that replays it."""
    differ = any(map(differs, evidence.failing))
    return differ and bool(_edits(causes)) and bool(evidence.candidate.manifest.command)


def confirm(result: Result, evidence: Evidence, causes: Sequence[Cause], folder: Path) -> None:
    """Replay with the repairs; put into the result and its causes what that proves.

    Raises:
        ChildError: the replay failed.
    """
    after = _repaired(causes, evidence, folder)
    now = Repeated(after.pairs)
    for cause in causes:
        failed = evidence.failing_at(places_of(cause))
        if failed and cause.edits:
            _judge(cause, failed, now)
    _flag_containers(result, now)
    result.price["repaired"] = after.price


def _edits(causes: Sequence[Cause]) -> list[Edit]:
    """Return all edits of the causes, then a substitution for each place that none repairs."""
    repairs = chain.from_iterable(map(_edits_of, causes))
    substituted = chain.from_iterable(map(places_of, filter(_is_substituted, causes)))
    return [*repairs, *(SubstituteEdit(path=path) for path in substituted)]


def _is_substituted(cause: Cause) -> bool:
    """Tell whether the recorded outputs stand in for a repair of this cause.

    A module's output stands for its weight, but nothing stands for a parameter that has an address of its own.
    """
    return not cause.edits and not port_of(cause.address)


def _edits_of(cause: Cause) -> list[Edit]:
    """Return a cause's own edits."""
    return msgspec.convert(cause.edits, list[Edit])


def _repaired(causes: Sequence[Cause], evidence: Evidence, folder: Path) -> Result:
    """Replay what fails with the repairs of all causes, then without those that the candidate could not take.

    A place whose repair was refused is substituted, so that what contains it is still told from what fails by itself.
    """
    after, refused = _replay(causes, evidence, folder)
    if refused:
        for cause in causes:
            _give_up_refused(cause, refused)
        after, _ = _replay(causes, evidence, folder)
    return after


def _replay(causes: Sequence[Cause], evidence: Evidence, folder: Path) -> tuple[Result, dict[str, str]]:
    """Replay what fails, and what the free run ends in, with all edits; return what of them was refused, too."""
    failing = list(filter(differs, evidence.failing))
    return replay_with(
        _edits(causes),
        [*(pair.address for pair in failing), *_end(evidence.reference)],
        reference=evidence.reference,
        candidate=evidence.candidate,
        folder=folder,
        modes=("layers", "free"),
        dtype=failing[0].dtype or "float64",
    )


def _give_up_refused(cause: Cause, refused: Mapping[str, str]) -> None:
    """Take a cause's edits away when one of them was refused, and say why."""
    given_up = refused.keys() & set(map(_as_in_manifest, _edits_of(cause)))
    if given_up:
        cause.edits = []
        reasons = sorted({refused[text] for text in given_up})
        cause.evidence += [f"the repair could not be tried: {reason}" for reason in reasons]


def _as_in_manifest(edit: Edit) -> str:
    """Return an edit as a manifest writes it."""
    return msgspec.json.encode(edit).decode()


def _judge(cause: Cause, failed: Sequence[Pair], now: Repeated) -> None:
    """Put into a cause what became of its failing pairs."""
    worst = worst_of(failed)
    repaired = now.of(worst)
    cause.before = worst.rel_l2
    if repaired is not None:  # what could not be compared is not replayed either
        cause.after = repaired.rel_l2
    cause.confirmed = all(map(now.matches, failed))
    if cause.confirmed:
        cause.evidence.append(f"replayed with the repair applied, {worst.address} matches")
        cause.confidence = PROVEN
    else:
        cause.evidence.append(f"replayed with the repair applied, {worst.address} still differs")
        cause.confidence = min(cause.confidence, _DOUBTED)


def _flag_containers(result: Result, now: Repeated) -> None:
    """Flag `contains` on failing modules that match once a failing descendant of theirs is repaired."""
    failing = list(filter(differs, filter(in_layers, result.pairs)))
    paths = paths_of(failing)
    for healed in filter(now.matches, failing):
        if holds_any(result.program, path_of_pair(healed), paths):
            add_flag(healed, "contains")


def _end(reference: Trace) -> list[str]:
    """Return the addresses of the final latents, where the case has steps, and of the image."""
    steps = int((reference.manifest.case.get("sampling") or {}).get("steps", 0))
    latents = [f"{STEP}@step={steps - 1}:output"] if steps else []
    return [*latents, f"{IMAGE}:output"]
