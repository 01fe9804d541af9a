"""The diagnosis of a result: what the platform explains, the causes of the rest, and which of them a replay confirms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from parity import mapping
from parity.address import STAGES, path_of, port_of
from parity.compare.several import folder_name, join, split
from parity.compare.summary import summarize
from parity.diagnose.confirmation import can_confirm, confirm
from parity.diagnose.evidence import Evidence
from parity.diagnose.kinds import BY_SLUG
from parity.diagnose.platform import blame_platform
from parity.diagnose.search import causes_of
from parity.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from parity.components import Components
    from parity.result import Cause, Result

    Progress = Callable[[str, int, int], None]

__all__ = ["diagnose"]


def diagnose(result: Result, folder: Path, *, progress: Progress) -> Result:
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


def _diagnosed(result: Result, folder: Path, progress: Progress) -> Result:
    """Put causes, flags and verdicts into the result of one candidate; its repaired replay lies in `folder`."""
    if result.is_of_weights:
        return result  # what became of each is known already, and nothing can be replayed
    reference, candidates = _traces(result)
    platform = blame_platform(result, reference, candidates, folder.with_name("platform"), progress)
    evidence = Evidence(result, reference, candidates)
    progress("fit hypotheses", 0, 1)
    causes = causes_of(evidence)
    progress("fit hypotheses", 1, 1)
    if can_confirm(evidence, causes):
        progress("replay with the repairs", 0, 1)
        confirm(result, evidence, causes, folder)
        progress("replay with the repairs", 1, 1)
    result.causes = sorted([*causes, *platform], key=lambda cause: _order(cause, reference.manifest.program))
    summarize(result)
    return result


def _traces(result: Result) -> tuple[Trace, list[Trace]]:
    """Open the reference and the candidates that a result names, these read through the mapping if there is one."""
    reference = Trace.open(result.traces["reference"])
    candidates = [Trace.open(path) for name, path in sorted(result.traces.items()) if name.startswith("candidate_")]
    if "mapping" in result.checks:
        table = mapping.read(Path(result.checks["mapping"]))
        candidates = [mapping.mapped(each, table, reference) for each in candidates]
    return reference, candidates


def _order(cause: Cause, program: Components) -> tuple[int, float, str]:
    """Order causes by stage, then by confidence."""
    stage = "weights"
    if BY_SLUG[cause.slug].weight is None:
        stage = program.stage_of(path_of(cause.address), port_of(cause.address) or "output")
    return STAGES.index(stage), -cause.confidence, cause.address
