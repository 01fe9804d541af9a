"""The conformance classes accept the adapters of docs/adapters.md, and each check has an adapter that it refuses."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
ms = pytest.importorskip("mindspore")

from parity import replay as replayer  # noqa: E402
from parity.adapters.mindspore_ import CellSystem  # noqa: E402
from parity.adapters.torch_ import ModuleReference, ModuleSystem  # noqa: E402
from parity.case import load  # noqa: E402
from parity.components import Components  # noqa: E402
from parity.conformance import CandidateTests, ReferenceTests  # noqa: E402
from parity.record import Options, record  # noqa: E402
from parity.trace import Row, Trace  # noqa: E402
from tests.parity.adapters.test_document import FILES, write  # noqa: E402
from tests.parity.trace.dumps.made import write_safetensors  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The document's two programs and their adapters, to be imported."""
    place = write(tmp_path_factory.mktemp("swirl"))
    sys.path.insert(0, str(place))
    yield place
    sys.path.remove(str(place))
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.fixture(scope="module")
def swirl(folder):
    """The torch program's adapter."""
    return importlib.import_module("swirl_reference").reference


@pytest.fixture(scope="module")
def port(folder):
    """The port's adapter."""
    return importlib.import_module("swirl_candidate").candidate


@pytest.fixture(scope="module")
def resolved(folder):
    """The document's case."""
    return load(folder / "case.toml")


@pytest.fixture(scope="module")
def healthy(swirl, resolved, folder):
    """A whole recording."""
    return record(resolved, swirl, folder / "healthy")


class TestTheDocumentsReference(ReferenceTests):
    """swirl_reference.py."""

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls, swirl):
        """Return the reference."""
        return swirl


class TestTheDocumentsCandidate(CandidateTests):
    """swirl_candidate.py."""

    @pytest.fixture(scope="class")
    @classmethod
    def candidate(cls, port):
        """Return the candidate."""
        return port

    @pytest.fixture(scope="class")
    @classmethod
    def trace(cls, healthy):
        """Return the reference's trace."""
        return healthy.folder


def verdict(check, *arguments):
    """Return what a check of the classes says of something broken."""
    owner = ReferenceTests if hasattr(ReferenceTests, check) and not check.endswith("_port") else CandidateTests
    with pytest.raises(AssertionError) as raised:
        getattr(owner(), check.removesuffix("_port"))(*arguments)
    return str(raised.value)


# broken references


class Meddling(ModuleSystem):
    """Changes the result while it is hooked."""

    def _observed(self, pipeline, inputs, taps):
        return super()._observed(pipeline, inputs | {"noise": inputs["noise"] * 1.01}, taps)


class Restless(ModuleSystem):
    """Draws anew in every run."""

    def run(self, taps, progress):
        """Run with other noise."""
        self._inputs["noise"] = torch.randn_like(self._inputs["noise"])
        return super().run(taps, progress)


class Shorter(ModuleSystem):
    """Its twin makes one step less."""

    def _wide_inputs(self):
        return super()._wide_inputs() | {"steps": 3}


class Narrow(ModuleSystem):
    """Its twin is in float32, and no island is looked for."""

    def twin(self, taps, progress):
        """Run the pipeline itself."""
        progress(0, 1)
        inputs = self._wide_inputs()
        with self._reported(self._pipeline, taps):
            self._observed(self._pipeline, inputs | {"noise": inputs["noise"].float()}, taps)
        return []


class Redrawn(ModuleSystem):
    """Its twin draws its own noise."""

    def _wide_inputs(self):
        return super()._wide_inputs() | {"noise": torch.zeros(2, 24, dtype=torch.float64)}


class Other(ModuleSystem):
    """Its twin has another activation."""

    @property
    def _twin(self):
        super()._twin.denoiser.act = torch.nn.GELU()
        return super()._twin


def of_system(swirl, kind):
    """Return the document's reference with another system."""

    class Broken(type(swirl)):
        def load(self, resolved, *, device, dtype, source=None):
            """Load with the broken system."""
            del source
            pipeline = self.pipeline(resolved)
            return kind(self, pipeline, resolved.case, dtype, torch.device(device))

    return Broken()


@pytest.mark.parametrize(
    ("kind", "check", "message"),
    [
        (Meddling, "test_recording_changes_nothing", "recording is not neutral"),
        (Restless, "test_the_run_repeats", "the run does not repeat"),
        (Shorter, "test_all_runs_see_the_same_calls", "@step=3"),
        (Narrow, "test_the_twin_computes_in_float64", "narrower than float64"),
        (Redrawn, "test_the_twin_is_given_what_was_drawn", "pipeline:input.noise"),
        (Other, "test_the_forced_twin_computes_the_same", "denoiser.act@step=0:output"),
    ],
)
def test_a_broken_system_is_refused(swirl, resolved, tmp_path, kind, check, message):
    assert message in verdict(check, record(resolved, of_system(swirl, kind), tmp_path / "trace"))


def test_a_recording_without_a_twin_is_refused(swirl, resolved, tmp_path):
    trace = record(resolved, swirl, tmp_path / "trace", Options(dtypes=("float32",)))
    assert "float64, forced, steps" in verdict("test_every_run_is_recorded", trace)


def test_a_module_that_is_never_called_is_refused_unless_it_is_listed(swirl, resolved, tmp_path):
    class Unused(type(swirl)):
        def parts(self, pipeline):
            """Name a module that the program does not use."""
            pipeline.denoiser.spare = getattr(pipeline.denoiser, "spare", torch.nn.Linear(2, 2))
            return super().parts(pipeline)

    trace = record(resolved, Unused(), tmp_path / "trace")
    assert verdict("test_every_module_with_parameters_is_recorded", trace).endswith("without a record: denoiser.spare")

    class Listed(ReferenceTests):
        never_called = frozenset({"denoiser.spare"})

    Listed().test_every_module_with_parameters_is_recorded(trace)


def system(**methods):
    """Return a system that only answers."""
    answers = {name: (lambda value=value: value) for name, value in methods.items()}
    return SimpleNamespace(components=Components(stages={"unet": "unet"}), **answers)


@pytest.mark.parametrize(
    ("check", "broken", "message"),
    [
        ("test_every_module_has_a_stage", {"modules": {"unet": "A", "net.a": "B"}}, "net.a"),
        ("test_weights_are_named_by_their_modules", {"modules": {"unet": "A"}, "weights": []}, "no weights"),
        (
            "test_weights_are_named_by_their_modules",
            {"modules": {"unet": "A"}, "weights": [("vae:weight", np.zeros(1), "float64")]},
            "'vae:weight' is no PATH:NAME",
        ),
        (
            "test_weights_are_named_by_their_modules",
            {"modules": {"unet": "A"}, "weights": [("unet:weight", np.zeros(1), "float32")]},
            "is float64 and is called float32",
        ),
        ("test_attributes_are_plain_values_of_known_paths", {"attributes": {"unet": {"eps": 1j}}}, "not plain"),
        ("test_attributes_are_plain_values_of_known_paths", {"attributes": {"net": {}}}, "no component: net"),
    ],
)  # fmt: skip
def test_what_a_system_says_wrongly_is_refused(check, broken, message):
    assert message in verdict(check, system(**broken))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [({"denoiser": {"eps": np}}, "not plain"), ({"unet": {}}, "no component: unet")],
)
def test_attributes_of_a_port_that_are_not_plain_or_of_no_component_are_refused(healthy, folder, attributes, message):
    check = "test_attributes_are_plain_values_of_known_paths_port"
    assert message in verdict(check, system(attributes=attributes), request(healthy, folder))


def test_an_incomplete_protocol_is_refused(swirl):
    found = verdict("test_the_protocol_is_complete", swirl, system(modules={}))
    assert "lacks of System: attributes, floors, forced, policy, provenance" in found
    assert "lacks of Reference: load, name" in verdict("test_the_protocol_is_complete", SimpleNamespace(), None)
    assert isinstance(swirl, ModuleReference)
    found = verdict("test_the_protocol_is_complete_port", SimpleNamespace(), None)
    assert "lacks of Candidate: alignment, build, name" in found


# broken candidates


def request(healthy, folder, **changes):
    """Return what a candidate is built from."""
    given = {
        "model": folder / "weights", "weights": None, "folder": folder, "dtype": "float64", "device": "CPU",
        "manifest": healthy.manifest,
    }  # fmt: skip
    return replayer.Request(**(given | changes))


def changed(port, **methods):
    """Return the document's candidate with some methods of its own."""
    return type("Broken", (type(port),), methods)()


def with_system(port, **methods):
    """Return the document's candidate whose system has some methods of its own."""
    kind = type("Broken", (CellSystem,), methods)

    def build(self, request):
        return kind(self, request)

    return changed(port, build=build)


def test_a_path_without_row_and_reason_is_refused(port, healthy, folder):
    given = (request(healthy, folder), healthy.folder)
    missing = changed(port, alignment=lambda _, request: (port.alignment(request)[0][:-1], {}))
    assert "without a row and without a reason: pipeline" in verdict("test_the_alignment_is_total", missing, *given)
    unknown = changed(port, rows=lambda *_: [Row(path="denoiser.actt", native="denoiser.act")])
    assert "did you mean 'denoiser.act'" in verdict("test_the_alignment_is_total", unknown, *given)
    reason = changed(port, not_compared={"denoiser.act": "too hard"})
    assert "'too hard' is no reason" in verdict("test_the_alignment_is_total", reason, *given)


def test_a_row_of_a_cell_that_is_not_there_is_refused(port, healthy, folder):
    given = request(healthy, folder)
    broken = changed(port, rows=lambda *_: [Row(path="denoiser.act", native="denoiser.activation")])
    found = verdict("test_every_aligned_cell_is_there", broken, given, broken.build(given))
    assert "no cell 'denoiser.activation'" in found


def test_weights_that_are_not_the_references_are_refused(port, healthy, folder):
    given = request(healthy, folder)

    def system(change):
        return SimpleNamespace(weights=lambda: change(list(port.build(given).weights())))

    check = "test_every_weight_is_the_references"
    assert "lacks or has too many: words:weight" in verdict(check, system(lambda found: found[1:]), given)
    scaled = system(lambda found: [replaced(found[0], array=found[0].array * 2), *found[1:]])
    assert "not the reference's: words:weight [64, 24]" in verdict(check, scaled, given)
    unloaded = system(lambda found: [replaced(found[0], loaded=False), *found[1:]])
    assert "nothing loaded: words:weight" in verdict(check, unloaded, given)


def replaced(parameter, **changes):
    """Return a parameter with some fields changed."""
    fields = {name: getattr(parameter, name) for name in ("address", "native", "array", "loaded")}
    return replayer.Parameter(**(fields | changes))


def test_lenient_loading_is_refused(port, healthy, folder, tmp_path):
    (tmp_path / "model").mkdir()
    tensors = {name: (np.ones(2, np.float32), "float32") for name in ("unet.a.weight", "unet.b.weight")}
    write_safetensors(tmp_path / "model" / "x.safetensors", tensors)
    lenient = changed(port, build=lambda *_: None)
    given = request(healthy, folder, model=tmp_path / "model")
    found = verdict("test_a_checkpoint_without_one_tensor_is_refused", lenient, given, tmp_path / "out")
    assert "unet.b.weight was removed from x.safetensors and the model loads" in found


def test_a_mode_that_records_nothing_is_refused(port, healthy, tmp_path):
    idle = with_system(port, steps=lambda *_: None)
    replayed = replayer.replay(healthy.folder, idle, tmp_path / "out", replayer.Options(), lambda *_: None)
    assert verdict("test_every_mode_runs", replayed, healthy.folder) == "steps-float32 recorded nothing"
    one = replayer.Options(modes=("free",), dtypes=("float64",))
    replayed = replayer.replay(healthy.folder, port, tmp_path / "one", one, lambda *_: None)
    assert "layers-float32, layers-float64, steps" in verdict("test_every_mode_runs", replayed, healthy.folder)


def test_a_port_that_computes_something_else_is_refused(port, healthy, tmp_path):
    def pipeline(self, request):
        program = port.pipeline(request)
        program.denoiser.act = ms.nn.GELU()
        return program

    broken = changed(port, pipeline=pipeline)
    options = replayer.Options(modes=("layers",))
    replayed = replayer.replay(healthy.folder, broken, tmp_path / "out", options, lambda *_: None)
    found = verdict("test_a_healthy_candidate_matches", replayed, healthy.folder)
    assert "the verdict is MISMATCH, first at denoiser.act@step=0:output" in found


def test_a_repair_that_does_nothing_is_refused(port, healthy, folder, tmp_path):
    deaf = with_system(port, apply=lambda *_: None)
    given = (request(healthy, folder), healthy.folder, tmp_path)
    found = verdict("test_a_planted_weight_error_is_found", deaf, *given)
    assert "the weight of words was flipped; what fails is" in found
    assert Trace.open(healthy.folder).manifest.checks.neutral is True
