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
from collections import Counter, defaultdict
from functools import reduce
from itertools import chain, filterfalse
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec.structs import replace

from parity.address import STAGES
from parity.compare.summary import STAGE_VERDICTS, first_of, is_undecided
from parity.result import Coverage, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from parity.result import Cause, Overall, Pair
    from parity.trace import Trace

__all__ = ["awaits_decision", "by_type", "folder_name", "join", "named", "split"]

_Labelled = TypeVar("_Labelled", "Pair", "Cause")
_GRAVITY: Final = {word: place for place, word in enumerate(STAGE_VERDICTS)}

_TWIN: Final = "float64"
_PLANT: Final = re.compile("--plant=")
_OVERALL: Final[tuple[Overall, ...]] = ("MISMATCH", "INCOMPLETE", "MATCH")


def named(candidates: Sequence[Trace]) -> dict[str, list[Trace]]:
    """Return the traces of each candidate by its name.

    A planted fault is part of the name, and so are the other options in which candidates of one name differ.
    """
    groups: defaultdict[tuple[str, tuple[str, ...]], list[Trace]] = defaultdict(list)
    shared: dict[str, set[str]] = {}
    for trace in candidates:
        name, command = trace.manifest.name, trace.manifest.command
        groups[name, tuple(sorted(command))].append(trace)
        # A planted fault is told even where all of them have it.
        options = set(filterfalse(_PLANT.match, command))
        shared[name] = shared.get(name, options) & options
    return {_name_of(name, command, shared[name]): traces for (name, command), traces in groups.items()}


def _name_of(name: str, command: Sequence[str], shared: set[str]) -> str:
    """Return the name of a candidate with the options that tell it apart from others of its name."""
    told = filterfalse(shared.__contains__, command)
    words = ", ".join(map(_in_words, told))
    if not words:
        return name
    return f"{name} ({words})"


def _in_words(option: str) -> str:
    """Return `--plant=gelu` as `plant gelu`."""
    return option.removeprefix("--").replace("=", " ", 1)


def by_type(name: str, pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Return the pairs of one candidate by column, labelled `NAME, TYPE`; what no working type owns is in each."""
    types = dict.fromkeys(pair.dtype for pair in pairs if pair.question == "precision")
    types.pop(_TWIN, None)
    columns: dict[str, list[Pair]] = {}
    for dtype in types or (_TWIN,):
        columns[f"{name}, {dtype}"] = [pair for pair in pairs if _is_in_column(pair, dtype)]
    return columns


def _is_in_column(pair: Pair, dtype: str | None) -> bool:
    """Tell whether a pair stands in the column of a working type."""
    return pair.question != "precision" or pair.dtype in {dtype, _TWIN}


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
    views = {label: _bare(view) for label, view in result.candidates.items()}
    for pair in result.pairs:
        views[pair.candidate].pairs.append(pair)
    for cause in result.causes:
        views[cause.candidate].causes.append(cause)
    return views


def awaits_decision(result: Result) -> bool:
    """Tell whether undecided pairs alone keep the whole from a MATCH; of several candidates, each that does not match."""
    left = [view for view in split(result).values() if view.verdict != "MATCH"]
    return set(map(is_undecided, left)) == {True}


def join(views: Mapping[str, Result], before: Result | None = None) -> Result:
    """Return one result of several candidates; that of one alone is returned as it is.

    Args:
        views: Each candidate's result by label.
        before: The joined result that `views` were split from: what belongs to none of them is kept.
    """
    several = list(views.values())
    first = several[0]
    if len(several) == 1:
        return first
    whole = Result(
        verdict=min(map(attrgetter("verdict"), several), key=_OVERALL.index),
        counts={},
        first_divergence=None,
        causes=[],
        pairs=[],
        coverage=reduce(_together, map(attrgetter("coverage"), several)),
        platform={},
        provenance={"reference": first.provenance.get("reference")},
        case=first.case,
        functions=first.functions,
        checks=first.checks,
        islands=first.islands,
        stages=_stages(several),
        traces={"reference": first.traces.get("reference", "")},
    )
    counts: Counter[str] = Counter()
    traces: dict[str, None] = {}
    for label, view in views.items():
        counts.update(view.counts)
        whole.pairs += _labelled(view.pairs, label)
        whole.causes += _labelled(view.causes, label)
        whole.platform |= view.platform
        whole.provenance[label] = view.provenance.get("candidate")
        whole.candidates[label] = _bare(view)
        traces |= dict.fromkeys(path for side, path in view.traces.items() if side != "reference")
    whole.counts = dict(counts)
    whole.traces |= {f"candidate_{place}": path for place, path in enumerate(traces)}
    whole.first_divergence = first_of(whole)
    if before is not None:
        whole.commands, whole.wall_s = before.commands, before.wall_s
    return whole


def _bare(view: Result) -> Result:
    """Return a result without what the whole holds for it."""
    return replace(view, pairs=[], causes=[])


def _labelled(items: Sequence[_Labelled], label: str) -> list[_Labelled]:
    """Return pairs or causes with their candidate's label."""
    return [replace(item, candidate=label) for item in items]


def _stages(views: Iterable[Result]) -> dict[str, str]:
    """Return the gravest verdict of each stage."""
    told = chain.from_iterable(view.stages.items() for view in views)
    # Of the verdicts of one stage the last one stays, so the gravest come last; a word that a file has from elsewhere first.
    gravest = dict(sorted(told, key=lambda item: _GRAVITY.get(item[1], -1)))
    return {stage: gravest[stage] for stage in STAGES if stage in gravest}


def _together(first: Coverage, second: Coverage) -> Coverage:
    """Return the coverage that both candidates have: the least compared, and all that one of them leaves out."""
    return Coverage(
        paths=max(first.paths, second.paths),
        compared=min(first.compared, second.compared),
        parameter_owners=max(first.parameter_owners, second.parameter_owners),
        parameter_owners_compared=min(first.parameter_owners_compared, second.parameter_owners_compared),
        not_compared=first.not_compared | second.not_compared,
        unexplained=list(dict.fromkeys((*first.unexplained, *second.unexplained))),
        pairs=first.pairs + second.pairs,
        excluded=first.excluded | second.excluded,
        unread=first.unread | second.unread,
        notes=list(dict.fromkeys((*first.notes, *second.notes))),
    )
