"""What the larger commands do in one process; `run` in its own module starts one for each side."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from parity import children, disk, points
from parity.cli.options import types
from parity.cli.progress import bar, say
from parity.components import IMAGE
from parity.errors import ChildError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from parity.choices import Contents
    from parity.cli.options import Recording, Replaying
    from parity.result import Result
    from parity.trace import Trace

__all__ = [
    "compare",
    "compared",
    "diagnose",
    "doctor",
    "record",
    "replay",
    "write",
]

_IMAGE: Final = f"{IMAGE}:output"


def record(asked: Recording, out: Path) -> None:
    """Run the reference in this process and write its trace."""
    from parity import record as recorder
    from parity.cli import sizes as sizing

    resolved, options = asked.resolved(), asked.options()
    recorder.check(resolved, out, options)
    with _resumable(out), bar("record") as progress, points.guarded_adapter("reference", asked.reference):
        trace = recorder.record(resolved, recorder.find(asked.reference), out, options, progress=progress)
    say(sizing.saved(trace))


def replay(trace: Path, out: Path, asked: Replaying) -> None:
    """Replay a trace in this process and write the candidate's."""
    from parity import replay as replayer
    from parity.trace import check_unused

    options = asked.options(trace)
    check_unused(out, resume=asked.resume)
    with _resumable(out), bar("replay") as progress, points.guarded_adapter("candidate", asked.candidate):
        replayer.replay(trace, replayer.find(asked.candidate), out, options, progress)


@contextmanager
def _resumable(out: Path) -> Iterator[None]:
    """Say of a trace that a block leaves unfinished how it is continued."""
    from parity.trace import is_unfinished

    try:
        yield
    except BaseException:
        if is_unfinished(out):
            say(f"{out} is not complete; the same command with --resume goes on from what is")
        raise


def compare(
    trace: Path, candidates: Sequence[Path], *, out: Path | None, tolerances: Path | None, jobs: int | None,
    mapping: Path | None = None, contents: Contents | None = None,
) -> Result:  # fmt: skip
    """Compare traces; write result.json and the reports when `out` is given."""
    judged = partial(
        compared, trace, candidates, out=out, tolerances=tolerances, jobs=jobs, mapping=mapping, contents=contents
    )
    if out is None:
        return judged()
    _check_apart(out, [trace, *candidates])
    with disk.claimed(out):
        _check_earlier(out)
        result = judged()
        write(result, out)
    return result


def _check_apart(out: Path, sides: Sequence[Path]) -> None:
    """Refuse to write among the files of a side, of which the next comparison would read the result.

    Raises:
        InputError: the folder is a side's, or lies in it.
    """
    folder = Path(os.path.realpath(out))
    for side in sides:
        if Path(os.path.realpath(side)) in (folder, *folder.parents):
            message = f"{out} is of {side}, which is compared, and a result is none of its files; give another --out"
            raise InputError(message)


def _check_earlier(out: Path) -> None:
    """Refuse to replace files that no comparison wrote.

    Raises:
        InputError: files of these names lie there without a result that they are drawn from, or it is a trace.
    """
    from parity import result as results

    if (out / "manifest.json").exists():
        message = f"{out} is a trace, and a result is none of its files; give another --out"
        raise InputError(message)
    there = [name for name in ("result.json", "report.html", "junit.xml") if (out / name).exists()]
    if not there:
        return
    try:
        results.read(out)
    except InputError as error:
        message = f"{out} holds a {there[0]} that would be replaced and is no result that is whole; give another --out, or remove it"
        raise InputError(message) from error


def compared(
    trace: Path, candidates: Sequence[Path], *, out: Path | None, tolerances: Path | None, jobs: int | None,
    mapping: Path | None = None, contents: Contents | None = None,
) -> Result:  # fmt: skip
    """Compare traces; draw the pictures when the result is for a folder `out`."""
    # Modules and pairs are many objects that stay: looking through them for cycles takes a tenth of a small comparison.
    gc.set_threshold(50_000, 20, 100)
    from parity import compare as comparer
    from parity.trace import Trace

    with bar("compare") as progress:
        rules = comparer.load_tolerances(tolerances) if tolerances else []
        excludes = comparer.load_excludes(tolerances) if tolerances else []
        reference, opened = Trace.open(trace), [Trace.open(path) for path in candidates]
        judge = partial(
            comparer.compare, reference, tolerances=rules, jobs=jobs, contents=contents,
            progress=lambda done, total: progress("pairs", done, total),
        )  # fmt: skip
        if mapping is None:
            result = judge(opened, excludes=excludes)
        else:
            opened, result = _judged_by_mapping(judge, reference, opened, mapping, excludes)
    if out is None:
        return result
    views = comparer.split(result)
    repeat = f"parity compare {trace} {' '.join(map(str, candidates))} --out {out}"
    if contents is not None:
        repeat += f" --as {contents}"
    if mapping is not None:
        repeat += f" --mapping {mapping}"
        for view in views.values():
            view.checks["mapping"] = str(mapping)
    by_folder = {str(trace.folder): trace for trace in opened}
    for label, view in views.items():
        mine = [by_folder[path] for side, path in view.traces.items() if side != "reference"]
        view.images = _pictures(reference, mine, view)
        if label:
            view.commands = {"repeat": repeat, **_replay_again(trace, out, mine[0])}
    result = comparer.join(views, before=result)
    if result.candidates:
        result.commands = {"repeat": repeat}
    return result


def _judged_by_mapping(
    judge: Callable[..., Result],
    reference: Trace,
    candidates: Sequence[Trace],
    path: Path,
    excludes: Sequence[dict[str, str]],
) -> tuple[list[Trace], Result]:
    """Return the candidates under the reference's names, as a mapping file says, and what `judge` makes of them."""
    from parity import mapping

    table = mapping.read(path)
    mapped = [mapping.mapped(each, table, reference) for each in candidates]
    result = judge(mapped, excludes=[*excludes, *mapping.excluded(table)])
    mapping.explain(result.pairs, table)
    return mapped, result


def _replay_again(trace: Path, out: Path, candidate: Trace) -> dict[str, str]:
    """Return the command that replays a candidate again, where its manifest says how it was made."""
    if not candidate.manifest.command:
        return {}
    options = " ".join(candidate.manifest.command).replace("=", " ")
    return {"replay": f"parity replay {trace} --out {out}/again {options}"}


def diagnose(folder: Path) -> Result:
    """Find causes, replay repairs, write result and reports again."""
    from parity import diagnose as diagnosis
    from parity import result as results

    result = results.read(folder)
    with bar("diagnose") as progress:
        result = diagnosis.diagnose(result, folder, progress=progress)
    write(result, folder)
    return result


def doctor(*, floors: bool, dtypes: Sequence[str], device: str) -> None:
    """Print the installed frameworks and, on request, what each operator of theirs errs by itself."""
    from parity.provenance import versions

    found = versions("torch", "diffusers", "transformers", "mindspore", "numpy", "h5py", "sdxl-parity")
    for name, version in found.items():
        sys.stdout.write(f"{name:14} {version}\n")
    sys.stdout.flush()
    if floors:
        for framework in ("torch", "mindspore"):
            if framework in found:
                _measure(framework, device, types(dtypes))


def _measure(framework: str, device: str, dtypes: Sequence[str]) -> None:
    """Print what each operator of a framework errs by itself; a process of its own imports it.

    Raises:
        ChildError: it failed.
    """
    try:
        children.run([framework, device, *dtypes], module="parity.cli.floors")
    except ChildError as error:
        message = f"the process that measures {framework}'s operators {error}"
        raise type(error)(message) from error


def _pictures(reference: Trace, candidates: Sequence[Trace], result: Result) -> dict[str, str]:
    """Return both sides' images of the free run in the working type, as the report shows them; none without one."""
    from parity.report import images

    working = reference.manifest.working
    free = dict.fromkeys(pair.dtype for pair in result.pairs if pair.mode == "free" and pair.dtype)
    # The working type comes first: float64 is shown only where nothing else has a picture.
    for dtype in sorted(free, key="float64".__eq__):
        expected = _image(reference, dtype if dtype in reference.runs else working)
        holder = next((trace for trace in candidates if f"free-{dtype}" in trace.runs), None)
        found = None if holder is None else _image(holder, f"free-{dtype}")
        if expected is not None and found is not None and expected.shape == found.shape:
            return images.draw(expected, found)
    return {}


def _image(trace: Trace, run: str) -> np.ndarray | None:
    """Return the image of a run, or None where there is none."""
    if run not in trace.runs or _IMAGE not in trace.run(run):
        return None
    return trace.run(run).wide(_IMAGE)


def write(result: Result, out: Path) -> None:
    """Write result.json and, drawn from it, report.html, junit.xml and the pictures."""
    from parity import report as reports
    from parity import result as results
    from parity.report import images

    files = {"result.json": results.encode(result)} | reports.files(result)
    disk.write_together(out, files, instead_of=images.names(out))
    for name in files:
        if name.endswith((".html", ".xml")):
            say(f"wrote {out / name}")
