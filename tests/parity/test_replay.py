"""Replaying without a framework: what a candidate is given in each mode, what is written where, what is refused."""

from __future__ import annotations

import os
import re
import shutil

import numpy as np
import pytest

from parity.address import Address, path_of, step_of
from parity.case import load
from parity.compare import compare
from parity.dtypes import narrow, widen
from parity.errors import AlignmentError, InputError, RepairError, TraceError
from parity.record import Options as RecordOptions
from parity.record import record
from parity.repair import AttributeEdit, NoiseEdit, PrecisionEdit, Repairs, SubstituteEdit, WeightEdit
from parity.replay import Following, Options, find, given_of, replay, request_of
from parity.trace import Manifest, Row, Trace, TraceWriter
from tests.parity import numpy_program
from tests.parity.numpy_candidate import NumpyCandidate, NumpySystem, candidate, replayed

ACTIVATION = "def model(port):\n    port.settings['unet.act']['approximate'] = 'tanh'\n"
TRANSPOSED = "def checkpoint(state):\n    state['net.attn.q'] = state['net.attn.q'].T\n"
FLIPPED = "def checkpoint(state):\n    state['net.outp.matrix'] = state['net.outp.matrix'][:, ::-1]\n"
LATE = "def model(port):\n    port.noise_late = 1\n"
EPSILON = "def model(port):\n    port.settings['unet.norm']['eps'] = 1e-3\n"
FORMS = {"transposed": TRANSPOSED, "flipped": FLIPPED, "late": LATE, "epsilon": EPSILON}


def distance(run, reference, address):
    """Return the relative distance of a replayed tensor from the recorded one."""
    expected = reference.wide(address)
    return float(np.linalg.norm(run.wide(address) - expected) / np.linalg.norm(expected))


def failing(trace, program, mode="layers"):
    """Return the paths of which an output differs in a mode, in float64."""
    run, reference = trace.run(f"{mode}-float64"), program.run("float64")
    floats = [each for each in run if run.record(each).dtype == "float64"]
    return {path_of(each) for each in floats if distance(run, reference, each) > 1e-9}


# what is written


def test_every_mode_and_type_is_a_run_at_the_references_addresses(port, program):
    assert port.runs == tuple(
        f"{mode}-{dtype}" for dtype in ("float64", "float32") for mode in ("free", "steps", "layers")
    )
    compared = {
        each
        for each in program.run("float64")
        if Address.parse(each).port.startswith("output") and path_of(each) != "unet.drop"
    }
    for name in port.runs:
        assert set(port.run(name)) == compared
        assert port.manifest.runs[name].mode == name.partition("-")[0]
    assert port.verify().runs == len(port.runs)


def test_a_healthy_port_matches(port, program):
    result = compare(program, [port])
    assert (result.verdict, result.coverage.unexplained) == ("MATCH", [])


def test_the_manifest_says_what_was_replayed_of_what(port, program):
    manifest = port.manifest
    assert (manifest.side, manifest.name, manifest.store) == ("candidate", "numpy port", "hdf5")
    assert (manifest.reference_digest, manifest.case_digest) == (program.digest, program.manifest.case_digest)
    assert manifest.not_compared == {"unet.drop": "identity"}
    assert list(manifest.alignment) == list(candidate.rows)
    assert manifest.command == ["--candidate=tests.parity.numpy_candidate:candidate"]
    assert manifest.provenance["framework"] == "numpy"
    assert manifest.attributes == program.manifest.attributes
    assert set(manifest.weights) == set(program.manifest.weights)
    for address, weight in program.manifest.weights.items():
        assert manifest.weights[address].digests["identity/own"] == weight.digests["identity/own"], address
    assert manifest.weights["unet.ff:weight"].native == "net.ff.matrix"
    assert manifest.wall_s > 0


def test_the_platforms_own_errors_are_those_of_the_working_type_alone(port):
    assert set(port.manifest.floors) == {"softmax", "gelu"}
    assert all(set(by_type) == {"float32"} for by_type in port.manifest.floors.values())


def test_each_record_names_the_native_cell(port):
    run = port.run("free-float64")
    natives = {each.address: each.native for each in run.records}
    assert natives["unet.act@step=1,call=0:output"] == "net.act1"
    assert natives["unet.act@step=1,call=1:output"] == "net.act2"
    assert natives["unet.attn.to_k@step=0:output"] == "net.attn.qkv"
    assert natives["guidance@step=0:output"] == "guidance"


def test_outputs_are_brought_to_the_references_layout_and_integer_type(port, program):
    for address in (
        "unet.conv_in@step=0:output",
        "unet.attn.to_v@step=2:output",
        "text_encoder.embeddings@call=1:output",
    ):
        for mode in ("free", "layers"):
            assert port.run(f"{mode}-float64").record(address).shape == program.run("float64").record(address).shape
    assert port.run("free-float64").record("tokenizer@call=0:output.input_ids").dtype == "int64"


@pytest.mark.parametrize("store", ["hdf5", "npy"])
def test_a_store_can_be_chosen(program, port, tmp_path, store):
    trace = replayed(program, tmp_path / "out", store=store, modes=("free",), dtypes=("float64",))
    assert (trace.manifest.store, len(trace.run("free-float64"))) == (store, len(port.run("free-float64")))


def test_progress_is_told_for_each_type_and_mode(program, tmp_path):
    seen = {}
    replay(
        program.folder,
        candidate,
        tmp_path / "out",
        Options(),
        lambda what, done, total: seen.update({what: (done, total)}),
    )
    assert list(seen) == [
        f"{what} {dtype}" for dtype in ("float64", "float32") for what in ("load", "free", "steps", "layers")
    ]
    assert all(done == total for what, (done, total) in seen.items() if not what.startswith("load"))


# what each mode is given


def test_a_fault_is_inherited_in_the_free_run_and_local_in_the_layers(program, tmp_path):
    trace = replayed(program, tmp_path / "out", plant=EPSILON, dtypes=("float64",))
    assert failing(trace, program) == {"unet.norm", "unet"}
    assert failing(trace, program, "free") > {"unet.norm", "unet", "unet.ff", "scheduler.step", "postprocess"}


def test_each_step_of_the_step_replay_starts_from_the_reference(program, tmp_path):
    """The sampler alone is wrong: in the free run that reaches the next step, in the step replay it does not."""
    trace = replayed(program, tmp_path / "out", plant=LATE, dtypes=("float64",), modes=("free", "steps"))
    reference = program.run("float64")
    network = "unet@step=1:output"
    assert distance(trace.run("steps-float64"), reference, network) < 1e-12
    assert distance(trace.run("free-float64"), reference, network) > 1e-3
    for mode in ("free", "steps"):
        assert distance(trace.run(f"{mode}-float64"), reference, "scheduler.step@step=0:output") > 1e-3
    assert distance(trace.run("steps-float64"), reference, "postprocess:output") < 1e-12


def test_the_free_run_begins_with_the_references_latents_and_noise(port, program):
    for dtype in ("float64", "float32"):
        first = "prepare_latents:output"
        assert np.array_equal(port.run(f"free-{dtype}").tensor(first), program.run(dtype).tensor(first))


def test_a_working_type_is_given_the_working_runs_tensors_and_float64_the_twins(program):
    for dtype, run in (("float32", "float32"), ("float64", "float64")):
        given = given_of(program, dtype)
        assert given.run.info.dtype == run
        assert given.tensor("unet.norm@step=0:input.hidden_states").dtype == dtype
        assert np.array_equal(given.noise[1], program.run(run).tensor("scheduler.step@step=1:input.noise"))
        assert given.step_count == 3


def test_without_a_twin_float64_is_given_the_working_run_widened(program_case, tmp_path):
    trace = record(program_case, numpy_program.reference, tmp_path / "reference", RecordOptions(dtypes=("float32",)))
    given = given_of(trace, "float64")
    address = "unet.norm@step=0:input.hidden_states"
    assert given.run.info.dtype == "float32"
    assert given.tensor(address).dtype == np.float64
    assert np.array_equal(given.tensor(address), trace.run("float32").tensor(address))


@pytest.mark.parametrize(
    ("dtype", "given_as"), [("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_numbers_of_bfloat16_are_given_as_numbers_and_not_as_their_words(tmp_path, dtype, given_as):
    address, numbers = "unet:input.sample", np.float32([1.0, -0.15625, 3.0e38])
    described = Manifest(side="reference", name="r", case={"precision": {"dtype": "bfloat16"}}, case_digest="")
    writer = TraceWriter(tmp_path / "reference", described)
    with writer.run("bfloat16", mode="run", dtype="bfloat16") as run:
        run.tensor(address, narrow(numbers, "bfloat16"), dtype="bfloat16")
    writer.finish()
    found = given_of(Trace.open(tmp_path / "reference"), dtype).tensor(address)
    assert (found.dtype, found.tolist()) == (given_as, widen(narrow(numbers, "bfloat16"), "bfloat16").tolist())


def test_a_calls_inputs_are_tensors_and_plain_values_by_key(program):
    given = given_of(program, "float32")
    assert given.inputs("tokenizer", None, 1) == {"text": ["blurry", ""]}
    assert list(given.inputs("scheduler.step", 0, None)) == ["sample", "model_output", "noise", "timestep"]
    assert given.inputs("scheduler.set_timesteps", None, None) == {}


def test_a_shift_of_the_noise_is_cyclic(program):
    given, shifted = given_of(program, "float64"), given_of(program, "float64", noise_shift=1)
    assert np.array_equal(shifted.noise, given.noise[[1, 2, 0]])


# only a part


def test_a_pattern_keeps_what_it_matches_in_every_mode(program, tmp_path):
    trace = replayed(program, tmp_path / "out", only=r"unet\.(norm|ff)@step=1:output", dtypes=("float64",))
    for name in trace.runs:
        assert set(trace.run(name)) == {"unet.norm@step=1:output", "unet.ff@step=1:output"}
        assert trace.manifest.runs[name].only == r"unet\.(norm|ff)@step=1:output"


class Counting(NumpySystem):
    """Counts the calls of two cells."""

    calls: list[str] = []  # noqa: RUF012 - a new list for each class that a test makes

    def __init__(self, port, request):
        super().__init__(port, request)
        for name in ("net", "net.ff"):
            port.cells[name] = self._counted(name, port.cells[name])

    def _counted(self, name, cell):
        def counted(*inputs):
            self.calls.append(name)
            return cell(*inputs)

        return counted


def counting():
    """Return a candidate that counts, and the list it counts in."""
    calls = []
    system = type("System", (Counting,), {"calls": calls})
    return type("Candidate", (NumpyCandidate,), {"system": system})(), calls


@pytest.mark.parametrize(
    ("mode", "only", "cells"),
    [
        ("steps", r"unet@step=2:output", ["net", "net.ff"]),
        ("steps", r"vae\.decode:output", []),
        ("layers", r"unet\.ff@step=2:output", ["net.ff"]),
        ("layers", r"unet\.norm@step=.:output", []),
        ("free", r"tokenizer.*", ["net", "net.ff"] * 3),
    ],
)
def test_what_is_not_wanted_is_not_computed(program, tmp_path, mode, only, cells):
    counted, calls = counting()
    replayed(program, tmp_path / "out", port=counted, only=only, modes=(mode,), dtypes=("float64",))
    assert calls == cells


def test_modes_and_types_can_be_chosen(program, tmp_path):
    trace = replayed(program, tmp_path / "out", modes=("layers",), dtypes=("float32",))
    assert trace.runs == ("layers-float32",)


def test_a_pattern_that_is_none_is_refused(program, tmp_path):
    with pytest.raises(Exception, match="not a regular expression"):
        replayed(program, tmp_path / "out", only="(")


# repairs


@pytest.mark.parametrize(
    ("form", "edit"),
    [
        ("transposed", WeightEdit(address="unet.attn.to_q:weight", change="transpose")),
        ("flipped", WeightEdit(address="unet.conv_out:weight", change="flip0")),
        ("epsilon", AttributeEdit(path="unet.norm", name="eps", value=1e-6)),
        ("late", NoiseEdit(shift=1)),
    ],
)
def test_a_repair_takes_its_fault_away(program, tmp_path, form, edit):
    chosen = {"plant": FORMS[form], "modes": ("free", "layers"), "dtypes": ("float64",)}
    assert failing(replayed(program, tmp_path / "broken", **chosen), program, "free")
    repaired = replayed(program, tmp_path / "repaired", repairs=Repairs(edits=(edit,)), **chosen)
    if form != "late":  # a layer replay of the sampler takes the noise that the fault itself has moved
        assert failing(repaired, program) == set()
    assert failing(repaired, program, "free") == set()
    assert repaired.manifest.refused == {}


def test_a_substituted_output_is_the_references_for_all_that_follows(program, tmp_path):
    chosen = {"plant": EPSILON, "modes": ("free", "layers"), "dtypes": ("float64",)}
    repairs = Repairs(edits=(SubstituteEdit(path="unet.norm"),))
    trace = replayed(program, tmp_path / "out", repairs=repairs, **chosen)
    assert "unet.ff" not in failing(trace, program, "free")
    assert "unet.norm" in failing(trace, program, "layers")


def test_an_operator_is_computed_in_float64_where_a_repair_says_so(program, tmp_path):
    coarse = "def model(port):\n    port.coarse = {'gelu'}\n"
    chosen = {"plant": coarse, "modes": ("layers",), "dtypes": ("float32",), "only": r"unet\.act.*"}
    address, reference = "unet.act@step=0,call=0:output", program.run("forced")
    poor = replayed(program, tmp_path / "poor", **chosen)
    wide = replayed(program, tmp_path / "wide", repairs=Repairs(edits=(PrecisionEdit(operators=("gelu",)),)), **chosen)
    assert distance(poor.run("layers-float32"), reference, address) > 1e-4
    assert distance(wide.run("layers-float32"), reference, address) < 1e-6


WRONG = (
    WeightEdit(address="unet.nothing:weight", change="flip0"),
    AttributeEdit(path="unet.norm", name="epsilon", value=1e-6),
)


@pytest.mark.parametrize("edit", WRONG, ids=["weight", "attribute"])
def test_a_repair_of_what_is_not_there_is_refused(program, tmp_path, edit):
    with pytest.raises(RepairError, match=r"unet\.no"):
        replayed(program, tmp_path / "out", repairs=Repairs(edits=(edit,)))


def test_a_lenient_repair_is_noted_and_the_others_are_applied(program, tmp_path):
    good = WeightEdit(address="unet.conv_out:weight", change="flip0")
    repairs = Repairs(edits=(*WRONG, good), strict=False)
    trace = replayed(program, tmp_path / "out", plant=FLIPPED, repairs=repairs, modes=("layers",), dtypes=("float64",))
    assert len(trace.manifest.refused) == len(WRONG)
    (first, *_), (reason, *_) = zip(*trace.manifest.refused.items(), strict=True)
    assert ("unet.nothing:weight" in first, "is no parameter" in reason) == (True, True)
    assert failing(trace, program) == set()


# plants


def test_a_plant_reaches_the_weights_and_the_model(program, tmp_path):
    weight = replayed(program, tmp_path / "weight", plant=TRANSPOSED, modes=("layers",), dtypes=("float64",))
    assert failing(weight, program) == {"unet.attn.to_q", "unet.attn", "unet"}
    assert (
        weight.manifest.weights["unet.attn.to_q:weight"].digests["identity/own"]
        == (program.manifest.weights["unet.attn.to_q:weight"].digests["transpose/own"])
    )
    model = replayed(program, tmp_path / "model", plant=ACTIVATION, modes=("layers",), dtypes=("float64",))
    assert failing(model, program) == {"unet.act", "unet"}
    assert model.manifest.attributes["unet.act"] == {"approximate": "tanh"}


def test_a_parameter_that_nothing_filled_is_marked(program, tmp_path):
    plant = "def model(port):\n    port.unloaded = {'net.ff.matrix'}\n"
    trace = replayed(program, tmp_path / "out", plant=plant, modes=("layers",), dtypes=("float64",), only="unet@.*")
    assert [address for address, weight in trace.manifest.weights.items() if weight.initial] == ["unet.ff:weight"]


# calls that one side alone makes


def with_cells(**cells):
    """Return a candidate some of whose cells are others."""

    class System(NumpySystem):
        def __init__(self, port, request):
            super().__init__(port, request)
            for name, make in cells.items():
                native = name.replace("_", ".")
                port.cells[native] = make(port, port.cells[native])

    return type("Candidate", (NumpyCandidate,), {"system": System})()


def test_a_call_too_many_is_written_with_its_number_and_unexpected(program, tmp_path):
    def twice(port, attention):
        def call(x):
            port.cell("net.ff", x)
            return attention(x)

        return call

    trace = replayed(program, tmp_path / "out", port=with_cells(net_attn=twice), modes=("free",), dtypes=("float64",))
    extra = {each for each in trace.run("free-float64") if each not in program.run("float64")}
    assert extra == {f"unet.ff@step={step},call=1:output" for step in range(3)}
    verdicts = {pair.address: pair.verdict for pair in compare(program, [trace]).pairs if pair.mode == "free"}
    assert {verdicts[each] for each in extra} == {"UNEXPECTED"}


def test_a_call_too_few_is_missing(program, tmp_path):
    def left_out(port, _attention):
        return lambda x: port.cell("net.attn.out", x)

    trace = replayed(
        program, tmp_path / "out", port=with_cells(net_attn=left_out), modes=("free",), dtypes=("float64",)
    )
    missing = {pair.address for pair in compare(program, [trace]).pairs if pair.verdict == "MISSING"}
    assert missing == {f"unet.attn.to_{name}@step={step}:output" for name in "qkv" for step in range(3)}


def test_calls_are_counted_anew_in_every_step(port):
    calls = {Address.parse(each).call for each in port.run("free-float64") if path_of(each) == "unet.act"}
    steps = {step_of(each) for each in port.run("free-float64") if path_of(each) == "unet.act"}
    assert (calls, steps) == ({0, 1}, {0, 1, 2})


# what is refused


def with_rows(*rows, **reasons):
    """Return a candidate with these rows beside its own, and these paths not compared."""
    listed = {path.replace("_", "."): reason for path, reason in reasons.items()}
    rows = (*candidate.rows, *rows)
    return type("Candidate", (NumpyCandidate,), {"rows": rows, "not_compared": candidate.not_compared | listed})()


@pytest.mark.parametrize(
    ("port", "message"),
    [
        (with_rows(Row(path="unet.fff", native="net.ff")), "names 'unet.fff', which the reference does not have, did you mean 'unet.ff'"),
        (with_rows(unet_drop="too dull"), "unet.drop: 'too dull' is no reason for not comparing; the list is never called"),
        (with_rows(unet_ff="identity"), r"unet.ff has a row in the alignment and is listed as not compared \(identity\)"),
        (with_rows(Row(path="unet.drop", native="net.drop")), "unet.drop has a row"),
    ],
    ids=["unknown path", "no reason", "both", "row of what is left out"],
)  # fmt: skip
def test_an_alignment_that_does_not_fit_the_reference_is_refused(program, tmp_path, port, message):
    with pytest.raises(AlignmentError, match=message):
        replayed(program, tmp_path / "out", port=port)
    assert not (tmp_path / "out").exists()


def test_a_row_of_a_cell_that_is_not_there_is_refused(program, tmp_path):
    rows = tuple(row for row in candidate.rows if row.path != "unet.ff")
    port = type("Candidate", (NumpyCandidate,), {"rows": (*rows, Row(path="unet.ff", native="net.fff"))})()
    with pytest.raises(AlignmentError, match=r"no cell 'net\.fff', did you mean 'net\.ff'"):
        replayed(program, tmp_path / "out", port=port)


def test_a_trace_that_is_not_complete_is_refused(program, tmp_path):
    folder = tmp_path / "reference"
    shutil.copytree(program.folder, folder)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"status": "complete"', '"status": "recording"'))
    with pytest.raises(TraceError):
        replay(folder, candidate, tmp_path / "out", Options(), lambda *_: None)


def test_a_folder_that_holds_a_trace_is_not_overwritten(port, program):
    with pytest.raises(TraceError, match="holds a trace already"):
        replayed(program, port.folder)


def test_weights_are_found_where_they_were_or_beside_a_trace_that_travelled(tmp_path):
    resolved = load(numpy_program.write(tmp_path / "here"))
    trace = record(resolved, numpy_program.reference, tmp_path / "here" / "reference")
    options, out = Options(), tmp_path / "out"
    assert request_of(trace, trace.folder, out, options, "float64").model == tmp_path / "here" / "weights"
    (tmp_path / "here").rename(tmp_path / "there")
    moved = tmp_path / "there" / "reference"
    request = request_of(Trace.open(moved), moved, out, options, "float64")
    assert (request.model, request.config, request.dtype) == (tmp_path / "there" / "weights", None, "float64")
    shutil.rmtree(tmp_path / "there" / "weights")
    with pytest.raises(TraceError, match=re.escape(f"weights, the model of the trace {moved}, is not here")):
        request_of(Trace.open(moved), moved, out, options, "float64")


# a replay that was interrupted

RUNS = [(mode, dtype) for dtype in ("float64", "float32") for mode in ("free", "steps", "layers")]


class Interrupted(NumpyCandidate):
    """Its process is interrupted in one mode and type, after some of the run; notes what it was asked for."""

    def __init__(self, at=None):
        self.at, self.done = at, []
        outer = self

        class System(NumpySystem):
            def free(self, given, reporter):
                outer.begin("free", given)
                super().free(given, reporter)
                outer.end("free", given)

            def steps(self, given, reporter):
                outer.begin("steps", given)
                super().steps(given, reporter)
                outer.end("steps", given)

            def layer(self, rows, inputs, given, step):
                outer.begin("layers", given)
                if rows[0].path == "vae.decoder":
                    outer.end("layers", given)
                return super().layer(rows, inputs, given, step)

        self.system = System

    def begin(self, mode, given):
        """Note that a run has begun."""
        if (mode, given.dtype) not in self.done:
            self.done.append((mode, given.dtype))

    def end(self, mode, given):
        """Interrupt the process where it shall be."""
        if (mode, given.dtype) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", RUNS, ids="-".join)
def test_a_resumed_replay_keeps_the_runs_that_are_complete_and_equals_the_unbroken_one(program, port, tmp_path, at):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        replayed(program, out, port=Interrupted(at))
    resumed = Interrupted()
    trace = replayed(program, out, port=resumed, resume=True)
    assert resumed.done == RUNS[RUNS.index(at) :]
    assert (trace.digest, trace.runs) == (port.digest, port.runs)
    assert trace.verify().runs == len(RUNS)
    for field in ("weights", "attributes", "floors", "alignment", "reference_digest", "conditions"):
        assert getattr(trace.manifest, field) == getattr(port.manifest, field), field


def test_a_complete_replay_is_resumed_by_doing_nothing_and_extended_by_what_is_missing(program, tmp_path):
    replayed(program, tmp_path / "out", modes=("free",), dtypes=("float64",))
    resumed = Interrupted()
    replayed(program, tmp_path / "out", port=resumed, modes=("free",), dtypes=("float64",), resume=True)
    assert resumed.done == []
    trace = replayed(
        program, tmp_path / "out", port=resumed, modes=("free", "layers"), dtypes=("float64",), resume=True
    )
    assert resumed.done == [("layers", "float64")]
    assert (trace.runs, trace.manifest.status) == (("free-float64", "layers-float64"), "complete")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"plant": TRANSPOSED}, "its plant is"),
        ({"repairs": Repairs(edits=(SubstituteEdit(path="unet.attn"),))}, "its repairs is"),
        ({"only": "unet.*"}, "its only is 'None', now 'unet.*'"),
        ({"store": "npy"}, "its store is 'hdf5', now 'npy'"),
    ],
    ids=["plant", "repairs", "only", "store"],
)
def test_a_replay_of_something_else_is_not_continued(program, tmp_path, changed, words):
    with pytest.raises(KeyboardInterrupt):
        replayed(program, tmp_path / "out", port=Interrupted(("steps", "float64")))
    with pytest.raises(TraceError, match=rf"cannot be resumed: {re.escape(words)}"):
        replayed(program, tmp_path / "out", resume=True, **changed)


def test_a_replay_of_another_recording_of_the_case_is_not_continued(program, tmp_path):
    case = numpy_program.write(tmp_path / "other")
    weights = tmp_path / "other" / "weights" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + np.float32(0.5).tobytes())
    other = record(load(case), numpy_program.reference, tmp_path / "trace")
    with pytest.raises(KeyboardInterrupt):
        replayed(program, tmp_path / "out", port=Interrupted(("steps", "float64")))
    with pytest.raises(TraceError, match="cannot be resumed: its reference is"):
        replayed(other, tmp_path / "out", resume=True)


def test_another_version_does_not_continue_what_one_began(program, tmp_path):
    class Elsewhere(NumpySystem):
        def provenance(self):
            return super().provenance() | {"machine": "other"}

    class Later(NumpyCandidate):
        system = Elsewhere

    with pytest.raises(KeyboardInterrupt):
        replayed(program, tmp_path / "out", port=Interrupted(("steps", "float64")))
    with pytest.raises(TraceError, match=r"cannot be resumed: its machine is '.*', now 'other'"):
        replayed(program, tmp_path / "out", port=Later(), resume=True)


def test_a_candidate_that_cannot_be_built_leaves_no_folder_in_the_way(program, tmp_path):
    class Unfit(NumpyCandidate):
        def build(self, request):
            (request.folder / "weights.ckpt").write_bytes(b"converted")
            message = "a tensor is missing"
            raise InputError(message)

    with pytest.raises(InputError, match="a tensor is missing"):
        replayed(program, tmp_path / "out", port=Unfit())
    assert not (tmp_path / "out").exists()


def test_what_a_candidate_makes_of_the_model_is_known_and_anything_else_in_its_folder_is_not(program, tmp_path):
    class Copying(NumpyCandidate):
        def build(self, request):
            (request.folder / "model" / "unet").mkdir(parents=True, exist_ok=True)
            (request.folder / "model" / "unet" / "w.safetensors").write_bytes(b"converted")
            if not (request.folder / "vocabulary.pkl").exists():
                (request.folder / "model" / "config.json").symlink_to(tmp_path)
            (request.folder / "vocabulary.pkl").write_bytes(b"words")
            return super().build(request)

    trace = replayed(program, tmp_path / "out", port=Copying())
    assert (trace.manifest.made, trace.unread) == (("model/", "vocabulary.pkl"), {})
    (tmp_path / "out" / "more.npy").write_bytes(b"x")
    (tmp_path / "out" / "float99").mkdir()
    (tmp_path / "out" / "float99" / "vocabulary.pkl").write_bytes(b"x")
    assert sorted(Trace.open(tmp_path / "out").unread) == ["float99/vocabulary.pkl", "more.npy"]


# a replay that starts while its trace is recorded


def test_a_follower_reads_its_parent_and_its_core():
    assert Following.parse("17:3") == Following(parent=17, core=3)
    assert Following.parse("17:") == Following(parent=17, core=None)


class Prepared(NumpyCandidate):
    """Notes that it was asked to get ready."""

    ready = False

    def prepare(self):
        """Get ready."""
        self.ready = True


def test_a_follower_gets_ready_and_waits_for_the_end(program, tmp_path):
    prepared = Prepared()
    follow = Following(parent=os.getppid(), core=None)
    trace = replayed(program, tmp_path / "out", port=prepared, follow=follow, modes=("free",), dtypes=("float64",))
    assert prepared.ready
    assert trace.manifest.reference_digest == program.digest


def test_a_candidate_is_found_by_module_and_attribute():
    assert find("tests.parity.numpy_candidate:candidate") is candidate
    with pytest.raises(InputError, match="no candidate is named 'mindone_sdxxl', did you mean 'mindone_sdxl'"):
        find("mindone_sdxxl")
