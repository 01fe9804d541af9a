"""What an adapter has to keep, as pytest classes that its author inherits.

    class TestMine(ReferenceTests):
        @pytest.fixture(scope="class")
        @classmethod
        def reference(cls):
            return reference

        @pytest.fixture(scope="class")
        @classmethod
        def resolved(cls):
            return parity.case.load("case.toml")

    class TestMyPort(CandidateTests):
        @pytest.fixture(scope="class")
        @classmethod
        def candidate(cls):
            return candidate

        @pytest.fixture(scope="class")
        @classmethod
        def trace(cls):
            return Path("traces/reference")

Each class records, or replays, once; take a tiny model. A fixture that already has what is needed may stand in for
`system`, `recorded` or `replayed`. Every message says which path breaks which promise.

Limits: these are promises between an adapter and the harness. Whether the program itself is right is what
`parity run` tells.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NoReturn, Protocol

import numpy as np
import pytest

from parity import compare as comparer
from parity import record as recorder
from parity import replay as replayer
from parity.address import Address, is_output, literal, path_of, port_of
from parity.align import Alignment
from parity.digests import UNCHANGED, digest
from parity.dtypes import eps, is_float, storage
from parity.errors import AddressError, AlignmentError, ParityError, WeightsError
from parity.repair import Repairs, WeightEdit
from parity.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from parity.case import Resolved
    from parity.components import Components
    from parity.record import Reference
    from parity.replay import Candidate
    from parity.trace import RunReader

__all__ = ["CandidateTests", "ReferenceTests"]

_SHOWN: Final = 5
_SAME_COMPUTATION: Final = 1000  # in spacings of the working type; a twin that computes something else is far beyond
_DRAWN: Final = re.compile(r".*:input\.noise|pipeline:input\..*")


class ReferenceTests:
    """What a reference promises. Fixtures to give: `reference` and `resolved`, a small case."""

    never_called: ClassVar[frozenset[str]] = frozenset()
    """Modules with parameters that the case never calls."""

    @pytest.fixture(scope="class")
    @classmethod
    def system(cls, reference: Reference, resolved: Resolved) -> recorder.System:
        """Return the loaded case."""
        return reference.load(resolved, device="cpu", dtype=resolved.case.precision.dtype)

    @pytest.fixture(scope="class")
    @classmethod
    def recorded(cls, reference: Reference, resolved: Resolved, tmp_path_factory: pytest.TempPathFactory) -> Trace:
        """Return a whole recording of the case."""
        return recorder.record(resolved, reference, tmp_path_factory.mktemp("conformance") / "reference")

    def test_the_protocol_is_complete(self, reference: Reference, system: recorder.System) -> None:
        """A name, and every method of `parity.record.System`."""
        _has(reference, recorder.Reference)
        _has(system, recorder.System)
        _promise(
            kept=isinstance(reference.name, str) and reference.name != "",
            otherwise=f"the reference's name is {reference.name!r}; a manifest needs a text",
        )

    def test_every_module_has_a_stage(self, system: recorder.System) -> None:
        """Each path is one of an address, of a component that has its place in the order of stages."""
        _addressed(system.components, system.modules())

    def test_weights_are_named_by_their_modules(self, system: recorder.System) -> None:
        """`PATH:NAME` of a module, once, with an array of the type that is named."""
        modules, seen = system.modules(), set[str]()
        buffers = getattr(system, "buffers", tuple)
        for address, array, dtype in chain(system.weights(), buffers()):
            _promise(
                kept=path_of(address) in modules and port_of(address) != "" and address not in seen,
                otherwise=f"the weight {address!r} is no PATH:NAME of a module, or comes twice",
            )
            _promise(
                kept=array.dtype.newbyteorder("<") == storage(dtype),
                otherwise=f"{address}: the array is {array.dtype} and is called {dtype}",
            )
            seen.add(address)
        _promise(kept=bool(seen), otherwise="there are no weights")

    def test_attributes_are_plain_values_of_known_paths(self, system: recorder.System) -> None:
        """Attributes travel as JSON."""
        _plain_attributes(system.components, system.attributes())

    def test_every_run_is_recorded(self, recorded: Trace) -> None:
        """The working run, its twin, the forced twin, and the twin restarted at each step; none is empty."""
        _working(recorded)
        _empty("runs that are not recorded", sorted({"float64", "forced", "steps"} - set(recorded.runs)))
        _empty("runs without a record", [name for name in recorded.runs if len(recorded.run(name)) == 0])

    def test_recording_changes_nothing(self, recorded: Trace) -> None:
        """With and without hooks the results are bit-identical."""
        neutral = recorded.manifest.checks.neutral
        _promise(
            kept=neutral is True,
            otherwise=f"recording is not neutral: the manifest has {neutral}; a hook changes a value",
        )

    def test_the_run_repeats(self, recorded: Trace) -> None:
        """Run twice, every record is the same; random numbers come from the case's seed."""
        checks = recorded.manifest.checks
        worst = sorted(checks.repeat_max_abs.items(), key=lambda item: -item[1])[:_SHOWN]
        _promise(
            kept=checks.repeatable is True,
            otherwise=f"the run does not repeat; it differs most at {worst}",
        )

    def test_all_runs_see_the_same_calls(self, recorded: Trace) -> None:
        """The twin makes the calls of the working run, in its order."""
        working, twin = _working(recorded), recorded.run("float64")
        differing = _shown(set(working) ^ set(twin)) or "another order"
        _promise(
            kept=list(working) == list(twin),
            otherwise=f"the twin's addresses are not the working run's: {differing}",
        )

    def test_the_twin_computes_in_float64(self, recorded: Trace) -> None:
        """What is narrower says which operator made it so."""
        outputs = [each for each in recorded.run("float64").records if is_output(each.address)]
        narrow = [each for each in outputs if is_float(each.dtype) and each.dtype != "float64"]
        unknown = [each.address for each in narrow if each.island is None]
        _empty("outputs of the twin that are narrower than float64 and no island", unknown)

    def test_the_twin_is_given_what_was_drawn(self, recorded: Trace) -> None:
        """Noise and inputs of the whole are the working run's, widened and not drawn again."""
        working, twin = _working(recorded), recorded.run("float64")
        drawn = list(filter(_DRAWN.fullmatch, _tensors(working)))
        _promise(
            kept=bool(drawn),
            otherwise="no input is recorded that was drawn: neither PATH:input.noise nor pipeline:input.NAME",
        )
        _empty("draws that the twin got otherwise", [each for each in drawn if not _equal(working, twin, each)])

    def test_the_forced_twin_computes_the_same(self, recorded: Trace) -> None:
        """On equal inputs a module and its twin differ by rounding, not by what they compute."""
        working, forced = _working(recorded), recorded.run("forced")
        limit = _SAME_COMPUTATION * eps(working.info.dtype)
        far = []
        for address in _tensors(forced):
            distance = _distance(working, forced, address)
            if distance > limit:
                far.append(f"{address} ({distance:.1e})")
        _empty(f"outputs of the forced twin that are farther than {limit:.0e} from the working run's", far)

    def test_every_module_with_parameters_is_recorded(self, recorded: Trace) -> None:
        """What owns a parameter is compared, or is known never to be called."""
        owners = set(map(path_of, recorded.manifest.weights))
        unseen = owners - _called(_working(recorded))
        _empty("modules with parameters and without a record", sorted(unseen - self.never_called))


class CandidateTests:
    """What a candidate promises. Fixtures to give: `candidate`, and `trace`, the folder of a small reference."""

    device: ClassVar[str] = "CPU"
    weights: ClassVar[Path | None] = None

    @pytest.fixture(scope="class")
    @classmethod
    def request_of(cls, trace: Path, tmp_path_factory: pytest.TempPathFactory) -> replayer.Request:
        """Return what the system is built from, in float64."""
        manifest = Trace.open(trace).manifest
        return replayer.Request(
            model=Path(str(manifest.provenance["model_path"])), weights=cls.weights, dtype="float64",
            folder=tmp_path_factory.mktemp("conformance"), device=cls.device, manifest=manifest,
        )  # fmt: skip

    @pytest.fixture(scope="class")
    @classmethod
    def system(cls, candidate: Candidate, request_of: replayer.Request) -> replayer.System:
        """Return the model in float64."""
        return candidate.build(request_of)

    @pytest.fixture(scope="class")
    @classmethod
    def replayed(cls, candidate: Candidate, trace: Path, tmp_path_factory: pytest.TempPathFactory) -> Trace:
        """Return a whole replay: three modes, float64 and the working type."""
        out = tmp_path_factory.mktemp("conformance") / "candidate"
        return replayer.replay(trace, candidate, out, cls._options(), _silent)

    @classmethod
    def _options(cls) -> replayer.Options:
        """Return how to replay."""
        return replayer.Options(device=cls.device, weights=cls.weights)

    def test_the_protocol_is_complete(self, candidate: Candidate, system: replayer.System) -> None:
        """A name, an alignment, and every method of `parity.replay.System`."""
        _has(candidate, replayer.Candidate)
        _has(system, replayer.System)

    def test_the_alignment_is_total(self, candidate: Candidate, request_of: replayer.Request, trace: Path) -> None:
        """Every path with an output has a row, or one of the listed reasons; no row names what is not there."""
        reference = Trace.open(trace)
        rows, reasons = candidate.alignment(request_of)
        called = _called(_working(reference))
        try:
            Alignment(rows, reasons, called | set(reference.manifest.modules))
        except AlignmentError as error:
            _no(str(error))
        told = {row.path for row in rows} | set(reasons)
        _empty("paths without a row and without a reason", sorted(called - told))

    def test_every_aligned_cell_is_there(
        self, candidate: Candidate, request_of: replayer.Request, system: replayer.System
    ) -> None:
        """The cells that rows name can be hooked."""
        rows, _ = candidate.alignment(request_of)
        natives = list(dict.fromkeys(row.native for row in rows if not row.function))
        try:
            with system.observe(natives, lambda *_: None):
                pass
        except AlignmentError as error:
            _no(str(error))

    def test_every_weight_is_the_references(self, system: replayer.System, request_of: replayer.Request) -> None:
        """All parameters are loaded, under the reference's names, in its layout, with its values."""
        manifest, found = request_of.manifest, {each.address: each for each in system.weights()}
        known = manifest.weights | manifest.buffers  # these the candidate may have
        _empty("weights that the candidate lacks", sorted(set(manifest.weights) - set(found)))
        _empty("weights that the candidate has too many", sorted(set(found) - set(known)))
        _empty("weights that nothing loaded", [address for address, each in found.items() if not each.loaded])
        others = []
        for address, each in found.items():
            here, there = each.array.shape, known[address].shape
            if here != there or digest(each.array) != known[address].digests[UNCHANGED]:
                others.append(f"{address} {list(here)}, the reference has {list(there)}")
        _empty("weights that are not the reference's", others)

    def test_a_checkpoint_without_one_tensor_is_refused(
        self, candidate: Candidate, request_of: replayer.Request, tmp_path: Path
    ) -> None:
        """Loading is strict. Looks at models of safetensors files; another format needs a test of its own."""
        files = sorted(request_of.model.rglob("*.safetensors")) if self.weights is None else []
        if not files:
            pytest.skip("the case's model has no safetensors file")
        model = tmp_path / "model"
        missing = _without_one(request_of.model, files[0], model)
        try:
            candidate.build(replace(request_of, model=model, folder=tmp_path))
        except WeightsError as error:
            _promise(
                kept=missing.rpartition(".")[0] in str(error),
                otherwise=f"{missing} was removed from {files[0].name} and the error names it not: {error}",
            )
        else:
            _no(f"{missing} was removed from {files[0].name} and the model loads; loading must be strict")

    def test_attributes_are_plain_values_of_known_paths(
        self, system: replayer.System, request_of: replayer.Request
    ) -> None:
        """Attributes travel as JSON."""
        _plain_attributes(request_of.manifest.program, system.attributes())

    def test_every_mode_runs(self, replayed: Trace, trace: Path) -> None:
        """Three modes in float64 and in the working type, at the reference's addresses alone."""
        working = _working(Trace.open(trace))
        wanted = {f"{mode}-{dtype}" for mode in replayer.MODES for dtype in ("float64", working.info.dtype)}
        _empty("runs that are not there", sorted(wanted - set(replayed.runs)))
        for name in sorted(wanted):
            addresses = list(replayed.run(name))
            unknown = [each for each in addresses if each not in working]
            _empty(f"addresses of {name} that the reference does not have", unknown)
            _promise(kept=bool(addresses), otherwise=f"{name} recorded nothing")

    def test_a_healthy_candidate_matches(self, replayed: Trace, trace: Path) -> None:
        """Complete, and equal within the limits."""
        result = comparer.compare(Trace.open(trace), [replayed])
        if result.verdict != "MATCH":
            where = None if result.first_divergence is None else result.first_divergence.address
            _no(
                f"the verdict is {result.verdict}, first at {where}; unexplained: {_shown(result.coverage.unexplained)}"
            )

    def test_a_planted_weight_error_is_found(
        self, candidate: Candidate, request_of: replayer.Request, trace: Path, tmp_path: Path
    ) -> None:
        """A weight that is flipped by a repair changes its module's output and fails the audit, there."""
        reference = Trace.open(trace)
        path = _planted(candidate, request_of, reference)
        options = replace(
            self._options(), modes=("layers",), dtypes=("float64",), only=rf"{literal(path)}(@.*)?:output",
            repairs=Repairs(edits=(WeightEdit(address=f"{path}:weight", change="flip0"),)),
        )  # fmt: skip
        try:
            broken = replayer.replay(trace, candidate, tmp_path / "broken", options, _silent)
        except ParityError as error:
            _no(f"the weight of {path} cannot be flipped by a repair: {error}")
        result = comparer.compare(reference, [broken])
        failed = {(pair.mode, path_of(pair.address)) for pair in result.pairs if pair.verdict == "MISMATCH"}
        _promise(
            kept=failed == {("audit", path), ("layers", path)},
            otherwise=f"the weight of {path} was flipped; what fails is {_shown(sorted(map(str, failed)))}",
        )


def _planted(candidate: Candidate, request: replayer.Request, reference: Trace) -> str:
    """Return a path with a two-dimensional weight, rows of its own and a record."""
    rows, _ = candidate.alignment(request)
    aligned = {row.path for row in rows if not row.function}
    seen = {path_of(each) for each in reference.run("float64") if port_of(each) == "output"}
    for address, weight in reference.manifest.weights.items():
        is_matrix = port_of(address) == "weight" and len(weight.shape) == 2  # noqa: PLR2004
        if is_matrix and weight.shape[0] > 1 and path_of(address) in aligned & seen:
            return path_of(address)
    pytest.skip("no aligned module has a matrix as its weight")


def _tensors(run: RunReader) -> list[str]:
    """Return the addresses of a run's tensors."""
    return [each.address for each in run.records if each.kind == "tensor"]


def _called(run: RunReader) -> set[str]:
    """Return the paths of which a run has an output."""
    return {path_of(each) for each in run if is_output(each)}


def _equal(first: RunReader, second: RunReader, address: str) -> bool:
    """Tell whether the second run has the first one's tensor, but for its type."""
    return address in second and np.array_equal(first.wide(address), second.wide(address))


def _without_one(model: Path, file: Path, out: Path) -> str:
    """Link `model` to `out`, but for `file`, which loses its last tensor; return that tensor's name."""
    for each in model.rglob("*"):
        target = out / each.relative_to(model)
        target.parent.mkdir(parents=True, exist_ok=True)
        if each.is_file() and each != file:
            target.symlink_to(each.resolve())
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    tensors = [name for name in header if name != "__metadata__"]
    last = max(tensors, key=lambda name: int(header[name]["data_offsets"][1]))
    end = 8 + length + int(header.pop(last)["data_offsets"][0])
    text = json.dumps(header).encode()
    (out / file.relative_to(model)).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length : end])
    return last


def _working(trace: Trace) -> RunReader:
    """Return a reference's run in its working type."""
    for name in trace.runs:
        run = trace.run(name)
        if run.info.mode == "run" and name != "float64":
            return run
    return _no(f"{trace.folder} has no run in a working type; its runs are {', '.join(trace.runs)}")


def _distance(first: RunReader, second: RunReader, address: str) -> float:
    """Return the relative distance of two recorded tensors; integers must be equal."""
    if not is_float(first.record(address).dtype):
        same = np.array_equal(first.tensor(address), second.tensor(address))
        return 0.0 if same else math.inf
    x, y = first.wide(address), second.wide(address)
    scale = float(np.linalg.norm(y))
    if scale == 0:
        return float(np.abs(x).max(initial=0.0))
    return float(np.linalg.norm(x - y)) / scale


def _addressed(components: Components, paths: Iterable[str]) -> None:
    """Fail for paths that cannot be part of an address or have no stage."""
    wrong = []
    for path in paths:
        try:
            components.stage_of(Address.parse(f"{path}:output").path)
        except AddressError:
            wrong.append(path)
    _empty("paths that belong to no component", wrong)


def _plain_attributes(components: Components, attributes: Mapping[str, Mapping[str, Any]]) -> None:
    """Fail for attributes that are no JSON or have no path."""
    _addressed(components, attributes)
    for path, values in attributes.items():
        try:
            json.dumps(dict(values), allow_nan=False)
        except (TypeError, ValueError) as error:
            _no(f"the attributes of {path} are not plain: {error}; give numbers, texts and lists of them")


def _has(found: object, protocol: type) -> None:
    """Fail unless an object has everything that a protocol names."""
    named: set[str] = set()
    for base in protocol.__mro__:
        if base not in {object, Protocol, Generic}:
            named.update(vars(base), base.__annotations__)
    lacking = [name for name in sorted(named) if not name.startswith("_") and not hasattr(found, name)]
    _empty(f"what {type(found).__name__} lacks of {protocol.__name__}", lacking)


def _empty(what: str, found: Iterable[object]) -> None:
    """Fail if there is any."""
    listed = list(found)
    _promise(kept=not listed, otherwise=f"{what}: {_shown(listed)}")


def _shown(found: Iterable[object]) -> str:
    """Return the first few, and how many there are."""
    listed = list(map(str, found))
    shown = ", ".join(listed[:_SHOWN])
    left = len(listed) - _SHOWN
    return f"{shown} and {left} more" if left > 0 else shown


def _promise(*, kept: bool, otherwise: str) -> None:
    """Fail the test that runs, with what to say otherwise, unless a promise is kept."""
    if not kept:
        _no(otherwise)


def _no(message: str) -> NoReturn:
    """Fail the test that runs."""
    raise AssertionError(message)


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Say nothing."""
