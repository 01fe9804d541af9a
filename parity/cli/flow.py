"""What the larger commands do in one process; `run` in its own module starts one for each side."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import TYPE_CHECKING

from parity.cli.options import planted, types
from parity.cli.progress import bar, say
from parity.errors import ChildError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from parity.cli.options import Recording
    from parity.result import Result
    from parity.trace import Store, Trace

__all__ = [
    "compare",
    "compared",
    "diagnose",
    "doctor",
    "record",
    "replay",
    "write",
]


def record(asked: Recording, out: Path) -> None:
    """Run the reference in this process and write its trace."""
    from parity import record as recorder
    from parity.cli import sizes as sizing

    resolved, options = asked.resolved(), asked.options()
    recorder.check(resolved, out, options)
    with bar("record") as progress:
        trace = recorder.record(resolved, recorder.find(asked.reference), out, options, progress=progress)
    say(sizing.saved(trace))


def replay(
    trace: Path, out: Path, *, candidate: str, source: Path | None, weights: Path | None, modes: Sequence[str] | None,
    dtypes: Sequence[str] | None, device: str, only: str | None, repair: Path | None, plant: str | None, store: Store,
    follow: str | None = None,
) -> None:  # fmt: skip
    """Replay a trace in this process and write the candidate's."""
    from parity import repair as repairs
    from parity import replay as replayer

    options = replayer.Options(
        modes=replayer.modes_of(modes), dtypes=types(dtypes), device=device, weights=weights, source=source, only=only,
        repairs=repairs.read(repair) if repair else repairs.Repairs(), plant=planted(plant, trace), store=store,
        command=_command(candidate, source, weights, device, plant),
        follow=replayer.Following.parse(follow) if follow else None,
    )  # fmt: skip
    replayer.check(out, options)
    with bar("replay") as progress:
        replayer.replay(trace, replayer.find(candidate), out, options, progress)


def compare(
    trace: Path, candidates: Sequence[Path], *, out: Path | None, tolerances: Path | None, jobs: int | None,
    mapping: Path | None = None,
) -> Result:  # fmt: skip
    """Compare traces; write result.json and the reports when `out` is given."""
    result = compared(trace, candidates, out=out, tolerances=tolerances, jobs=jobs, mapping=mapping)
    if out is not None:
        write(result, out)
    return result


def compared(
    trace: Path, candidates: Sequence[Path], *, out: Path | None, tolerances: Path | None, jobs: int | None,
    mapping: Path | None = None,
) -> Result:  # fmt: skip
    """Compare traces; put their pictures into `out` when it is given."""
    # Modules and pairs are many objects that stay: looking through them for cycles takes a tenth of a small comparison.
    gc.set_threshold(50_000, 20, 100)
    from parity import compare as comparer
    from parity.trace import Trace

    if mapping is not None:
        from parity import mapping as mappings

    with bar("compare") as progress:
        rules = comparer.load_tolerances(tolerances) if tolerances else []
        reference, opened = Trace.open(trace), [Trace.open(path) for path in candidates]
        table = mappings.read(mapping) if mapping else None
        if table is not None:
            opened = [mappings.mapped(each, table, reference) for each in opened]
        result = comparer.compare(
            reference,
            opened,
            tolerances=rules,
            excludes=mappings.excluded(table) if table else (),
            jobs=jobs,
            progress=lambda done, total: progress("pairs", done, total),
        )
    if table is not None:
        mappings.explain(result.pairs, table)
    if out is None:
        return result
    views = comparer.split(result)
    by_folder = {str(trace.folder): trace for trace in opened}
    repeat = f"parity compare {trace} {' '.join(map(str, candidates))} --out {out}"
    repeat += f" --mapping {mapping}" if mapping else ""
    for label, view in views.items():
        mine = [by_folder[path] for side, path in view.traces.items() if side != "reference"]
        view.images = _pictures(reference, mine, view, out / comparer.folder_name(label) if label else out)
        if mapping is not None:
            view.checks["mapping"] = str(mapping)
        if label:
            view.commands = {"repeat": repeat}
            if mine[0].manifest.command:
                options = " ".join(mine[0].manifest.command).replace("=", " ")
                view.commands["replay"] = f"parity replay {trace} --out {out}/again {options}"
    result = comparer.join(views, before=result)
    if result.candidates:
        result.commands = {"repeat": repeat}
    return result


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
    for framework in ("torch", "mindspore") if floors else ():
        if framework in found:
            command = [sys.executable, "-m", "parity.cli.floors", framework, device, *types(dtypes)]
            code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own program; one framework per process
            if code:
                message = f"measuring {framework}'s operators failed with exit code {code} (see above); run it alone: {' '.join(command[1:])}"
                raise ChildError(message)


def _pictures(reference: Trace, candidates: Sequence[Trace], result: Result, out: Path) -> dict[str, str]:
    """Return both sides' images of the free run in the working type, as the report shows them; none without one."""
    from parity.report import images

    address = "postprocess:output"
    working = str(reference.manifest.case.get("precision", {}).get("dtype", "float32"))
    free = dict.fromkeys(pair.dtype for pair in result.pairs if pair.mode == "free" and pair.dtype)
    for dtype in sorted(free, key="float64".__eq__):
        runs = [trace.run(f"free-{dtype}") for trace in candidates if f"free-{dtype}" in trace.runs]
        own = dtype if dtype in reference.runs else working
        if runs and own in reference.runs and address in runs[0] and address in reference.run(own):
            both = reference.run(own).wide(address), runs[0].wide(address)
            if both[0].shape == both[1].shape:
                return images.write(out, *both)
    return {}


def write(result: Result, out: Path) -> None:
    """Write result.json, report.html and junit.xml."""
    from parity import report as reports
    from parity import result as results

    out.mkdir(parents=True, exist_ok=True)
    results.write(result, out / "result.json")
    for path in reports.write(result, out):
        say(f"wrote {path}")


def _command(
    candidate: str, source: Path | None, weights: Path | None, device: str, plant: str | None
) -> tuple[str, ...]:
    """Return the options with which a counterfactual replay builds the same candidate again."""
    given = {"source": source, "weights": weights, "device": device, "plant": plant}
    return (f"--candidate={candidate}", *(f"--{key}={value}" for key, value in given.items() if value is not None))
