"""Replay a recorded reference in a candidate and write the candidate's trace.

A candidate is two objects. `Candidate` is cheap: its name, and the alignment that it derives from the model's
configuration without importing a framework. `System` is one loaded model in one type: it runs free, stage by
stage or one layer at a time on inputs that this module hands to it, and reports what it computes through a
`Reporter`. The reporter maps native calls to addresses of the reference and writes the records; a system that knows
nothing of addresses can still be compared.

Modes (DESIGN section 4): `free` gets the initial latents and the noise; `steps` gets the reference's tensors at
the start of every stage and step; `layers` gets each module's recorded inputs.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, cast, get_args

import msgspec
import numpy as np
import xxhash

from parity import points, provenance, reading
from parity.address import Address, path_of, pattern, step_of
from parity.align import Alignment, Calls, transform
from parity.components import STEP
from parity.digests import UNCHANGED, digest
from parity.dtypes import bits, is_float, narrow, widen
from parity.errors import InputError, RepairError, TraceError, nearest
from parity.repair import Repairs
from parity.trace import Manifest, Mode, RunReader, RunWriter, Trace, TraceWriter, place
from parity.trace.schema import WeightDigests
from parity.trace.sides import check_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from parity.repair import Edit
    from parity.trace import Store
    from parity.trace.schema import Row

__all__ = [
    "MODES",
    "Candidate",
    "Following",
    "Given",
    "Options",
    "Parameter",
    "Reporter",
    "Request",
    "System",
    "find",
    "given_of",
    "modes_of",
    "replay",
    "request_of",
]

MODES: tuple[Mode, ...] = get_args(Mode)
_DEVICES: Final = ("CPU", "Ascend")
_PLATFORM: Final = frozenset({
    "parity", "python", "numpy", "machine", "environment", "framework", "versions", "device", "threads", "precision_mode",
    "hf32",
})  # fmt: skip
"""What of the provenance may not change while a replay is interrupted."""
_CALLS_TOLD: Final = 50  # of the layer replay, from one word of progress to the next


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a candidate is built from.

    Attributes:
        model: The weights that the case names: a diffusers folder or a single file.
        config: The YAML configuration of a single file; None for a folder.
        weights: The candidate's own checkpoint; None: the candidate converts `model` itself, into `folder`.
        folder: Where the candidate's trace is written; what the candidate makes of the model when it is built may lie there too, a
            checkpoint as `weights.ckpt`.
        dtype: The type to build the model in.
        device: `CPU` or `Ascend`.
        manifest: The reference's manifest.
        source: A checkout or installation of a candidate that is not a package here.
        plant: A fault to build in (a Python file, see docs/faults.md), for tests of the harness itself.
    """

    model: Path
    weights: Path | None
    folder: Path
    dtype: str
    device: str
    manifest: Manifest
    source: Path | None = None
    plant: Path | None = None
    config: Path | None = None

    def require(self, sections: Iterable[str], who: str) -> None:
        """Refuse a case without sections that a candidate needs.

        Raises:
            InputError: one is missing: the trace is of a program that `who` is no port of.
        """
        for name in sections:
            if not self.manifest.case.get(name):
                message = f"the case of the trace has no [{name}], and the candidate {who} needs it; give the --candidate that ports this program"
                raise InputError(message)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A loaded parameter in the reference's name, layout and shape; `loaded` is False when nothing filled it."""

    address: str
    native: str
    array: np.ndarray
    loaded: bool = True


class System(provenance.Described, Protocol):
    """One loaded model in one type."""

    def weights(self) -> Iterable[Parameter]:
        """Yield every parameter, pulled back to the reference's name, layout and shape."""

    def observe(self, natives: Sequence[str], seen: Callable[[str, Any, Any], Any]) -> AbstractContextManager[None]:
        """Call `seen(native, inputs, output)` after each call of these cells; an array it returns replaces the output."""

    def numpy(self, value: Any) -> dict[str, np.ndarray]:
        """Return the arrays of a native output by port suffix (`""` for a single tensor)."""

    def native(self, array: np.ndarray) -> Any:
        """Return a native tensor, floats in the system's type."""

    def free(self, given: Given, reporter: Reporter) -> None:
        """Run everything from prompts, latents and noise."""

    def steps(self, given: Given, reporter: Reporter) -> None:
        """Run every stage and step from the reference's tensors at its start; it may skip what `reporter.wants` not."""

    def layer(
        self, rows: Sequence[Row], inputs: Mapping[str, Any], given: Given, step: int | None
    ) -> Mapping[str, Any]:
        """Run one module or function on `inputs` (by the reference's keys); return arrays by the reference's port.

        `rows` are those of one call; the first replays the path.
        """

    def apply(self, edit: Edit) -> None:
        """Apply one repair."""


class Candidate(Protocol):
    """A side under test.

    One that has a method `prepare()` is asked to import its framework while the reference is still recorded; it is
    asked for small models only, by `parity run`.
    """

    name: str

    def alignment(self, request: Request) -> tuple[Sequence[Row], Mapping[str, str]]:
        """Return the rows, and the paths that are not compared with their reasons; imports no framework."""

    def build(self, request: Request) -> System:
        """Load the model."""


@dataclass(frozen=True, kw_only=True)
class Following:
    """A replay that starts while its trace is recorded, by another child of the same parent.

    Attributes:
        parent: The process id of the parent; when it is gone, so is the recorder.
        core: The one that the replay keeps to once it computes; None: any.
    """

    parent: int
    core: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `PARENT:CORE`; InputError where it is none."""
        if re.fullmatch("[0-9]{1,9}:[0-9]{0,4}", text) is None:
            message = (
                f"--follow {text!r:.40} is not PARENT:CORE; it is what `parity run` gives the replays that it starts"
            )
            raise InputError(message)
        parent, _, core = text.partition(":")
        return cls(parent=int(parent), core=int(core) if core else None)

    def begin(self, trace: Path, candidate: Candidate) -> Trace:
        """Get ready, wait until the trace can be replayed, and go to the core that is meant for that."""
        if hasattr(candidate, "prepare"):
            candidate.prepare()
        reference = Trace.follow(trace, "replayable", self._orphaned)
        if self.core is not None:
            os.sched_setaffinity(0, {self.core})
        return reference

    def end(self, trace: Path) -> Trace:
        """Wait until the trace is complete."""
        return Trace.follow(trace, "complete", self._orphaned)

    def _orphaned(self) -> bool:
        return os.getppid() != self.parent


def _check_weights(path: Path) -> None:
    """Refuse weights that nobody can read without waiting for ever.

    Raises:
        InputError: they are a pipe, a device or a socket.
    """
    try:
        reading.check_model(path)
    except OSError as error:
        message = f"the weights {path} cannot be read: {error.strerror}; give a checkpoint"
        raise InputError(message) from error


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is chosen for a replay.

    Attributes:
        modes: How it is replayed.
        dtypes: The types of the candidate's systems; empty: float64 and the case's type.
        device: `CPU` or `Ascend`.
        weights: The candidate's own checkpoint; None: it converts the reference's.
        source: A checkout or installation of a candidate that is no package here.
        only: A pattern; only addresses that match as a whole are written.
        repairs: Edits that are applied first.
        plant: A fault to build in.
        store: Format of the tensors.
        command: The options with which the same candidate is built again, for the manifest.
        follow: Where the trace is still being recorded.
        resume: Continue an interrupted replay.
    """

    modes: tuple[Mode, ...] = MODES
    dtypes: tuple[str, ...] = ()
    device: str = "CPU"
    weights: Path | None = None
    source: Path | None = None
    only: str | None = None
    repairs: Repairs = field(default_factory=Repairs)
    plant: Path | None = None
    store: Store = "hdf5"
    command: tuple[str, ...] = ()
    follow: Following | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        """Check what needs no trace.

        Raises:
            AddressError: `only` is no regular expression.
            InputError: there is no such device, or the weights are neither a file nor a folder.
        """
        pattern(self.only)
        if self.weights is not None:
            _check_weights(self.weights)
        if self.device not in _DEVICES:
            close = nearest(self.device, _DEVICES)
            message = f"{self.device!r} is not a device{close}; give {' or '.join(_DEVICES)}"
            raise InputError(message)


@dataclass(kw_only=True)
class Given:
    """The reference's recorded tensors, as a candidate of one type may use them."""

    run: RunReader
    calls: Calls
    case: Mapping[str, Any]
    dtype: str
    noise_shift: int = 0

    def tensor(self, address: str) -> np.ndarray:
        """Return the tensor at an address: floats in the candidate's type or the recorded one, whichever is finer.

        Numbers of bfloat16 come as float32, since numpy has no such type.
        """
        array, name = self.run.tensor(address), self.run.record(address).dtype
        if name == "bfloat16":
            array, name = widen(array, name, "float32"), "float32"
        if not is_float(name) or name == self.dtype:
            return np.asarray(array)
        # A coarser candidate rounds by itself, as it would any input: what rounds first must not be the harness.
        finer = max(self.dtype, name, key=bits)
        return narrow(widen(array, name), finer)

    def value(self, address: str) -> Any:
        """Return the recorded plain value at an address."""
        return self.run.value(address)

    def inputs(self, path: str, step: int | None, call: int | None) -> dict[str, Any]:
        """Return one call's inputs by key: arrays and plain values, keys as in the port without `input.`."""
        found: dict[str, Any] = {}
        for port in self.calls.ports(path, step, call):
            if port.startswith("input."):
                key = port.removeprefix("input.")
                found[key] = self._recorded(str(Address(path=path, step=step, call=call, port=port)))
        return found

    @property
    def step_count(self) -> int:
        """How many sampler steps the reference made."""
        return len({key[1] for key in self.calls.order if key[0] == STEP})

    @cached_property
    def noise(self) -> np.ndarray:
        """The noise of every step, `[steps, batch, 4, height/8, width/8]`, unit variance."""
        steps = [self.tensor(f"{STEP}@step={step}:input.noise") for step in range(self.step_count)]
        return np.roll(np.stack(steps), -self.noise_shift, axis=0)

    def _recorded(self, address: str) -> Any:
        """Return the tensor or the plain value at an address."""
        if self.run.record(address).kind == "value":
            return self.value(address)
        return self.tensor(address)


class Reporter:
    """Receives what a system computes and writes it at the reference's addresses."""

    def __init__(self, run: RunWriter, given: Given, alignment: Alignment, system: System, only: str | None) -> None:
        """Write to `run`; `only` is a pattern on addresses, or None for all."""
        self._run, self._given, self._alignment, self._system = run, given, alignment, system
        self._only = pattern(only)
        self._substitutes: frozenset[str] = frozenset()
        self._counts: dict[str, int] = {}
        self._step: int | None = None
        self._steps: set[int | None] = set()
        if only is not None:
            self._steps = {step_of(text) for text in given.run if self.wanted(text)}
        self._whole = not self._steps  # an address that the reference lacks may be anywhere

    def step(self, step: int | None) -> None:
        """Enter a step of the loop (None: leave it); calls are counted anew."""
        self._step = step
        self._counts.clear()

    def cell(self, native: str, inputs: Any, output: Any) -> Any:
        """Take one call of a native cell; return an array that shall replace its output, or None."""
        call = self._counts.get(native, 0)
        self._counts[native] = call + 1
        arrays = self._arrays(native, inputs, output)
        replacement = None
        for row, reference_call in self._alignment.yields(native, call):
            if row.function or row.take not in arrays:
                continue
            self.write(row.path, {row.port: arrays[row.take]}, self._step, reference_call, row)
            if self._substitutes_output(row):
                replacement = self._recorded(row.path, reference_call)
        return replacement

    def function(self, name: str, outputs: Mapping[str, np.ndarray], call: int = 0) -> None:
        """Take the outputs (by port, arrays) of one call of a named function."""
        for row, reference_call in self._alignment.yields(name, call):
            if row.function:
                self.write(row.path, outputs, self._step, reference_call, row)

    def write(self, path: str, arrays: Mapping[str, np.ndarray], step: int | None, call: int, row: Row) -> None:
        """Write arrays by port, brought to the reference's layout as `row` says."""
        for port, array in arrays.items():
            text = self._text(path, port, step, call)
            if self.wanted(text):
                self._run.tensor(text, self._in_layout(text, array, row.output), native=row.native)

    def substituting(self, paths: frozenset[str]) -> None:
        """Replace the outputs of these paths."""
        self._substitutes = paths

    def wanted(self, text: str) -> bool:
        """Tell whether the address is to be written."""
        return self._only.matches(text)

    def wants(self, step: int | None) -> bool:
        """Tell whether an address of this step of the loop (None: outside of it) is to be written."""
        return self._whole or step in self._steps

    def wants_call(self, path: str, step: int | None, call: int | None) -> bool:
        """Tell whether an output of this call of the reference is to be written."""
        ports = self._given.calls.ports(path, step, call)
        outputs = [Address(path=path, step=step, call=call, port=port) for port in ports if port.startswith("output")]
        return any(map(self.wanted, map(str, outputs)))

    def _arrays(self, native: str, inputs: Any, output: Any) -> dict[str, np.ndarray]:
        """Return what rows can take of a call: its outputs and, where one asks for them, its inputs."""
        arrays = self._system.numpy(output)
        if self._alignment.takes_input(native):
            arrays |= {f"input.{key}": array for key, array in self._system.numpy(inputs).items()}
        return arrays

    def _substitutes_output(self, row: Row) -> bool:
        """Tell whether the reference's tensor takes the place of what this row yields; it must have its layout."""
        return row.path in self._substitutes and row.port == "output" and row.output is None

    def _in_layout(self, text: str, array: np.ndarray, name: str | None) -> np.ndarray:
        """Return an array brought by a transform to the layout of the reference's record; as it is where there is none."""
        if name is None or text not in self._given.run:
            return array
        record = self._given.run.record(text)
        return transform(name, array, record.shape, record.dtype)

    def _recorded(self, path: str, call: int) -> np.ndarray | None:
        """Return the reference's output of a call, or None where it has none."""
        text = self._text(path, "output", self._step, call)
        return self._given.tensor(text) if text in self._given.run else None

    def _text(self, path: str, port: str, step: int | None, call: int) -> str:
        """Return the reference's address of a port of a call."""
        path, step, known = self._given.calls.key(path, step, call)
        if known is None and call:  # a call more than the reference made is unexpected, and must show as such
            known = call
        return str(Address(path=path, step=step, call=known, port=port))


def find(name: str) -> Any:
    """Return a candidate by the name of its entry point, or as `MODULE:ATTR`; raises as `points.find`."""
    return points.find("candidate", name)


def replay(
    trace: Path, candidate: Candidate, out: Path, options: Options, progress: Callable[[str, int, int], None]
) -> Trace:
    """Replay `trace` in `candidate` and write the candidate's trace to `out`.

    Raises:
        TraceError: the reference's trace is damaged, not complete or lacks a run that a type needs; `out` holds a trace
            already, someone's own files, or what cannot be resumed.
        OutputError: `out` cannot be written to, or another process writes there.
        AlignmentError: the candidate lacks a cell that its table names.
        WeightsError: the checkpoint does not fit.
    """
    with place(out, resume=options.resume):
        return _replay(trace, candidate, out, options, progress)


def _replay(
    trace: Path, candidate: Candidate, out: Path, options: Options, progress: Callable[[str, int, int], None]
) -> Trace:
    """Replay into a folder that is kept for it; of a replay that is resumed, the runs that are complete stay."""
    reference = options.follow.begin(trace, candidate) if options.follow else Trace.open(trace)
    check_reference(reference, "replay")
    dtypes = options.dtypes or tuple(dict.fromkeys(("float64", _working(reference))))
    requests = {dtype: request_of(reference, trace, out, options, dtype) for dtype in dtypes}
    rows, not_compared = candidate.alignment(requests[dtypes[0]])
    alignment = Alignment(rows, not_compared, _known_paths(reference))
    writer = TraceWriter(out, _manifest(reference, candidate, alignment, options), resume=options.resume)
    writer.discard_unfinished()
    replayer = _Replayer(reference, alignment, writer, options, progress)
    started = time.perf_counter()
    for dtype, request in requests.items():
        modes = [mode for mode in options.modes if f"{mode}-{dtype}" not in writer.manifest.runs]
        if not modes:
            progress(f"replayed {dtype} already", 1, 1)
            continue
        progress(f"load {dtype}", 0, 1)
        system = candidate.build(request)
        writer.note_made()
        _check_platform(out, writer.manifest, system)
        replayer.prepare(system)
        if dtype == dtypes[0]:
            _describe(writer.manifest, system)
        replayer.run(system, dtype, modes)
    writer.manifest.wall_s += time.perf_counter() - started
    if options.follow:
        reference = options.follow.end(trace)
    writer.manifest.reference_digest = reference.digest
    writer.finish()
    return Trace.open(out)


def modes_of(names: Sequence[str] | None) -> tuple[Mode, ...]:
    """Return the modes of these names; none given is all.

    Raises:
        InputError: there is no such mode.
    """
    if not names:
        return MODES
    for name in names:
        if name not in MODES:
            message = f"--mode {name} is not a mode{nearest(name, MODES)}; the modes are {', '.join(MODES)}"
            raise InputError(message)
    return cast("tuple[Mode, ...]", tuple(names))


def request_of(reference: Trace, trace: Path, out: Path, options: Options, dtype: str) -> Request:
    """Return what a candidate is built from to replay `trace` in a type.

    Raises:
        TraceError: the case names no weights, or they are not to be found.
    """
    named = reference.manifest.case.get("model") or {}
    weights = named.get("folder") or named.get("file")
    if not weights:
        message = f"{trace} names no model to replay it with; give a trace that `parity record` wrote"
        raise TraceError(message)
    config = None
    if named.get("config"):
        config = _named_path(reference.manifest, trace, "config", named["config"])
    return Request(
        model=_named_path(reference.manifest, trace, "model", weights),
        config=config,
        weights=options.weights,
        folder=out,
        dtype=dtype,
        device=options.device,
        manifest=reference.manifest,
        source=options.source,
        plant=options.plant,
    )


def given_of(reference: Trace, dtype: str, noise_shift: int = 0) -> Given:
    """Return what a candidate of a type is given: the twin's tensors in float64 where there are any, else the case's."""
    has_twin = "float64" in reference.manifest.runs
    source = reference.run("float64" if dtype == "float64" and has_twin else _working(reference))
    return Given(run=source, calls=Calls(source), case=reference.manifest.case, dtype=dtype, noise_shift=noise_shift)


class _Replayer:
    """Replays one trace in systems of one candidate, one for each type."""

    def __init__(
        self, reference: Trace, alignment: Alignment, writer: TraceWriter, options: Options,
        progress: Callable[[str, int, int], None],
    ) -> None:  # fmt: skip
        """Write the runs with `writer`."""
        self._reference, self._alignment, self._writer = reference, alignment, writer
        self._options, self._progress = options, progress

    def prepare(self, system: System) -> None:
        """Apply the repairs to a loaded system and keep what its platform errs by itself.

        Raises:
            RepairError: it cannot take one, and the repairs are strict.
        """
        manifest, repairs = self._writer.manifest, self._options.repairs
        manifest.refused |= _apply(system, repairs)
        for kind, errors in system.floors().items():
            manifest.floors[kind] = manifest.floors.get(kind, {}) | errors

    def run(self, system: System, dtype: str, modes: Sequence[Mode]) -> None:
        """Run a system of a type in some modes."""
        options = self._options
        given = given_of(self._reference, dtype, options.repairs.noise_shift)
        for mode in modes:
            with self._writer.run(f"{mode}-{dtype}", mode=mode, dtype=dtype, only=options.only) as run:
                reporter = Reporter(run, given, self._alignment, system, options.only)
                reporter.substituting(options.repairs.substituted)
                if mode == "layers":
                    self._layers(system, given, reporter)
                else:
                    self._observed(mode, system, given, reporter)

    def _observed(self, mode: Literal["free", "steps"], system: System, given: Given, reporter: Reporter) -> None:
        """Run a system as a whole, or from each step, while its cells are hooked."""
        drive = system.free if mode == "free" else system.steps
        stage = f"{mode} {given.dtype}"
        self._progress(stage, 0, 1)
        with system.observe(self._alignment.natives, reporter.cell):
            drive(given, reporter)
        self._progress(stage, 1, 1)

    def _layers(self, system: System, given: Given, reporter: Reporter) -> None:
        """Replay every recorded call of every aligned path on its recorded inputs."""
        stage, calls = f"layers {given.dtype}", given.calls.order
        for done, (path, step, call) in enumerate(calls):
            rows = self._alignment.for_path(path, call)
            if not rows or not reporter.wants_call(path, step, call):
                continue
            if done % _CALLS_TOLD == 0:
                self._progress(stage, done, len(calls))
            arrays = system.layer(rows, given.inputs(path, step, call), given, step)
            reporter.write(path, arrays, step, call or 0, rows[0])
        self._progress(stage, len(calls), len(calls))


def _apply(system: System, repairs: Repairs) -> dict[str, str]:
    """Apply the edits of a loaded model; return those that it cannot take, as JSON, with the reason.

    Raises:
        RepairError: it cannot take one, and the repairs are strict.
    """
    refused: dict[str, str] = {}
    for edit in repairs.of_model:
        try:
            system.apply(edit)
        except RepairError as error:
            if repairs.strict:
                raise
            refused[msgspec.json.encode(edit).decode()] = str(error)
    return refused


def _check_platform(out: Path, manifest: Manifest, system: System) -> None:
    """Refuse to continue what another platform began.

    Raises:
        TraceError: a version or the device is another one.
    """
    now = provenance.describe(system.provenance())
    for key in _PLATFORM & manifest.provenance.keys() & now.keys():
        old, new = manifest.provenance[key], now[key]
        if old != new:
            message = f"{out} cannot be resumed: its {key} is {old!r}, now {new!r}; choose another folder"
            raise TraceError(message)


def _conditions(reference: Trace, alignment: Alignment, options: Options) -> dict[str, str]:
    """Return what must be the same for an interrupted replay to be continued, beside the case."""
    given = {name: run.info.records_digest for name, run in zip(reference.runs, reference.readers, strict=True)}
    working = _working(reference)
    parts = {
        "reference": {name: given.get(name) for name in ("float64", working)},
        "alignment": [alignment.rows, alignment.not_compared],
        "repairs": options.repairs,
        "plant": _source_of(options.plant) if options.plant else None,
    }
    digests = {name: xxhash.xxh3_128_hexdigest(msgspec.json.encode(part)) for name, part in parts.items()}
    chosen = {"weights": options.weights, "source": options.source, "device": options.device, "only": options.only}
    return digests | {name: str(value) for name, value in chosen.items()}


def _source_of(plant: Path) -> bytes:
    """Return the text of a fault.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return reading.content(plant, reading.FAULT_BYTES)
    except OSError as error:
        message = f"the fault {plant} cannot be read: {error.strerror}; give a Python file (docs/faults.md)"
        raise InputError(message) from error


def _working(reference: Trace) -> str:
    """Return the type of the reference's working run."""
    return reference.manifest.working


def _describe(manifest: Manifest, system: System) -> None:
    """Put weights, attributes and provenance of a loaded system into the manifest."""
    manifest.weights = {
        parameter.address: WeightDigests(
            shape=parameter.array.shape, dtype=str(parameter.array.dtype), native=parameter.native,
            digests={UNCHANGED: digest(parameter.array)}, initial=not parameter.loaded,
        )
        for parameter in system.weights()
    }  # fmt: skip
    manifest.attributes = {path: dict(values) for path, values in system.attributes().items()}
    manifest.provenance = provenance.describe(system.provenance())


def _manifest(reference: Trace, candidate: Candidate, alignment: Alignment, options: Options) -> Manifest:
    """Return the manifest of a candidate's trace before its first run."""
    return Manifest(
        side="candidate",
        name=candidate.name,
        case=reference.manifest.case,
        case_digest=reference.manifest.case_digest,
        conditions=_conditions(reference, alignment, options),
        sources=reference.manifest.sources,
        components=reference.manifest.components,
        functions=reference.manifest.functions,
        store=options.store,
        alignment=list(alignment.rows),
        not_compared=alignment.not_compared,
        command=list(options.command),
    )


def _known_paths(reference: Trace) -> set[str]:
    """Return the reference's module paths and the paths of its records."""
    recorded = map(path_of, chain.from_iterable(reference.readers))
    return {*reference.manifest.modules, *recorded}


def _named_path(manifest: Manifest, trace: Path, what: Literal["model", "config"], named: str) -> Path:
    """Return the weights or the configuration that the case names, as recorded, or beside the trace when it travelled.

    Raises:
        TraceError: they are at neither place.
    """
    recorded = str(manifest.provenance.get(f"{what}_path") or named)
    beside = [parent / named for parent in trace.resolve().parents]
    found = next(filter(Path.exists, [Path(recorded), Path(named), *beside]), None)
    if found is None:
        message = f"{named}, the {what} of the trace {trace}, is not here; copy it beside the trace or start from the folder that holds it"
        raise TraceError(message)
    return found
