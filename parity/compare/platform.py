"""What the candidate's platform may be to blame for: operators that err more there than on the reference's platform.

A module of several operators has no floor of the platform's own, since nobody knows how its operators' errors add up. What
is known is how much an operator errs by itself on both platforms (`parity doctor --floors`), and which operators run inside
a module, as far as the classes of the reference's modules, their `activation`, and the kinds of the alignment's rows tell.
What the reference's own error of a module owes to an operator grows on the candidate's platform as that operator's error
does, so an excess up to the limit times the ratio of the two may be the platform's. Whether it is, a replay with the
operator in float64 tells (`parity.diagnose.platform`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import accumulate, takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from parity.components import WHOLE
from parity.repair import WIDENED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from parity.repair import Operator
    from parity.trace import Manifest
    from parity.trace.schema import Row

__all__ = ["Suspect", "excesses_inside", "suspects"]

_WORSE: Final = 1.5  # below this the two platforms are level

_SIGNS: Final[dict[str, Operator]] = {
    "attention": "softmax", "softmax": "softmax", "silu": "silu", "swish": "silu", "gelu": "gelu", "geglu": "gelu",
    "quickgelu": "quick_gelu", "tanh": "tanh", "sigmoid": "sigmoid", "timesteps": "exp", "sinusoid": "exp",
}  # fmt: skip
"""What the name of a class or of an activation holds, in small letters, and which operator then runs in it."""


class Suspect(NamedTuple):
    """A kind of operator with its own relative error on both platforms; the reference's may be unknown."""

    kind: Operator
    candidate: float
    reference: float | None

    @property
    def excess(self) -> float:
        """How many times the candidate's error is the reference's."""
        if not self.reference:
            return math.inf
        return self.candidate / self.reference

    def __str__(self) -> str:
        """Say both errors."""
        other = "unknown" if self.reference is None else f"{self.reference:.1e}"
        return f"{self.kind} by itself errs by {self.candidate:.1e} of its rms, the reference's by {other}"


def suspects(candidate: Manifest, reference: Manifest, dtype: str) -> list[Suspect]:
    """Return the operators that err more on the candidate's platform than on the reference's, the worst first."""
    ours = _own_errors(candidate, dtype)
    theirs = _own_errors(reference, dtype)
    found = map(Suspect, ours, ours.values(), map(theirs.get, ours))
    by_excess = sorted(found, key=attrgetter("excess"), reverse=True)
    return list(takewhile(_is_worse, by_excess))


def _is_worse(suspect: Suspect) -> bool:
    """Tell whether an operator errs more than where both platforms are level."""
    return suspect.excess > _WORSE


def _own_errors(manifest: Manifest, dtype: str) -> dict[Operator, float]:
    """Return how much each operator by itself errs on a platform, relative to its rms, where that was measured."""
    errors: dict[Operator, float] = {}
    for kind in WIDENED:
        measured = _terms(manifest, kind, dtype)
        if measured:
            errors[kind] = measured["rel_l2"]
    return errors


def _terms(manifest: Manifest, kind: str | None, dtype: str) -> dict[str, float]:
    """Return what a platform's table says of an operator in a type; nothing where it was not measured."""
    return manifest.floors.get(str(kind), {}).get(dtype, {})


def excesses_inside(candidate: Manifest, reference: Manifest, dtype: str) -> dict[str, dict[str, float]]:
    """Return path -> operator -> how many times the reference's error it has on the candidate's platform, the worst first.

    Only suspects that both platforms measured count, and only modules in which one is known to run. A path whose row names
    its operator is left out where that operator's own error is in its floor already.
    """
    excesses: dict[str, dict[str, float]] = {}
    inside = _operators_inside(candidate, reference)
    for suspect in filter(_is_known_to_both, suspects(candidate, reference, dtype)):
        for path in inside[suspect.kind]:
            excesses.setdefault(path, {})[suspect.kind] = suspect.excess

    def has_term(row: Row) -> bool:
        return bool(_terms(candidate, row.kind, dtype))

    for row in filter(has_term, _rows(candidate)):
        excesses.pop(row.path, None)
    return excesses


def _rows(manifest: Manifest) -> Sequence[Row]:
    """Return the rows of a candidate's alignment; one without a table has none."""
    return manifest.alignment or ()


def _is_known_to_both(suspect: Suspect) -> bool:
    """Tell whether an operator was measured on the reference's platform too."""
    return math.isfinite(suspect.excess)


def _operators_inside(candidate: Manifest, reference: Manifest) -> defaultdict[str | None, set[str]]:
    """Return operator -> the paths at or below which it is known to run."""
    inside: defaultdict[str | None, set[str]] = defaultdict(set)
    around: defaultdict[str, list[str]] = defaultdict(lambda: [WHOLE])
    for function, runs in reference.program.functions.items():
        for path in runs:
            around[path].append(function)
    for path, operator in _told(candidate, reference):
        for each in accumulate(path.split("."), "{}.{}".format):
            inside[operator].update([each, *around[each]])
    return inside


def _told(candidate: Manifest, reference: Manifest) -> Iterator[tuple[str, str | None]]:
    """Yield each path with an operator that its row, its class or its activation tells."""
    yield from map(attrgetter("path", "kind"), _rows(candidate))
    for path, called in reference.modules.items():
        activation = reference.attributes.get(path, {}).get("activation")
        letters = f"{called} {activation}".lower().replace("_", "")
        for sign in filter(letters.__contains__, _SIGNS):
            yield path, _SIGNS[sign]
