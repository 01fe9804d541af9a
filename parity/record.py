"""Record a reference: run it, prove that recording changed nothing, and write its trace.

A reference is two objects. `Reference` loads a model in a type; `System` is the loaded model and can run the
case in that type, in float64 as the twin, step by step, and module by module. This module decides what runs
in which order, what is checked and what is written; it imports no framework.

    1. bare: no hook at all; its latents and image are what the hooked run must reproduce
    2. counted: hooked, nothing kept but digests and how often each path is called
    3. the working run, which is written; its digests against those of 2 tell whether the run repeats
    4. float64 (the twin), forced, and steps, which are given the working run's random numbers

Limits: a trace holds one working type. The twin is held in memory as a whole.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from parity import points, provenance
from parity.address import Address, is_output, path_of, pattern
from parity.digests import digests
from parity.dtypes import FLOATS, widen
from parity.errors import AddressError, InputError, ParityError, nearest
from parity.taps import Call, Digests, Filter, Taps, key
from parity.trace import (
    Island,
    Manifest,
    RunReader,
    Trace,
    TraceWriter,
    WeightDigests,
    check_same,
    check_unused,
    place,
    write_injection,
)
from parity.trace.digests import digest_of_case
from parity.trace.injection import seals_of
from parity.trace.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from parity.case import Resolved
    from parity.components import Components
    from parity.trace import Store

__all__ = ["Options", "Outcome", "Progress", "Reference", "System", "Tell", "check", "find", "record"]

Progress = Callable[[int, int], None]
Tell = Callable[[str, int, int], None]

_DEVICE: Final = re.compile(r"cpu|cuda(:[0-9]{1,3})?")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is chosen for a recording, beside the case.

    Attributes:
        dtypes: The working type, and float64 for the twin; empty: the case's type and float64.
        device: `cpu`, `cuda` or `cuda:N`; the twin is on the CPU in any case.
        store: Format of the tensors.
        taps: A pattern; only addresses that match as a whole are recorded.
        steps: Only these steps of the loop are recorded.
        source: A checkout of the reference, where it is no package.
        resume: Continue an interrupted recording.
    """

    dtypes: tuple[str, ...] = ()
    device: str = "cpu"
    store: Store = "hdf5"
    taps: str | None = None
    steps: Collection[int] | None = None
    source: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        """Check what needs no case.

        Raises:
            AddressError: `taps` is no regular expression.
            InputError: `device` has another form.
        """
        pattern(self.taps)
        if _DEVICE.fullmatch(self.device) is None:
            message = f"{self.device!r} is not a device; give cpu, cuda or cuda:N"
            raise InputError(message)

    @property
    def twin(self) -> bool:
        """Whether the runs in float64 are wanted beside the working run."""
        return not self.dtypes or "float64" in self.dtypes

    @property
    def conditions(self) -> dict[str, str]:
        """What must be the same for an interrupted recording to be continued, beside the case."""
        steps = "all" if self.steps is None else ",".join(map(str, sorted(self.steps)))
        return {"taps": self.taps or "all", "steps": steps, "device": self.device}

    @property
    def wanted(self) -> Filter:
        """What is recorded."""
        return Filter(self.taps, self.steps)

    def working(self, resolved: Resolved) -> str:
        """Return the type of the working run of a case.

        Raises:
            InputError: unknown types, or not exactly one working type.
        """
        own = resolved.case.precision.dtype
        names = dict.fromkeys(self.dtypes or (own, "float64"))
        for name in names:
            if name not in FLOATS:
                message = f"{name!r} is not a floating type{nearest(name, FLOATS)}; the types are {', '.join(FLOATS)}"
                raise InputError(message)
        working = [name for name in names if name != "float64"]
        if not working and own != "float64":
            working = [own]
        if len(working) != 1:
            asked = ", ".join(working) or "none"
            message = (
                f"a trace has one working type beside float64 and {asked} was asked for; record one trace for each"
            )
            raise InputError(message)
        return working[0]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run ends with.

    Attributes:
        finals: Digests of the latents after each step and of the image, by name.
        latents: The initial noise `[images, 4, height/8, width/8]`, float32, unit variance; None: there is none.
        noise: Each step's noise `[steps, images, 4, height/8, width/8]`, float32, unit variance; None: there is none.
    """

    finals: dict[str, str]
    latents: np.ndarray | None
    noise: np.ndarray | None


class System(provenance.Described, Protocol):
    """A loaded model and the runs of one case. `progress(done, total)` counts within a run."""

    @property
    def components(self) -> Components:
        """What the program is made of: the stage of each component, and what its named functions run."""

    def modules(self) -> dict[str, str]:
        """Return path -> class name of every module."""

    def weights(self) -> Iterable[tuple[str, np.ndarray, str]]:
        """Yield address, array and type of all that a checkpoint must hold: parameters, moving statistics.

        A system that has `buffers` too yields there what a candidate may make itself: counters, position ids, tables.
        """

    def policy(self) -> str:
        """Return the precision in force: the working type, or `tf32` and the like."""

    def run(self, taps: Taps | None, progress: Progress) -> Outcome:
        """Run the case in the working type and keep what it drew; without `taps` no hook is in place."""

    def twin(self, taps: Taps, progress: Progress) -> list[Island]:
        """Run the case in float64 on the last run's draws."""

    def steps(self, taps: Taps, progress: Progress) -> None:
        """Run the twin from the last run's tensors at the start of each stage and step."""

    def forced(self, recorded: RunReader, skipped: Collection[Call], taps: Taps, progress: Progress) -> None:
        """Apply each part of the twin to its recorded inputs; `skipped` calls were not recorded whole."""


class Reference(Protocol):
    """A trusted side; `sections` are those of a case whose defaults it uses, see `parity.case.DIFFUSION`."""

    name: str
    sections: Collection[str]

    def load(self, resolved: Resolved, *, device: str, dtype: str, source: Path | None = None) -> System:
        """Load the case's model in a type; `source` is a checkout of a reference that is no package."""


def find(name: str) -> Reference:
    """Return a reference by the name of its entry point, or as `MODULE:ATTR`; raises as `points.find`."""
    found: Reference = points.find("reference", name)
    return found


def record(
    resolved: Resolved,
    reference: Reference,
    out: str | Path,
    options: Options | None = None,
    *,
    progress: Tell | None = None,
) -> Trace:
    """Run `reference` on a case and write its trace to the folder `out`; `progress` is told stage, done and total.

    Raises:
        CaseError: the case's weights are not there or are none for this reference.
        InputError: types, device, taps or steps cannot be had.
        TraceError: `out` holds a trace already, someone's own files, or what cannot be resumed.
        OutputError: `out` cannot be written to, or another process writes there.
        AddressError: the reference has a path of no component that it declares.
        ParityError: the twin lacks a part that the working run has.
    """
    options, tell = options or Options(), progress or _silent
    check(resolved, out, options)
    resolved.require(reference.sections, reference.name)
    with place(out, resume=options.resume):
        if _is_finished(resolved, reference, Path(out), options):
            tell("recorded already", 1, 1)
            return Trace.open(out)
        return _record(resolved, reference, out, options, tell)


def _record(resolved: Resolved, reference: Reference, out: str | Path, options: Options, tell: Tell) -> Trace:
    """Run `reference` and write its trace to a folder that is kept for it."""
    started = time.perf_counter()
    working, wanted = options.working(resolved), options.wanted
    tell("load", 0, 1)
    system = reference.load(resolved, device=options.device, dtype=working, source=options.source)
    tell("load", 1, 1)
    system.components.check(system.modules())
    counted = _count(system, wanted, tell)
    system.components.check(path for path, _ in counted.counts)
    _check_taps(system.components, wanted, counted.digests, options.taps)
    writer = TraceWriter(out, _manifest(resolved, reference, system, options), resume=options.resume)
    recorder = _Recorder(system, writer, wanted, tell, counted)
    outcome = recorder.working_run(working)
    if outcome.latents is not None:
        writer.manifest.injection = seals_of(write_injection(out, outcome.latents, outcome.noise))
    recorder.describe(twin=options.twin)
    writer.replayable()
    if options.twin:
        recorder.answers(working)
    writer.manifest.floors = system.floors()
    recorder.measure_repetition(working)
    writer.manifest.wall_s = time.perf_counter() - started
    writer.finish()
    return Trace.open(out)


def check(resolved: Resolved, out: str | Path, options: Options) -> None:
    """Refuse what cannot be recorded as asked; needs no framework, so that nobody waits for one in vain.

    Raises:
        CaseError: the case's files are not there.
        InputError: types or steps cannot be had.
        TraceError: `out` holds a trace already, or someone's own files.
    """
    options.working(resolved)
    _check_steps(resolved, options)
    check_unused(out, resume=options.resume)
    _ = resolved.model_path, resolved.config_path, resolved.image_path


@dataclass(frozen=True, kw_only=True)
class _Counted:
    """What the runs before the written one found: the bare run's end, digests, and calls per path and step."""

    finals: dict[str, str]
    digests: dict[str, str]
    counts: dict[tuple[str, int | None], int]


def _count(system: System, wanted: Filter, tell: Tell) -> _Counted:
    """Do the bare and the counted run."""
    bare = system.run(None, lambda done, total: tell("bare run", done, total))
    sink = Digests()
    taps = Taps(sink, wanted=wanted)
    system.run(taps, lambda done, total: tell("counted run", done, total))
    return _Counted(finals=bare.finals, digests=sink.found, counts=taps.counts)


class _Recorder:
    """The written runs of one recording."""

    def __init__(self, system: System, writer: TraceWriter, wanted: Filter, tell: Tell, counted: _Counted) -> None:
        """Record what is `wanted` of `system` with `writer`."""
        self._system = system
        self._writer = writer
        self._wanted = wanted
        self._tell = tell
        self._counted = counted
        self._partial: set[Call] = set()
        self._islands: dict[str, str] = {}

    def _progress(self, stage: str) -> Progress:
        """Return a counter for one stage."""
        return lambda done, total: self._tell(stage, done, total)

    def working_run(self, dtype: str) -> Outcome:
        """Write the working run and compare it with the runs before it."""
        with self._writer.run(dtype, mode="run", dtype=dtype) as run:
            taps = self._taps(run)
            outcome = self._system.run(taps, self._progress(f"{dtype} run"))
        self._partial = taps.partial
        checks = self._writer.manifest.checks
        checks.neutral = self._counted.finals == outcome.finals
        recorded = {key(each.address): _mark(each) for each in self._recorded(dtype).records}
        checks.repeatable = recorded == self._counted.digests
        return outcome

    def measure_repetition(self, dtype: str) -> None:
        """Run once more if the run does not repeat, and keep by how much; after all runs that need its draws."""
        checks = self._writer.manifest.checks
        if not checks.repeatable:
            sink = _Differences(self._recorded(dtype))
            self._system.run(self._taps(sink), self._progress("another run"))
            checks.repeat_max_abs = sink.found

    def describe(self, *, twin: bool) -> None:
        """Put what there is into the manifest and, beside that, write the case's run in float64."""
        with ThreadPoolExecutor(1) as pool:
            described = pool.submit(self._describe)
            if twin:
                self._twin_run()
            described.result()

    def _twin_run(self) -> None:
        """Write the case's run in float64."""
        with self._writer.run("float64", mode="run", dtype="float64") as run:
            taps = self._taps(run)
            self._writer.manifest.islands = self._system.twin(taps, self._progress("float64 run"))
        self._islands = taps.islands

    def answers(self, working: str) -> None:
        """Write the twin's answers to the working run's tensors: part by part, and from each step."""
        islands, recorded = self._islands, self._recorded(working)
        with self._writer.run("forced", mode="forced", dtype="float64") as run:
            taps = self._taps(run, islands)
            self._system.forced(recorded, self._partial, taps, self._progress("forced"))
            self._check_forced(recorded, run)
        with self._writer.run("steps", mode="steps", dtype="float64") as run:
            self._system.steps(self._taps(run, islands), self._progress("steps"))

    def _describe(self) -> None:
        """Put modules, attributes and digests of the weights into the manifest; runs beside the twin."""
        manifest, system = self._writer.manifest, self._system
        manifest.modules = system.modules()
        manifest.attributes = {path: dict(values) for path, values in system.attributes().items()}
        manifest.weights = _digested(system.weights())
        buffers = getattr(system, "buffers", None)
        if buffers is not None:
            manifest.buffers = _digested(buffers())

    def _taps(self, sink: Any, islands: dict[str, str] | None = None) -> Taps:
        """Return taps that write to `sink` under the contract's addresses."""
        return Taps(sink, counts=self._counted.counts, wanted=self._wanted, islands=islands)

    def _recorded(self, run: str) -> RunReader:
        """Return a run that was written."""
        return Trace.open(self._writer.folder, allow_incomplete=True).run(run)

    def _check_forced(self, recorded: RunReader, run: Any) -> None:
        """Raise if an output of the working run has no forced counterpart though its inputs were recorded."""
        outputs = [each.address for each in recorded.records if each.kind == "tensor" and is_output(each.address)]
        for address in outputs:
            # A call of which an input is not recorded cannot be repeated from the trace.
            if address not in run and Call.of(Address.parse(address)) not in self._partial:
                message = f"{address}: the twin has no such output; record and force with one version"
                raise ParityError(message)


class _Differences:
    """A sink that keeps the largest difference from a recorded run at each address that differs."""

    def __init__(self, recorded: RunReader) -> None:
        """Compare with `recorded`."""
        self._recorded = recorded
        self.found: dict[str, float] = {}

    def tensor(self, address: str, array: np.ndarray, *, dtype: str | None = None, **_: Any) -> None:
        """Compare a tensor."""
        before = self._recorded.wide(address)
        with np.errstate(invalid="ignore"):
            difference = np.abs(widen(array, dtype or array.dtype.name) - before)
        if difference.size and not np.all(difference == 0):
            self.found[address] = float(difference.max())

    def value(self, address: str, value: object, **_: Any) -> None:
        """Ignore a value: it has no distance."""


def _check_taps(components: Components, wanted: Filter, addresses: Collection[str], taps: str | None) -> None:
    """Raise, before anything is written, for a pattern that keeps nothing, or a function without what it is computed from."""
    if not wanted.any:
        message = f"--taps {taps!r} matches no address of the run; a pattern matches the whole address"
        raise AddressError(message)
    paths = {path_of(text) for text in addresses if is_output(text)}
    for function, joined in components.joins.items():
        lacking = [path for path in joined if path not in paths]
        if function in paths and lacking:
            message = f"--taps {taps!r} keeps {function}, but not the output of {' and '.join(lacking)} that it joins; add '({'|'.join(joined)})[@:].*' to the pattern, or leave {function} out"
            raise AddressError(message)


def _check_steps(resolved: Resolved, options: Options) -> None:
    """Raise for a step that the case does not have."""
    count = resolved.case.sampling.steps
    wrong = sorted(step for step in options.steps or () if not 0 <= step < count)
    if wrong:
        message = f"--steps {', '.join(map(str, wrong))} is not in the case; its steps are 0 to {count - 1}"
        raise InputError(message)


def _is_finished(resolved: Resolved, reference: Reference, out: Path, options: Options) -> bool:
    """Tell whether a recording that is to be resumed is there as a whole.

    Raises:
        TraceError: it is one of something else.
    """
    if not (out / "manifest.json").exists():
        return False
    before = read_manifest(out)
    asked = {
        "side": "reference",
        "name": reference.name,
        "case_digest": digest_of_case(resolved.plain(reference.sections)),
    }
    check_same(out, before, asked | {"store": options.store, "conditions": options.conditions})
    wanted = {options.working(resolved), *(("float64", "forced", "steps") if options.twin else ())}
    return before.status == "complete" and wanted <= before.runs.keys()


def _manifest(resolved: Resolved, reference: Reference, system: System, options: Options) -> Manifest:
    """Return the manifest before the first run."""
    return Manifest(
        side="reference",
        name=reference.name,
        case=resolved.plain(reference.sections),
        case_digest=digest_of_case(resolved.plain(reference.sections)),
        conditions=options.conditions,
        sources=resolved.told(reference.sections),
        provenance=provenance.describe(system.provenance()) | _paths(resolved),
        policy=system.policy(),
        components=dict(system.components.stages),
        functions=dict(system.components.functions),
        store=options.store,
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
    )


def _paths(resolved: Resolved) -> dict[str, str]:
    """Return where the case's files were found."""
    config = {} if resolved.config_path is None else {"config_path": str(resolved.config_path)}
    return {"model_path": str(resolved.model_path)} | config


def _mark(each: Any) -> str:
    """Return what `Digests` keeps of a record."""
    return each.digest if each.kind == "tensor" else repr(each.value)


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Say nothing."""


def _digested(tensors: Iterable[tuple[str, np.ndarray, str]]) -> dict[str, WeightDigests]:
    """Return the digests of tensors, each given by its address, array and type, and of what commonly becomes of them."""
    found = {}
    for address, array, dtype in tensors:
        found[address] = WeightDigests(shape=array.shape, dtype=dtype, digests=digests(array, dtype))
    return found
