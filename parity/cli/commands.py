"""The commands. Each is a thin layer: read options, call the core, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.choices import Contents, Store

if TYPE_CHECKING:
    from parity.result import Result
    from parity.trace import Trace

__all__ = ["app"]

app = typer.Typer(
    name="parity",
    help="Where do two implementations of a model first disagree, by how much more than they must, and why?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

CaseFile = Annotated[Path, typer.Argument(help="A case in TOML.")]
TraceFolder = Annotated[Path, typer.Argument(help="A recorded trace.")]
ResultFolder = Annotated[Path, typer.Argument(help="A folder with result.json.")]
Out = Annotated[Path, typer.Option("--out", help="The folder to write.")]
Source = Annotated[Path | None, typer.Option("--source", help="A checkout or installation of the system.")]
Types = Annotated[list[str] | None, typer.Option("--dtype", help="float64, float32, float16 or bfloat16; repeatable.")]
StoreName = Annotated[Store, typer.Option("--store", help="How tensors are stored.")]
Only = Annotated[str | None, typer.Option("--only", help="A regular expression that must match the whole address.")]
Reference = Annotated[str, typer.Option("--reference", help="diffusers, sgm or MODULE:ATTR.")]
CandidateName = Annotated[str, typer.Option("--candidate", help="mindone_sdxl, gm, mindone or MODULE:ATTR.")]
Weights = Annotated[Path | None, typer.Option("--weights", help="The candidate's checkpoint; default: converted.")]
Modes = Annotated[list[str] | None, typer.Option("--mode", help="free, steps or layers; repeatable.")]
Plant = Annotated[str | None, typer.Option("--plant", help="A fault of fixtures/faults, or a Python file, built in.")]
TorchDevice = Annotated[str, typer.Option("--device", help="cpu or cuda[:N].")]
Device = Annotated[str, typer.Option("--device", help="CPU or Ascend.")]
Taps = Annotated[str | None, typer.Option("--taps", help="Record only addresses that match.")]
Steps = Annotated[str | None, typer.Option("--steps", help="Record these steps only, for example 0,19,39.")]
PixelSize = Annotated[str | None, typer.Option("--size", help="WIDTHxHEIGHT instead of the case's.")]
Tolerances = Annotated[Path | None, typer.Option("--tolerances", help="A TOML file of tolerance rules.")]
MappingFile = Annotated[
    Path | None, typer.Option("--mapping", help="A mapping (parity map) of candidates under native names.")
]
As = Annotated[
    Contents | None,
    typer.Option("--as", help="What files hold: weights, to be equal, or activations; default: by names."),
]
Jobs = Annotated[int | None, typer.Option("--jobs", min=1, max=1024, help="Threads; default: one per core.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue what was interrupted; what is complete is kept.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]


@app.command()
def record(
    case: CaseFile,
    out: Out,
    reference: Reference = "diffusers",
    source: Source = None,
    dtype: Types = None,
    device: TorchDevice = "cpu",
    store: StoreName = "hdf5",
    taps: Taps = None,
    steps: Steps = None,
    size: PixelSize = None,
    resume: Resume = False,  # noqa: FBT002
    estimate: Annotated[bool, typer.Option("--estimate", help="Run two steps and say how large it will be.")] = False,  # noqa: FBT002
) -> None:
    """Run the reference and write its trace."""
    from parity.cli import flow, sizes
    from parity.cli.options import Recording

    asked = Recording(
        case=case, reference=reference, source=source, dtype=dtype, device=device, store=store, taps=taps, steps=steps,
        size=size, resume=resume,
    )  # fmt: skip
    if estimate:
        sizes.estimate(asked, out)
    else:
        flow.record(asked, out)


@app.command()
def replay(
    trace: TraceFolder,
    out: Out,
    candidate: CandidateName = "mindone_sdxl",
    source: Source = None,
    weights: Weights = None,
    mode: Modes = None,
    dtype: Types = None,
    device: Device = "CPU",
    only: Only = None,
    repair: Annotated[Path | None, typer.Option("--repair", help="A file of edits to apply first.")] = None,
    plant: Plant = None,
    store: StoreName = "hdf5",
    resume: Resume = False,  # noqa: FBT002
    native: Annotated[bool, typer.Option("--native", help="Run freely and record every cell's own name.")] = False,  # noqa: FBT002
    follow: Annotated[
        str | None, typer.Option("--follow", hidden=True, help="PARENT:CORE, see parity.replay.Following.")
    ] = None,
) -> None:
    """Replay a trace in a candidate and write the candidate's trace."""
    from parity.cli import flow, mapping
    from parity.cli.options import Replaying

    asked = Replaying(
        candidate=candidate, source=source, weights=weights, plant=plant, mode=mode, dtype=dtype, store=store,
        device=device, only=only, repair=repair, follow=follow, resume=resume,
    )  # fmt: skip
    if native:
        mapping.native(trace, out, asked)
    else:
        flow.replay(trace, out, asked)


@app.command()
def compare(
    trace: TraceFolder,
    candidates: Annotated[list[Path], typer.Argument(help="Traces of one candidate, or of several.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write result.json and the reports here.")] = None,
    mapping: MappingFile = None,
    contents: As = None,
    tolerances: Tolerances = None,
    jobs: Jobs = None,
    json: Json = False,  # noqa: FBT002
) -> None:
    """Compare traces, judge every pair, and write the result; several candidates get a column each."""
    from parity.cli import flow

    result = flow.compare(
        trace, candidates, out=out, tolerances=tolerances, jobs=jobs, mapping=mapping, contents=contents
    )
    _finish(result, json=json)


@app.command("map")
def propose_mapping(
    trace: TraceFolder,
    candidate: Annotated[Path, typer.Argument(help="A candidate's trace under its own names.")],
    out: Annotated[Path | None, typer.Option("--out", help="The mapping to write; default: stdout.")] = None,
    values: Annotated[bool, typer.Option(help="Whether recorded tensors count.")] = True,  # noqa: FBT002
    names: Annotated[bool, typer.Option(help="Whether names count.")] = True,  # noqa: FBT002
) -> None:
    """Propose which module of a candidate stands for which of the reference, with a confidence for each."""
    from parity.cli import mapping

    raise typer.Exit(mapping.propose(trace, candidate, out=out, values=values, names=names))


@app.command()
def diagnose(folder: ResultFolder, json: Json = False) -> None:  # noqa: FBT002
    """Find the causes of a result's divergences, replay their repairs, and write the reports again."""
    from parity import disk
    from parity.cli import flow

    with disk.claimed(folder):
        result = flow.diagnose(folder)
    _finish(result, json=json)


@app.command()
def run(
    case: CaseFile,
    out: Annotated[Path | None, typer.Option("--out", help="Default: reports/CASE[-PLANT].")] = None,
    reference: Reference = "diffusers",
    reference_source: Annotated[
        Path | None, typer.Option("--reference-source", help="A checkout of the reference.")
    ] = None,
    candidate: CandidateName = "mindone_sdxl",
    candidate_source: Annotated[Path | None, typer.Option("--candidate-source", help="One of the candidate.")] = None,
    plant: Plant = None,
    weights: Weights = None,
    mode: Modes = None,
    dtype: Types = None,
    size: PixelSize = None,
    store: StoreName = "hdf5",
    tolerances: Tolerances = None,
    jobs: Jobs = None,
    resume: Resume = False,  # noqa: FBT002
    json: Json = False,  # noqa: FBT002
) -> None:
    """Record, replay, compare, diagnose and report, each side in its own process."""
    from parity.cli import run as runner
    from parity.cli.options import Recording, Replaying

    recording = Recording(
        case=case, reference=reference, source=reference_source, store=store, dtype=dtype, size=size, resume=resume
    )
    replaying = Replaying(
        candidate=candidate,
        source=candidate_source,
        weights=weights,
        plant=plant,
        mode=mode,
        store=store,
        resume=resume,
    )
    result = runner.run(recording, replaying, out, tolerances=tolerances, jobs=jobs)
    _finish(result, json=json)


@app.command()
def report(folder: ResultFolder) -> None:
    """Write report.html and junit.xml of a saved result again."""
    from parity import disk
    from parity import report as reports
    from parity import result as results

    with disk.claimed(folder):
        for name, data in reports.files(results.read(folder)).items():
            disk.write(folder / name, data)
            sys.stdout.write(f"{folder / name}\n")


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="A trace, or a folder with result.json.")],
    address: Annotated[str | None, typer.Argument(help="One address; default: a summary.")] = None,
    json: Json = False,  # noqa: FBT002
) -> None:
    """Show what a trace or a result holds, or one tensor of it."""
    from parity.report import show as shown

    shown.show(folder, address, json=json)


@app.command()
def explain(folder: ResultFolder, address: Annotated[str | None, typer.Argument()] = None) -> None:
    """Say everything that a result knows about one address; default: the first divergence."""
    from parity.report import show as shown

    shown.explain(folder, address)


@app.command()
def judge(
    folder: ResultFolder,
    tolerances: Annotated[Path, typer.Option("--tolerances", help="A TOML file of tolerance rules.")],
    json: Json = False,  # noqa: FBT002
) -> None:
    """Judge a saved result again under other limits, without its tensors."""
    from parity import compare as comparer
    from parity import result as results

    _finish(comparer.judge(results.read(folder), comparer.load_tolerances(tolerances)), json=json)


@app.command()
def calibrate(
    trace: TraceFolder,
    candidates: Annotated[list[Path], typer.Argument(help="Traces of healthy candidates.")],
    out: Annotated[Path | None, typer.Option("--out", help="The tolerance file to write; default: stdout.")] = None,
    headroom: Annotated[
        float, typer.Option("--headroom", min=1, max=1e6, help="Limits are this many times what was measured.")
    ] = 3.0,
    jobs: Jobs = None,
) -> None:
    """Propose a tolerance file from what healthy traces differ by."""
    from parity.cli import checking

    raise typer.Exit(checking.calibrate(trace, candidates, out=out, headroom=headroom, jobs=jobs))


@app.command()
def selftest(
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="The corpus is made from it.")] = 7,
    json: Json = False,  # noqa: FBT002
) -> None:
    """Judge pairs whose right answer is known, beside the formulas of other tools."""
    from parity.cli import checking

    raise typer.Exit(checking.selftest(seed, json=json))


@app.command()
def verify(trace: TraceFolder) -> None:
    """Read every byte of a trace and check its digests."""
    from parity.trace import Trace

    opened = Trace.open(trace, verify=True)
    sys.stdout.write(f"{trace}: {sum(info.records for info in opened.manifest.runs.values())} records are intact\n")
    _tell_unread(opened)


@app.command()
def pack(trace: TraceFolder, only: Annotated[str, typer.Option("--only", help="Addresses to keep.")], out: Out) -> None:
    """Cut out of a trace what must travel."""
    from parity.trace import Trace
    from parity.trace import pack as packed

    opened = Trace.open(trace)
    packed(opened, only, out)
    sys.stdout.write(f"{out}\n")
    _tell_unread(opened)


@app.command()
def doctor(
    floors: Annotated[bool, typer.Option("--floors", help="Measure each operator of the platform.")] = False,  # noqa: FBT002
    dtype: Types = None,
    device: Device = "CPU",
) -> None:
    """Say which frameworks are here and, with --floors, how accurate their operators are."""
    from parity.cli import flow

    flow.doctor(floors=floors, dtypes=dtype or ["float32"], device=device)


def _tell_unread(trace: Trace) -> None:
    """Write to stderr what lies in a trace's folder and is none of it: it was neither checked nor packed."""
    from parity.cli.progress import say
    from parity.report.facts import first_of

    for line in first_of(trace.unread):
        say(f"not read: {line}")


def _finish(result: Result, *, json: bool) -> None:
    """Print a result and leave with its exit code: 0 for a match, 4 where undecided pairs alone keep it from one, else 1."""
    from rich.console import Console

    from parity import result as results
    from parity.compare import awaits_decision
    from parity.report import terminal

    if json:
        sys.stdout.write(results.encode(result).decode())
    else:
        terminal.render(result, Console())
    if result.verdict == "MATCH":
        raise typer.Exit(0)
    raise typer.Exit(4 if awaits_decision(result) else 1)
