"""Several candidates of one recording in one result: who they are, and how their results are joined and split.

A candidate is a system as it was built: its name and the options of the command that replayed it (weights,
source, device, a planted fault). Its traces belong together, each run in one of them. In one working type it
is one column of the report: its float64 runs, which no working type owns, stand in each of them.

The joined result holds every pair and every cause, each with its candidate's label, and under `candidates`
what else is known of each. `split` gives the result of each candidate back, in the form in which one alone is
written, so that whatever judges, diagnoses or draws one result does the same to each of several.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from parity.address import STAGES
from parity.compare.summary import first_divergence
from parity.result import Coverage, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from parity.result import Cause, Overall, Pair
    from parity.trace import Trace

__all__ = ["by_type", "folder_name", "join", "named", "split"]

_Word = TypeVar("_Word", bound=str)

_TWIN: Final = "float64"
_OVERALL: Final[tuple[Overall, ...]] = ("MISMATCH", "INCOMPLETE", "MATCH")
_STAGE: Final = ("MISMATCH", "INCOMPLETE", "INHERITED", "MATCH")


def named(candidates: Sequence[Trace]) -> dict[str, list[Trace]]:
    """Return the traces of each candidate by its name.

    A planted fault is part of the name, and so are the other options in which candidates of one name differ.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[Trace]] = {}
    for trace in candidates:
        groups.setdefault((trace.manifest.name, tuple(sorted(trace.manifest.command))), []).append(trace)
    shared = {
        name: set.intersection(*(set(command) for other, command in groups if other == name)) for name, _ in groups
    }
    found: dict[str, list[Trace]] = {}
    for (name, command), traces in groups.items():
        told = [option for option in command if option.startswith("--plant=") or option not in shared[name]]
        words = ", ".join(option.removeprefix("--").replace("=", " ", 1) for option in told)
        found[f"{name} ({words})" if words else name] = traces
    return found


def by_type(name: str, pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Return the pairs of one candidate by column, labelled `NAME, TYPE`; what no working type owns is in each."""
    types = {pair.dtype: None for pair in pairs if pair.question == "precision" and pair.dtype != _TWIN}
    return {
        f"{name}, {dtype}": [pair for pair in pairs if pair.question != "precision" or pair.dtype in {dtype, _TWIN}]
        for dtype in types or {_TWIN: None}
    }


def folder_name(label: str) -> str:
    """Return a label as the name of a folder.

    >>> folder_name("mindone_sdxl (plant gelu), float32")
    'mindone_sdxl-plant-gelu-float32'
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", label).strip("-.") or "candidate"


def split(result: Result) -> dict[str, Result]:
    """Return the result of each candidate by its label; of one alone, the result itself under an empty label."""
    if not result.candidates:
        return {"": result}
    pairs: dict[str, list[Pair]] = {label: [] for label in result.candidates}
    causes: dict[str, list[Cause]] = {label: [] for label in result.candidates}
    for pair in result.pairs:
        pairs[pair.candidate].append(pair)
    for cause in result.causes:
        causes[cause.candidate].append(cause)
    return {
        label: msgspec.structs.replace(view, pairs=pairs[label], causes=causes[label])
        for label, view in result.candidates.items()
    }


def join(views: Mapping[str, Result], before: Result | None = None) -> Result:
    """Return one result of several candidates; that of one alone is returned as it is.

    Args:
        views: Each candidate's result by label.
        before: The joined result that `views` were split from: what belongs to none of them is kept.
    """
    first = next(iter(views.values()))
    if len(views) == 1:
        return first
    pairs = [msgspec.structs.replace(pair, candidate=label) for label, view in views.items() for pair in view.pairs]
    causes = [msgspec.structs.replace(cause, candidate=label) for label, view in views.items() for cause in view.causes]
    traces = [path for view in views.values() for side, path in view.traces.items() if side != "reference"]
    counts: Counter[str] = Counter()
    for view in views.values():
        counts.update(view.counts)
    whole = Result(
        verdict=_gravest(_OVERALL, (view.verdict for view in views.values())),
        counts=dict(counts),
        first_divergence=first_divergence(pairs) if first.checks.get("ordered", True) else None,
        causes=causes,
        pairs=pairs,
        coverage=_together([view.coverage for view in views.values()]),
        platform={name: floors for view in views.values() for name, floors in view.platform.items()},
        provenance={"reference": first.provenance.get("reference")}
        | {label: view.provenance.get("candidate") for label, view in views.items()},
        case=first.case,
        functions=first.functions,
        checks=first.checks,
        islands=first.islands,
        stages=_stages(list(views.values())),
        traces={"reference": first.traces.get("reference", "")}
        | {f"candidate_{place}": path for place, path in enumerate(dict.fromkeys(traces))},
        candidates={label: msgspec.structs.replace(view, pairs=[], causes=[]) for label, view in views.items()},
    )
    if before is not None:
        whole.commands, whole.wall_s = before.commands, before.wall_s
    return whole


def _gravest(order: Sequence[_Word], words: Iterable[str]) -> _Word:
    """Return the word of `words` that comes first in `order`."""
    found = set(words)
    return next(word for word in order if word in found)


def _stages(views: Sequence[Result]) -> dict[str, str]:
    """Return the gravest verdict of each stage."""
    told = {stage: [view.stages[stage] for view in views if stage in view.stages] for stage in STAGES}
    return {stage: _gravest((*_STAGE, *words), words) for stage, words in told.items() if words}


def _together(parts: Sequence[Coverage]) -> Coverage:
    """Return the coverage that every candidate has: the least compared, and all that any leaves out."""
    unexplained = dict.fromkeys(path for part in parts for path in part.unexplained)
    return Coverage(
        paths=max(part.paths for part in parts),
        compared=min(part.compared for part in parts),
        parameter_owners=max(part.parameter_owners for part in parts),
        parameter_owners_compared=min(part.parameter_owners_compared for part in parts),
        not_compared={path: reason for part in parts for path, reason in part.not_compared.items()},
        unexplained=list(unexplained),
        pairs=sum(part.pairs for part in parts),
        excluded={address: reason for part in parts for address, reason in part.excluded.items()},
    )
