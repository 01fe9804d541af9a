"""The size said before a recording holds after it."""

from __future__ import annotations

import pytest

from parity.case import load
from parity.cli.sizes import saved
from parity.errors import AddressError
from parity.record import Options, record
from parity.sizing import SHORT, predict
from tests.parity.numpy_reference import reference

CASE = """
schema = 1
[model]
folder = "weights"
[prompt]
positive = ["a"]
[sampling]
steps = 5
"""


@pytest.fixture
def case(tmp_path):
    (tmp_path / "weights").mkdir()
    path = tmp_path / "case.toml"
    path.write_text(CASE)
    return path


def predicted(case, **options):
    short = load(case, {"sampling.steps": SHORT})
    return predict(short, reference, Options(**options), loop=5)


@pytest.mark.parametrize("store", ["hdf5", "npy"])
@pytest.mark.parametrize("steps", [None, [0, 4]])
def test_records_and_recorded_bytes_are_those_of_the_recording_and_the_stored_ones_a_bound(
    case, tmp_path, store, steps
):
    said = predicted(case, store=store, steps=steps)
    trace = record(load(case), reference, tmp_path / "trace", Options(store=store, steps=steps))
    assert list(said) == list(trace.runs)
    for name, info in trace.manifest.runs.items():
        assert (said[name].records, said[name].bytes_recorded) == (info.records, info.bytes_recorded), name
        assert info.bytes_stored <= said[name].bytes_stored <= info.bytes_recorded, name
    working = trace.manifest.runs["float32"]
    assert said["float32"].bytes_stored < working.bytes_recorded
    on_disk = sum(path.stat().st_size for path in (tmp_path / "trace" / "float32").rglob("*") if path.is_file())
    assert on_disk <= 1.1 * said["float32"].bytes_on_disk + 4096


def test_a_pattern_counts_only_what_it_matches(case, tmp_path):
    pattern = r"unet\.conv_in@step=3:.*"
    said = predicted(case, taps=pattern)["float32"]
    info = record(load(case), reference, tmp_path / "trace", Options(taps=pattern)).manifest.runs["float32"]
    assert (said.records, said.bytes_recorded) == (info.records, info.bytes_recorded) == (2, 2 * 4 * 24)


def test_without_a_twin_there_is_one_run_and_a_pattern_that_matches_nothing_is_an_error(case):
    assert list(predicted(case, dtypes=("float32",))) == ["float32"]
    with pytest.raises(AddressError, match="matches no address"):
        predicted(case, taps="unet.nothing:output")


def test_what_was_saved_is_said_in_words(case, tmp_path):
    trace = record(load(case), reference, tmp_path / "trace", Options(dtypes=("float32",)))
    info = trace.manifest.runs["float32"]
    assert f"{info.bytes_stored / info.bytes_recorded:.0%}: equal tensors are stored once" in saved(trace)


def test_a_case_of_one_step_has_a_bound_too(case, tmp_path):
    single = load(case, {"sampling.steps": 1})
    said = predict(single, reference, Options(), loop=1)
    for name, info in record(single, reference, tmp_path / "trace").manifest.runs.items():
        assert said[name].records == info.records
        assert info.bytes_stored <= said[name].bytes_stored, name
