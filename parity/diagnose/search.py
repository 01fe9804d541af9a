"""The search for causes: each thing that wants an explanation is shown to the kinds of causes in their order.

Exact audits come first: parameters and settings that differ. Every suspect that none of them explains is then asked for
by its tensors. The first hypothesis becomes the cause; nothing is confirmed here.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from parity.diagnose.evidence import Recordings
from parity.diagnose.hypotheses import settings, weights
from parity.diagnose.hypothesis import PROVEN
from parity.diagnose.kinds import BY_SLUG, KINDS, OTHER_SETTING
from parity.diagnose.pairs import holds_any, paths_of, places_of
from parity.result import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from parity.components import Components
    from parity.diagnose.evidence import Evidence, Suspect, Weight
    from parity.diagnose.hypothesis import Hypothesis
    from parity.diagnose.kinds import Kind
    from parity.trace import Trace

__all__ = ["causes_of", "disagreements"]

_ASK_WEIGHTS = [(kind, kind.weight) for kind in KINDS if kind.weight is not None]
_ASK_TENSORS = [(kind, kind.tensors) for kind in KINDS if kind.tensors is not None]
_ASK_RECORDINGS = [(kind, kind.recordings) for kind in KINDS if kind.recordings is not None]
_OF_SETTINGS = {name: kind for kind in KINDS for name in kind.settings}

Thing = TypeVar("Thing")


class _Explanation(NamedTuple):
    """A hypothesis and the kind of cause that it is of."""

    kind: Kind
    hypothesis: Hypothesis

    def cause(self, places: Sequence[str]) -> Cause:
        """Return it as the cause of what is wrong at these places."""
        return Cause(
            slug=self.kind.slug,
            address=places[0],
            others=list(places[1:]),
            confirmed=False,
            confidence=self.hypothesis.confidence,
            evidence=list(self.hypothesis.evidence),
            repair=self.hypothesis.repair,
            edits=[msgspec.to_builtins(edit) for edit in self.hypothesis.edits],
        )


def causes_of(evidence: Evidence) -> list[Cause]:
    """Return the causes that audits and fits find, before any is confirmed."""
    audited = [*_of_weights(evidence), *_of_settings(evidence)]
    if evidence.is_of_references:
        return [*audited, *disagreements(evidence.reference, evidence.candidate)]
    suspects = list(evidence.suspects())
    _add_fits(audited, suspects)
    explained = set(chain.from_iterable(map(places_of, audited)))
    program = evidence.reference.manifest.program
    left = [suspect for suspect in suspects if not _is_explained(suspect, explained, program)]
    return [*audited, *_of_suspects(left)]


def _is_explained(suspect: Suspect, explained: Collection[str], program: Components) -> bool:
    """Tell whether a cause was found at a suspect's path, or inside of it."""
    return suspect.path in explained or holds_any(program, suspect.path, explained)


def disagreements(reference: Trace, other: Trace) -> Iterator[Cause]:
    """Yield what two recordings of the same weights are known to do differently: choices of each, and no noise."""
    recordings = Recordings.of(reference, other)
    for explanation in _explanations(_ASK_RECORDINGS, recordings):
        yield explanation.cause([explanation.kind.at])


def _explanations(
    asked: Iterable[tuple[Kind, Callable[[Thing], Iterator[Hypothesis]]]], thing: Thing
) -> Iterator[_Explanation]:
    """Yield what each kind says of a thing, in the order of the table; a function is called when its turn comes."""
    for kind, ask in asked:
        for hypothesis in ask(thing):
            yield _Explanation(kind, hypothesis)


def _of_weights(evidence: Evidence) -> list[Cause]:
    """Return one cause for each parameter that differs, and one for all that are absent for the same reason."""
    causes = []
    alike: dict[Kind, list[Weight]] = defaultdict(list)
    for weight in evidence.weights():
        explanation = _explained_weight(weight)
        if explanation.kind.together:
            alike[explanation.kind].append(weight)
        else:
            causes.append(explanation.cause([weight.place]))
    return [*causes, *(_together(alike[kind]) for kind in KINDS if kind in alike)]


def _explained_weight(weight: Weight) -> _Explanation:
    """Return the first explanation of a parameter that differs."""
    return next(_explanations(_ASK_WEIGHTS, weight))


def _together(alike: Sequence[Weight]) -> Cause:
    """Return one cause for parameters that are absent for the same reason, with how many of which component."""
    first = _explained_weight(alike[0])
    if len(alike) == 1:
        return first.cause([alike[0].place])
    cause = first.cause(paths_of(weight.pair for weight in alike))
    cause.evidence.insert(0, f"{first.kind.together}: {weights.shares(alike)}")
    cause.repair += f", and likewise for the other {len(alike) - 1}"
    return cause


def _of_settings(evidence: Evidence) -> Iterator[Cause]:
    """Yield one cause for each way in which a setting differs, with all its places."""
    for setting in evidence.settings():
        kind = _OF_SETTINGS.get(setting.name, OTHER_SETTING)
        yield _Explanation(kind, settings.differs(setting)).cause(setting.paths)


def _explained(suspect: Suspect) -> _Explanation:
    """Return the first explanation of a module's tensors."""
    asked = [(kind, ask) for kind, ask in _ASK_TENSORS if kind.at in {"", suspect.path}]
    return next(_explanations(asked, suspect))


def _of_suspects(suspects: Iterable[Suspect]) -> Iterable[Cause]:
    """Return one cause for all suspects that the same repair is for."""
    found: dict[tuple[str, str], Cause] = {}
    for suspect in suspects:
        cause = _explained(suspect).cause([suspect.path])
        first = found.setdefault((cause.slug, cause.repair), cause)
        if first is not cause:
            first.others.append(cause.address)
            first.edits.extend(cause.edits)
    return found.values()


def _add_fits(audited: Iterable[Cause], suspects: Iterable[Suspect]) -> None:
    """Add to each audited setting what the tensors at its place say, where they say the same."""
    by_path = {suspect.path: suspect for suspect in suspects}
    fittable = [cause for cause in audited if cause.address in by_path and BY_SLUG[cause.slug].tensors is not None]
    for cause in fittable:
        fitted = _explained(by_path[cause.address])
        if fitted.kind.slug == cause.slug:
            cause.evidence.extend(fitted.hypothesis.evidence)
            cause.confidence = PROVEN
