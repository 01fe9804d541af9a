"""The conformance classes accept a healthy reference and candidate, and each check has one that it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import special

from parity.components import Components
from parity.conformance import CandidateTests, ReferenceTests
from parity.errors import RepairError, WeightsError
from parity.record import Options, record
from parity.replay import Request
from parity.trace import Row
from tests.parity import numpy_program
from tests.parity.numpy_candidate import NumpyCandidate, NumpySystem, candidate, replayed
from tests.parity.trace.dumps.made import write_safetensors


class TestTheProgram(ReferenceTests):
    """The program in numpy."""

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls):
        """Return the reference."""
        return numpy_program.reference

    @pytest.fixture(scope="class")
    @classmethod
    def resolved(cls, program_case):
        """Return its case."""
        return program_case

    @pytest.fixture(scope="class")
    @classmethod
    def recorded(cls, program):
        """Return the recording that all tests share."""
        return program


class TestThePort(CandidateTests):
    """Its port."""

    @pytest.fixture(scope="class")
    @classmethod
    def candidate(cls):
        """Return the candidate."""
        return candidate

    @pytest.fixture(scope="class")
    @classmethod
    def trace(cls, program):
        """Return the reference's trace."""
        return program.folder


def refusal(tests, check, *arguments):
    """Return what a check says of something broken."""
    with pytest.raises(AssertionError) as raised:
        getattr(tests(), check)(*arguments)
    return str(raised.value)


def of_reference(check, *arguments):
    """Return what a reference's check says."""
    return refusal(ReferenceTests, check, *arguments)


def of_candidate(check, *arguments):
    """Return what a candidate's check says."""
    return refusal(CandidateTests, check, *arguments)


# broken references


class Meddling(numpy_program.System):
    """Changes the result while it is watched."""

    def _watched(self, program, taps, progress, restart=None):
        scale = 1.0 if taps is None else 1.001
        program.attributes = self.attributes() | {"unet.attn": {"scale": 0.5 * scale}}
        return super()._watched(program, taps, progress, restart)


class Restless(numpy_program.System):
    """Draws anew in every run."""

    runs = 0

    def run(self, taps, progress):
        """Run with another seed."""
        self.runs += 1
        self._case = SimpleNamespace(
            size=self._case.size,
            prompt=self._case.prompt,
            sampling=SimpleNamespace(steps=3, seed=self.runs, guidance=4.0),
        )
        return super().run(taps, progress)


class Shorter(numpy_program.System):
    """Its twin makes one step less."""

    def twin(self, taps, progress):
        """Run the twin."""
        self._twin.steps = 2
        islands = super().twin(taps, progress)
        self._twin.steps = 3
        return islands


class Narrow(numpy_program.System):
    """Its twin is the program itself, and no island is looked for."""

    def twin(self, taps, progress):
        """Run the program."""
        self._watched(self._program, taps, progress)
        return []


class Redrawn(numpy_program.System):
    """Its twin draws its own noise."""

    def twin(self, taps, progress):
        """Run the twin."""
        drawn = self._drawn
        self._drawn = numpy_program.Drawn(start=drawn.start, noise=drawn.noise * 2)
        islands = super().twin(taps, progress)
        self._drawn = drawn
        return islands


class Other(numpy_program.System):
    """Its twin has another activation."""

    def forced(self, recorded, skipped, taps, progress):
        """Force the twin."""
        own = numpy_program.PARTS["unet.act"]
        silu = own._replace(compute=lambda _program, _path, hidden_states: hidden_states * special.expit(hidden_states))
        numpy_program.PARTS["unet.act"] = silu
        try:
            super().forced(recorded, skipped, taps, progress)
        finally:
            numpy_program.PARTS["unet.act"] = own


def with_system(kind):
    """Return the program's reference with another system."""
    return type("Broken", (numpy_program.Reference,), {"system": kind})()


@pytest.mark.parametrize(
    ("kind", "check", "message"),
    [
        (Meddling, "test_recording_changes_nothing", "recording is not neutral: the manifest has False"),
        (Restless, "test_the_run_repeats", "the run does not repeat; it differs most at"),
        (Shorter, "test_all_runs_see_the_same_calls", "@step=2"),
        (Narrow, "test_the_twin_computes_in_float64", "narrower than float64 and no island: text_encoder"),
        (Redrawn, "test_the_twin_is_given_what_was_drawn", "scheduler.step@step=0:input.noise"),
        (Other, "test_the_forced_twin_computes_the_same", "unet.act@step=0,call=0:output"),
    ],
)
def test_a_broken_reference_is_refused(program_case, tmp_path, kind, check, message):
    assert message in of_reference(check, record(program_case, with_system(kind), tmp_path / "trace"))


def test_a_recording_without_a_twin_is_refused(program_case, tmp_path):
    trace = record(program_case, numpy_program.reference, tmp_path / "trace", Options(dtypes=("float32",)))
    assert "float64, forced, steps" in of_reference("test_every_run_is_recorded", trace)


def test_a_recording_of_which_a_run_is_empty_is_refused(program_case, tmp_path):
    only = Options(taps=r"unet\.ff.*:output")  # nothing can be forced without its input
    trace = record(program_case, numpy_program.reference, tmp_path / "trace", only)
    assert of_reference("test_every_run_is_recorded", trace).endswith("runs without a record: forced")


def test_a_recording_without_any_draw_is_refused(program_case, tmp_path):
    trace = record(program_case, numpy_program.reference, tmp_path / "trace", Options(taps=r"unet.*"))
    assert "no input is recorded that was drawn" in of_reference("test_the_twin_is_given_what_was_drawn", trace)


def test_a_module_that_is_never_called_is_refused_unless_it_is_listed(program_case, tmp_path):
    class Spare(numpy_program.System):
        def modules(self):
            """Name a module that the program does not use."""
            return super().modules() | {"unet.spare": "Linear"}

        def weights(self):
            """Give it a weight."""
            yield from super().weights()
            yield "unet.spare:weight", np.zeros((2, 2), np.float32), "float32"

    trace = record(program_case, with_system(Spare), tmp_path / "trace")
    check = "test_every_module_with_parameters_is_recorded"
    assert of_reference(check, trace).endswith("without a record: unet.spare")

    class Listed(ReferenceTests):
        never_called = frozenset({"unet.spare"})

    getattr(Listed(), check)(trace)


def system(**methods):
    """Return a system that only answers."""
    answers = {name: (lambda value=value: value) for name, value in methods.items()}
    return SimpleNamespace(components=Components(stages={"unet": "unet"}), **answers)


WEIGHTS = "test_weights_are_named_by_their_modules"
ATTRIBUTES = "test_attributes_are_plain_values_of_known_paths"


@pytest.mark.parametrize(
    ("check", "broken", "message"),
    [
        ("test_every_module_has_a_stage", {"modules": {"unet": "A", "net.a": "B"}}, "net.a"),
        (WEIGHTS, {"modules": {"unet": "A"}, "weights": []}, "no weights"),
        (WEIGHTS, {"modules": {"unet": "A"}, "weights": [("vae:weight", np.zeros(1), "float64")]}, "'vae:weight' is no PATH:NAME"),
        (WEIGHTS, {"modules": {"unet": "A"}, "weights": [("unet:weight", np.zeros(1), "float64")] * 2}, "or comes twice"),
        (WEIGHTS, {"modules": {"unet": "A"}, "weights": [("unet:weight", np.zeros(1), "float32")]}, "is float64 and is called float32"),
        (ATTRIBUTES, {"attributes": {"unet": {"eps": 1j}}}, "not plain"),
        (ATTRIBUTES, {"attributes": {"net": {}}}, "no component: net"),
    ],
)  # fmt: skip
def test_what_a_reference_says_wrongly_is_refused(check, broken, message):
    assert message in of_reference(check, system(**broken))


def test_an_incomplete_protocol_is_refused():
    check, reference = "test_the_protocol_is_complete", numpy_program.reference
    assert "lacks of System: attributes, floors, forced, policy, provenance" in of_reference(
        check, reference, system(modules={})
    )
    assert "lacks of Reference: load, name, sections" in of_reference(check, SimpleNamespace(), None)
    nameless = type("Nameless", (numpy_program.Reference,), {"name": ""})()
    assert "the reference's name is ''" in of_reference(check, nameless, numpy_program.System)
    assert "lacks of Candidate: alignment, build, name" in of_candidate(check, SimpleNamespace(), None)
    assert "lacks of System: apply, attributes, floors" in of_candidate(check, candidate, SimpleNamespace())


# broken candidates


@pytest.fixture
def request_of(program, tmp_path):
    """What a candidate is built from."""
    return Request(
        model=Path(program.manifest.provenance["model_path"]), weights=None, folder=tmp_path, dtype="float64", device="CPU",
        manifest=program.manifest,
    )  # fmt: skip


def changed(**attributes):
    """Return the port with something of its own."""
    return type("Broken", (NumpyCandidate,), attributes)()


def changed_system(**methods):
    """Return the port whose system has some methods of its own."""
    return changed(system=type("Broken", (NumpySystem,), methods))


def test_an_alignment_that_is_not_total_is_refused(program, request_of):
    check, given = "test_the_alignment_is_total", (request_of, program.folder)
    missing = changed(rows=[row for row in candidate.rows if row.path != "unet.ff"])
    assert of_candidate(check, missing, *given).endswith("without a row and without a reason: unet.ff")
    unknown = changed(rows=[*candidate.rows, Row(path="unet.actt", native="net.act1")])
    assert "did you mean 'unet.act'" in of_candidate(check, unknown, *given)
    reason = changed(not_compared={"unet.drop": "too hard"})
    assert "'too hard' is no reason" in of_candidate(check, reason, *given)


def test_a_row_of_a_cell_that_is_not_there_is_refused(request_of):
    broken = changed(rows=[Row(path="unet.act", native="net.act3")])
    found = of_candidate("test_every_aligned_cell_is_there", broken, request_of, candidate.build(request_of))
    assert "no cell 'net.act3'" in found


FIRST = "text_encoder.embeddings:position"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found[1:], f"lacks: {FIRST}"),
        (
            lambda found: [replace(found[0], array=found[0].array * 2), *found[1:]],
            f"not the reference's: {FIRST} [5, 12]",
        ),
        (
            lambda found: [replace(found[0], array=found[0].array.T), *found[1:]],
            f"{FIRST} [12, 5], the reference has [5, 12]",
        ),
        (lambda found: [replace(found[0], loaded=False), *found[1:]], f"nothing loaded: {FIRST}"),
    ],
    ids=["one too few", "another value", "another layout", "never loaded"],
)
def test_weights_that_are_not_the_references_are_refused(request_of, change, message):
    found = SimpleNamespace(weights=lambda: change(list(candidate.build(request_of).weights())))
    assert message in of_candidate("test_every_weight_is_the_references", found, request_of)


@pytest.mark.parametrize(
    ("attributes", "message"), [({"unet.act": {"eps": np}}, "not plain"), ({"net": {}}, "no component: net")]
)
def test_attributes_that_are_not_plain_or_of_no_component_are_refused(request_of, attributes, message):
    assert message in of_candidate(ATTRIBUTES, system(attributes=attributes), request_of)


@pytest.fixture
def two_tensors(request_of, tmp_path):
    """A request for a model of two tensors."""
    model = tmp_path / "model"
    model.mkdir()
    tensors = {name: (np.ones(2, np.float32), "float32") for name in ("unet.a.weight", "unet.b.weight")}
    write_safetensors(model / "x.safetensors", tensors)
    return replace(request_of, model=model)


def test_lenient_loading_is_refused(two_tensors, tmp_path):
    check, given = "test_a_checkpoint_without_one_tensor_is_refused", (two_tensors, tmp_path / "out")
    lenient = changed(build=lambda *_: None)
    assert "unet.b.weight was removed from x.safetensors and the model loads" in of_candidate(check, lenient, *given)


def test_an_error_that_does_not_name_the_missing_tensor_is_refused(two_tensors, tmp_path):
    def build(_self, _request):
        message = "something is missing"
        raise WeightsError(message)

    check, given = "test_a_checkpoint_without_one_tensor_is_refused", (two_tensors, tmp_path / "out")
    assert "the error names it not: something is missing" in of_candidate(check, changed(build=build), *given)


def test_a_mode_that_is_not_there_or_records_nothing_is_refused(program, tmp_path):
    check = "test_every_mode_runs"
    idle = replayed(program, tmp_path / "idle", port=changed_system(steps=lambda *_: None))
    assert of_candidate(check, idle, program.folder) == "steps-float32 recorded nothing"
    one = replayed(program, tmp_path / "one", modes=("free",), dtypes=("float64",))
    assert "not there: free-float32, layers-float32, layers-float64, steps" in of_candidate(check, one, program.folder)


def test_a_call_that_the_reference_does_not_make_is_refused(program, tmp_path):
    def free(self, given, reporter):
        NumpySystem.free(self, given, reporter)
        self.port.cell("net.ff", np.zeros((1, 15, 12), self.port.dtype))

    trace = replayed(program, tmp_path / "out", port=changed_system(free=free))
    found = of_candidate("test_every_mode_runs", trace, program.folder)
    assert "addresses of free-float32 that the reference does not have: unet.ff:output" in found


def test_a_port_that_computes_something_else_is_refused(program, tmp_path):
    plant = "def model(port):\n    port.cells['net.act1'] = lambda x: x\n"
    trace = replayed(program, tmp_path / "out", plant=plant, modes=("layers",))
    found = of_candidate("test_a_healthy_candidate_matches", trace, program.folder)
    assert "the verdict is MISMATCH, first at unet.act@step=0,call=0:output" in found


PLANTED = "test_a_planted_weight_error_is_found"


def test_a_repair_that_does_nothing_is_refused(program, request_of, tmp_path):
    deaf = changed_system(apply=lambda *_: None)
    found = of_candidate(PLANTED, deaf, request_of, program.folder, tmp_path)
    assert "the weight of text_encoder.embeddings.token was flipped; what fails is" in found


def test_a_port_that_cannot_take_a_weights_repair_is_refused(program, request_of, tmp_path):
    def apply(_self, _edit):
        message = "no weight can be changed here"
        raise RepairError(message)

    found = of_candidate(PLANTED, changed_system(apply=apply), request_of, program.folder, tmp_path)
    assert "cannot be flipped by a repair: no weight can be changed here" in found
