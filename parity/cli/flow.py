"""What the larger commands do in one process; `run` in its own module starts one for each side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from parity import case as cases
from parity.cli.progress import bar, say
from parity.dtypes import FloatName
from parity.errors import ChildError, InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.result import Result
    from parity.trace import Trace

__all__ = [
    "compare",
    "compared",
    "diagnose",
    "doctor",
    "numbers",
    "overrides",
    "planted",
    "record",
    "replay",
    "types",
    "write",
]

FAULTS = Path("fixtures") / "faults"


def record(
    case: Path, out: Path, *, reference: str, source: Path | None, dtypes: Sequence[str] | None, device: str, store: Any,
    taps: str | None, steps: str | None, size: str | None, resume: bool,
) -> None:  # fmt: skip
    """Run the reference in this process and write its trace."""
    from parity import record as recorder
    from parity.cli import sizes as sizing

    resolved = cases.load(case, overrides(dtypes, size))
    with bar("record") as progress:
        trace = recorder.record(
            resolved, recorder.find(reference), out, dtypes=types(dtypes), device=device, store=store, taps=taps,
            steps=numbers(steps), source=source, resume=resume, progress=progress,
        )  # fmt: skip
    say(sizing.saved(trace))


def replay(
    trace: Path, out: Path, *, candidate: str, source: Path | None, weights: Path | None, modes: Sequence[str] | None,
    dtypes: Sequence[str] | None, device: str, only: str | None, repair: Path | None, plant: str | None, store: Any,
    follow: str | None = None,
) -> None:  # fmt: skip
    """Replay a trace in this process and write the candidate's."""
    from parity import repair as repairs
    from parity import replay as replayer

    for mode in modes or ():
        if mode not in replayer.MODES:
            message = (
                f"--mode {mode} is not a mode{nearest(mode, replayer.MODES)}; the modes are {', '.join(replayer.MODES)}"
            )
            raise InputError(message)
    options = replayer.Options(
        modes=tuple(modes or replayer.MODES), dtypes=tuple(types(dtypes) or ()), device=device, weights=weights,  # type: ignore[arg-type]
        source=source, only=only, repairs=repairs.read(repair) if repair else repairs.Repairs(), plant=planted(plant, trace),
        store=store, command=_command(candidate, source, weights, device, plant),
        follow=replayer.Following.parse(follow) if follow else None,
    )  # fmt: skip
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
    from parity import compare as comparer
    from parity import mapping as mappings
    from parity.trace import Trace

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
            command = [sys.executable, "-m", "parity.cli.floors", framework, device, *(types(dtypes) or ())]
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


def overrides(dtypes: Sequence[str] | None, size: str | None) -> dict[str, Any]:
    """Return the case's values that the command line sets."""
    found: dict[str, Any] = {}
    working = [name for name in types(dtypes) or () if name != "float64"]
    if working:
        found["precision.dtype"] = working[0]
    if size is not None:
        width, cross, height = size.partition("x")
        if not (cross and width.isdigit() and height.isdigit()):
            message = f"--size {size} is not WIDTHxHEIGHT; write for example --size 256x192"
            raise InputError(message)
        found |= {"size.width": int(width), "size.height": int(height)}
    return found


def types(dtypes: Sequence[str] | None) -> list[str] | None:
    """Check names of floating types."""
    for name in dtypes or ():
        if name not in get_args(FloatName):
            message = f"--dtype {name} is not a type{nearest(name, get_args(FloatName))}; one of {', '.join(get_args(FloatName))}"
            raise InputError(message)
    return list(dtypes) if dtypes else None


def numbers(text: str | None) -> list[int] | None:
    """Read `0,19,39`."""
    if text is None:
        return None
    if not all(part.strip().isdigit() for part in text.split(",")):
        message = f"--steps {text} is not a list of step numbers; write for example --steps 0,19,39"
        raise InputError(message)
    return [int(part) for part in text.split(",")]


def planted(name: str | None, near: Path) -> Path | None:
    """Return the file of a planted fault: a path, or a name in fixtures/faults here or above `near`."""
    if name is None or Path(name).suffix == ".py":
        if name is not None and not Path(name).exists():
            message = f"--plant {name} is not there; give a file, or a name of fixtures/faults"
            raise InputError(message)
        return Path(name) if name else None
    known: dict[str, Path] = {}
    for folder in (Path.cwd(), *near.resolve().parents):
        known = {path.stem: path for path in sorted((folder / FAULTS).glob("*.py"))} | known
    if name not in known:
        message = (
            f"no fault is named {name!r}{nearest(name, known)}; there are {', '.join(sorted(known)) or 'none here'}"
        )
        raise InputError(message)
    return known[name]
