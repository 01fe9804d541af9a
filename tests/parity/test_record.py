"""Recording without a framework: what runs, what is checked, what is written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

from parity.address import Address, path_of
from parity.case import load
from parity.errors import AddressError, CaseError, FrameworkMissingError, InputError, ParityError, TraceError
from parity.record import Options, find, record
from parity.trace import Trace, read_injection
from tests.parity.numpy_reference import Reference, reference

CASE = """
schema = 1
[model]
folder = "weights"
[prompt]
positive = ["a"]
[sampling]
steps = 3
"""


@pytest.fixture
def resolved(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "case.toml").write_text(CASE)
    return load(tmp_path / "case.toml")


@pytest.mark.parametrize("store", ["hdf5", "npy"])
def test_a_recording_has_four_runs_and_their_checks(resolved, tmp_path, store):
    trace = record(resolved, reference, tmp_path / "trace", Options(store=store))
    assert trace.runs == ("float32", "float64", "forced", "steps")
    assert {name: info.mode for name, info in trace.manifest.runs.items()} == {
        "float32": "run", "float64": "run", "forced": "forced", "steps": "steps",
    }  # fmt: skip
    assert (trace.manifest.checks.neutral, trace.manifest.checks.repeatable) == (True, True)
    assert trace.manifest.status == "complete"
    assert trace.verify().runs == 4


def test_the_call_is_left_out_where_there_is_one(resolved, tmp_path):
    run = record(resolved, reference, tmp_path / "trace").run("float32")
    assert "unet.conv_in@step=2:output" in run
    assert all(Address.parse(address).call is None for address in run)


def test_forced_and_steps_are_exact_answers_to_recorded_inputs(resolved, tmp_path):
    trace = record(resolved, reference, tmp_path / "trace")
    working, forced, steps = (trace.run(name) for name in ("float32", "forced", "steps"))
    wanted = 0.7 * working.wide("unet.conv_in@step=1:input.sample")
    np.testing.assert_array_equal(forced.wide("unet.conv_in@step=1:output"), wanted)
    np.testing.assert_array_equal(
        steps.wide("unet.conv_in@step=1:input.sample"), working.wide("unet.conv_in@step=1:input.sample")
    )


def test_the_manifest_says_what_was_run(resolved, tmp_path):
    manifest = record(resolved, reference, tmp_path / "trace").manifest
    assert (manifest.side, manifest.name, manifest.policy, manifest.store) == ("reference", "numpy", "float32", "hdf5")
    assert manifest.case["sampling"]["steps"] == 3
    assert manifest.sources["sampling.guidance"] == "default"
    assert manifest.provenance["framework"] == "numpy"
    assert manifest.provenance["model_path"] == str(tmp_path / "weights")
    assert manifest.weights["unet.conv_in:weight"].shape == (3, 2)
    assert "transpose/own" in manifest.weights["unet.conv_in:weight"].digests
    assert manifest.attributes == {"unet.conv_in": {"scale": 0.7}}
    assert manifest.modules == {"unet": "Denoiser", "unet.conv_in": "Scale"}


def test_the_digest_of_a_case_is_that_of_its_values_not_of_its_sources(resolved, tmp_path):
    first = record(resolved, reference, tmp_path / "first").manifest
    same = record(load(tmp_path / "case.toml", {"sampling.guidance": 5.0}), reference, tmp_path / "same").manifest
    other = record(load(tmp_path / "case.toml", {"sampling.guidance": 6.0}), reference, tmp_path / "other").manifest
    assert first.case_digest == same.case_digest != other.case_digest


def test_the_injection_files_are_written(resolved, tmp_path):
    record(resolved, reference, tmp_path / "trace")
    injection = read_injection(tmp_path / "trace")
    assert injection.latents.shape == (1, 4, 2, 3)
    assert injection.noise.shape == (3, 1, 4, 2, 3)


def test_a_recorder_that_changes_a_value_is_not_neutral(resolved, tmp_path):
    checks = record(resolved, Reference(meddle=True), tmp_path / "trace", Options(dtypes=("float32",))).manifest.checks
    assert (checks.neutral, checks.repeatable) == (False, True)


def test_a_run_that_draws_anew_does_not_repeat_and_says_by_how_much(resolved, tmp_path):
    checks = record(
        resolved, Reference(restless=True), tmp_path / "trace", Options(dtypes=("float32",))
    ).manifest.checks
    assert checks.repeatable is False
    assert 1e-4 < checks.repeat_max_abs["unet.conv_in@step=0:output"] < 1e-1
    assert "prepare_latents:output" not in checks.repeat_max_abs


def test_a_twin_that_lacks_a_part_is_an_error(resolved, tmp_path):
    with pytest.raises(ParityError, match=r"scheduler\.step@step=0:output: the twin has no such output"):
        record(resolved, Reference(forgets=("scheduler.step",)), tmp_path / "trace")
    with pytest.raises(TraceError):
        Trace.open(tmp_path / "trace")


def test_an_output_recorded_without_its_inputs_is_not_forced(resolved, tmp_path):
    trace = record(resolved, reference, tmp_path / "trace", Options(taps=r"unet\.conv_in.*:output|unet@.*", steps={1}))
    assert set(trace.run("float32")) == {"unet.conv_in@step=1:output", "unet@step=1:input.sample", "unet@step=1:output"}
    assert set(trace.run("forced")) == {"unet@step=1:output"}
    assert trace.manifest.checks.repeatable is True


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"taps": "unet.conv_on.*"}, AddressError, "matches no address of the run"),
        ({"taps": "("}, AddressError, "not a regular expression"),
        ({"steps": [3]}, InputError, "steps are 0 to 2"),
        ({"dtypes": ("float31",)}, InputError, "did you mean 'float32'"),
        ({"dtypes": ("float32", "float16")}, InputError, "one working type"),
        ({"device": "gpu"}, InputError, "'gpu' is not a device; give cpu, cuda or cuda:N"),
        ({"device": "cuda:x"}, InputError, "'cuda:x' is not a device"),
    ],
    ids=str,
)
def test_a_wrong_option_is_one_clear_error(resolved, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        record(resolved, reference, tmp_path / "trace", Options(**options))


def test_float64_alone_means_the_cases_type_with_its_twin(resolved, tmp_path):
    assert record(resolved, reference, tmp_path / "trace", Options(dtypes=("float64",))).runs == (
        "float32",
        "float64",
        "forced",
        "steps",
    )


def test_missing_weights_are_an_error_before_anything_is_written(resolved, tmp_path):
    (tmp_path / "weights").rmdir()
    with pytest.raises(CaseError, match="weights is not there"):
        record(resolved, reference, tmp_path / "trace")
    assert not (tmp_path / "trace").exists()


def test_a_trace_that_is_there_is_not_overwritten_but_resumed(resolved, tmp_path):
    first = record(resolved, reference, tmp_path / "trace")
    with pytest.raises(TraceError, match="holds a trace already"):
        record(resolved, reference, tmp_path / "trace")
    again = record(resolved, reference, tmp_path / "trace", Options(resume=True))
    assert again.digest == first.digest


@pytest.mark.parametrize("store", ["hdf5", "npy"])
@pytest.mark.parametrize("stage", ["float32 run", "float64 run", "forced", "steps"])
def test_an_interrupted_recording_is_incomplete_and_resumed_to_the_same_digest(resolved, tmp_path, store, stage):
    def interrupt(seen, done, _total):
        if seen == stage and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(resolved, reference, tmp_path / "broken", Options(store=store), progress=interrupt)
    with pytest.raises(TraceError):
        Trace.open(tmp_path / "broken")
    resumed = record(resolved, reference, tmp_path / "broken", Options(store=store, resume=True))
    whole = record(resolved, reference, tmp_path / "whole", Options(store=store))
    assert resumed.digest == whole.digest
    assert resumed.manifest.weights == whole.manifest.weights


def test_a_pattern_that_matches_nothing_leaves_no_trace(resolved, tmp_path):
    with pytest.raises(AddressError):
        record(resolved, reference, tmp_path / "trace", Options(taps="nothing"))
    assert not (tmp_path / "trace").exists()


def test_the_twin_has_the_written_runs_draws_even_where_the_run_does_not_repeat(resolved, tmp_path):
    trace = record(resolved, Reference(restless=True), tmp_path / "trace")
    for step in range(3):
        address = f"unet.conv_in@step={step}:input.sample"
        np.testing.assert_array_equal(trace.run("steps").wide(address), trace.run("float32").wide(address))


def test_progress_counts_every_stage_to_its_end(resolved, tmp_path):
    seen: dict[str, tuple[int, int]] = {}
    record(
        resolved, reference, tmp_path / "trace", progress=lambda stage, done, total: seen.update({stage: (done, total)})
    )
    assert list(seen) == ["load", "bare run", "counted run", "float32 run", "float64 run", "forced", "steps"]
    assert all(done == total for stage, (done, total) in seen.items() if stage != "forced")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"unet": "unet", "scheduler.step": "sampler"}, "'prepare_latents' belongs to no component of the reference"),
        ({"net": "unet"}, "'unet' belongs to no component of the reference, which declares net; declare its stage"),
        ({"unet": "unett"}, "the component 'unet' has stage 'unett', did you mean 'unet'?; the stages are weights"),
    ],
)
def test_a_component_without_a_stage_of_the_list_is_refused_before_a_run_is_written(
    resolved, tmp_path, stages, message
):
    with pytest.raises(AddressError, match=re.escape(message)):
        record(resolved, Reference(stages=stages), tmp_path / "trace")
    assert not (tmp_path / "trace").exists()


def test_the_stage_of_a_record_is_what_the_reference_declares_and_the_manifest_keeps_it(resolved, tmp_path):
    stages = {"unet": "vae", "unet.conv_in": "tokens", "scheduler": "sampler", "prepare_latents": "batch"}
    trace = record(resolved, Reference(stages=stages), tmp_path / "trace")
    assert trace.manifest.components == stages
    assert {path_of(each.address): each.stage for each in trace.run("forced").records} == {
        "prepare_latents": "batch", "unet.conv_in": "tokens", "unet": "vae", "scheduler.step": "sampler",
    }  # fmt: skip


def test_a_case_without_a_prompt_is_refused_where_the_reference_needs_one(resolved, tmp_path):
    del resolved
    (tmp_path / "case.toml").write_text('schema = 1\n[model]\nfolder = "weights"\n')
    with pytest.raises(CaseError, match=r"no \[prompt\], and the reference numpy needs one"):
        record(load(tmp_path / "case.toml"), reference, tmp_path / "trace")
    assert not (tmp_path / "trace").exists()


def test_a_reference_is_found_by_module_and_attribute():
    assert find("tests.parity.numpy_reference:reference") is reference


@pytest.mark.parametrize(
    "name", ["diffusors", "tests.parity.numpy_reference:referense", "tests.parity.nothing:reference"]
)
def test_an_unknown_reference_is_an_error(name):
    with pytest.raises(InputError):
        find(name)


def test_a_missing_framework_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "needs_it.py").write_text("import a_framework_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FrameworkMissingError, match=r"a_framework_that_is_not_there.*sdxl-parity\[torch\]"):
        find("needs_it:reference")


def test_importing_the_recorder_loads_no_framework():
    code = "import json, sys; import parity.record; print(json.dumps([n for n in ('torch', 'diffusers', 'mindspore') if sys.modules.get(n)]))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []


class Counting(Reference):
    """Counts how often its model is loaded."""

    loaded = 0

    def load(self, *arguments, **options):
        """Load the model."""
        self.loaded += 1
        return super().load(*arguments, **options)


def test_a_recording_that_is_complete_is_resumed_by_doing_nothing(resolved, tmp_path):
    counting = Counting()
    first = record(resolved, counting, tmp_path / "trace")
    written = (tmp_path / "trace" / "manifest.json").read_bytes()
    again = record(resolved, counting, tmp_path / "trace", Options(resume=True))
    assert (counting.loaded, again.digest) == (1, first.digest)
    assert (tmp_path / "trace" / "manifest.json").read_bytes() == written


def test_a_recording_without_its_twin_is_resumed_to_have_one(resolved, tmp_path):
    record(resolved, reference, tmp_path / "trace", Options(dtypes=("float32",)))
    trace = record(resolved, reference, tmp_path / "trace", Options(resume=True))
    assert trace.runs == ("float32", "float64", "forced", "steps")


@pytest.mark.parametrize(
    ("chosen", "words"),
    [({"taps": "unet.*"}, "its taps is 'all', now 'unet.*'"), ({"steps": {0}}, "its steps is 'all', now '0'")],
)
def test_a_complete_recording_of_other_places_is_not_taken_for_this_one(resolved, tmp_path, chosen, words):
    record(resolved, reference, tmp_path / "trace")
    with pytest.raises(TraceError, match=re.escape(f"cannot be resumed: {words}")):
        record(resolved, reference, tmp_path / "trace", Options(resume=True, **chosen))


def test_nothing_is_recorded_among_someones_own_files_and_nothing_is_loaded(resolved, tmp_path):
    counting = Counting()
    for resume in (False, True):
        with pytest.raises(TraceError, match=r"holds '.*' and no trace"):
            record(resolved, counting, tmp_path, Options(resume=resume))
    assert counting.loaded == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.toml", "weights"]


def test_of_recorders_that_start_at_once_one_wins_and_the_others_are_told_so(resolved, tmp_path):
    for attempt in range(4):
        out, told = tmp_path / str(attempt), []

        def once(out=out, told=told):
            try:
                told.append(record(resolved, reference, out).digest)
            except InputError as error:
                told.append(str(error))

        threads = [threading.Thread(target=once) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        whole = Trace.open(out, verify=True)
        lost = [each for each in told if each != whole.digest]
        assert len(lost) == 2
        assert all("is being written by another process" in each or "holds a trace already" in each for each in lost)
