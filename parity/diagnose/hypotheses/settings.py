"""Settings: an attribute that both sides report, with another value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from parity.diagnose.hypothesis import REPORTED, Hypothesis
from parity.repair import AttributeEdit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.diagnose.evidence import Setting

__all__ = ["differs"]

_SHOWN: Final = 3  # enough kinds of path to see where a setting differs


def differs(setting: Setting) -> Hypothesis:
    """The candidate has another value than the reference, at one or more places."""
    name, value = setting.name, setting.reference
    where = setting.native
    if len(setting.paths) > 1:
        where = f"{where} and {len(setting.paths) - 1} more"
    said = f"attribute {name} is {value!r} in the reference and {setting.candidate!r} in the candidate, at {_places(setting.paths)}"
    return Hypothesis(
        confidence=REPORTED,
        evidence=(said,),
        repair=f"set {name} to {value!r} in {where}",
        edits=tuple(AttributeEdit(path=path, name=name, value=value) for path in setting.paths),
    )


def _places(paths: Sequence[str]) -> str:
    """Return how many places, and which kinds of path, in words."""
    if len(paths) == 1:
        return paths[0]
    kinds = sorted({re.sub(r"\.\d+", ".*", path) for path in paths})
    shown = kinds[:_SHOWN]
    if len(kinds) > _SHOWN:
        shown.append("…")
    return f"{len(paths)} places ({', '.join(shown)})"
