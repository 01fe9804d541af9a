"""What differs is told by name, worst first, where no first divergence tells it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from parity.compare import compare
from parity.report.differences import differences, of_weights, taken_as
from parity.report.headline import headline, lead
from parity.result import FirstDivergence
from parity.trace import Trace


@pytest.fixture
def plain(tmp_path):
    """Return the result of comparing two plain folders of forty files, of which two differ and one is missing."""
    rng = np.random.default_rng(5)
    for side in "ab":
        (tmp_path / side).mkdir()
    for index in range(40):
        values = rng.standard_normal((4, 16)).astype("f4")
        np.save(tmp_path / "a" / f"layer{index}.npy", values)
        factor = {17: 1.5, 30: 2.0}.get(index, 1)
        if index != 20:
            np.save(tmp_path / "b" / f"layer{index}.npy", values * np.float32(factor))
    return compare(Trace.open(tmp_path / "a"), [Trace.open(tmp_path / "b")])


def test_plain_files_that_differ_are_named_worst_first(plain):
    lines = differences(plain)
    assert [line.split(":")[0] for line in lines] == ["MISMATCH layer30", "MISMATCH layer17", "MISSING layer20"]
    assert "rel_l2 1.0e+00" in lines[0]
    assert headline(plain) == "MISMATCH: 2 pairs differ; 1 missing; 1 path not compared without a reason"


def test_what_files_were_taken_for_is_told(plain):
    assert taken_as(plain) == "taken as activations: no name is a parameter's; --as weights judges by equality"
    assert "Taken as activations" in lead(plain)
    plain.checks.pop("compared_as")
    assert taken_as(plain) == ""


def test_many_are_cut_and_counted(plain):
    for pair in plain.pairs:
        pair.verdict = "MISMATCH"
    lines = differences(plain)
    assert len(lines) == 21
    assert lines[-1] == "and 20 more; --out writes a report with all"


def test_a_first_divergence_tells_it_already(plain):
    pair = plain.pairs[0]
    first = FirstDivergence(address=pair.address, stage=pair.stage, question=pair.question, mode=pair.mode, dtype=None)
    assert differences(msgspec.structs.replace(plain, first_divergence=first)) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([], "3 weights equal"),
        (["update", "update"], "2 of 3 weights differ; changed a little everywhere (2), rel_l2 1.0e-06 to 2.0e-06"),
        (["rounded", "transposed"], "2 of 3 weights differ; rounded 0; transposed 1"),
        (["update", "initial", "initial"], "3 of 3 weights differ; still initial (2); update 0, rel_l2 1.0e-06"),
    ],
)
def test_weights_are_told_by_what_became_of_them(plain, changes, told):
    plain.pairs = [pair for pair in plain.pairs if pair.verdict == "MATCH"][:3]
    for number, change in enumerate(changes):
        pair = plain.pairs[number]
        pair.verdict, pair.change, pair.detail = "MISMATCH", change, f"{change} {number}"
        pair.rel_l2 = (number + 1) * 1e-6
    assert of_weights(plain) == told
