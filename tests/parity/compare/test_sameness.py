"""A match of both sides being one is said in the first line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from parity.compare import compare
from parity.report.headline import headline, lead
from parity.trace import Trace
from tests.parity.compare.traces import candidate, exact_run, manifest, noisy, reference, write


def first_line(result):
    """Return the first line, having made sure that the page says the same."""
    told = result.checks["same"]
    assert told in lead(result)
    assert told in headline(result)
    return headline(result)


def test_a_copy_of_the_reference_is_told(tmp_path):
    trace = reference(tmp_path / "ref")
    shutil.copytree(tmp_path / "ref", tmp_path / "copy")
    result = compare(trace, [Trace.open(tmp_path / "copy")])
    assert f"{tmp_path / 'copy'} holds the same as {tmp_path / 'ref'}, which says nothing" in first_line(result)


def test_another_recording_by_the_same_reference_is_told(tmp_path):
    first, twin = reference(tmp_path / "a"), exact_run()
    runs = {"float32": ("run", "float32", noisy(twin, 1e-6, 9)), "float64": ("run", "float64", twin)}
    second = write(tmp_path / "b", manifest("reference"), runs)
    assert first.digest != second.digest
    result = compare(first, [second])
    assert "both sides are recordings by" in first_line(result)


def test_a_candidate_of_the_same_bits_is_told_and_another_is_not(tmp_path):
    trace = reference(tmp_path / "ref")
    assert compare(trace, [candidate(tmp_path / "healthy", trace)]).checks["same"] == ""

    def bits(name, tensors):
        run = trace.run(name.partition("-")[2])
        for address in tensors:
            tensors[address] = np.array(run.tensor(address))

    result = compare(trace, [candidate(tmp_path / "bits", trace, bits)])
    assert "all tensors are equal bit for bit, as those of one program are" in first_line(result)


@pytest.mark.parametrize(("other", "told"), [("equal", True), ("one ulp", False), ("float64", False)])
def test_plain_folders_that_are_equal_say_so(tmp_path, other, told):
    values = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)
    changed = {"equal": values, "one ulp": np.nextafter(values, np.float32(9)), "float64": values.astype(np.float64)}
    for side, array in (("a", values), ("b", changed[other])):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "x.npy", array)
        np.save(tmp_path / side / "y.npy", values)
    result = compare(Trace.open(tmp_path / "a"), [Trace.open(tmp_path / "b")])
    assert result.checks["same"] == ("all values that were read are equal" if told else "")
    assert result.verdict == "MATCH"
