"""A saved result is judged again without the tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parity.compare import Rule, compare, judge
from parity.errors import ToleranceError
from parity.result import read, write
from tests.parity.compare.traces import Run, candidate, reference

if TYPE_CHECKING:
    from pathlib import Path

    from parity.result import Result

CONV = "unet.conv_in@step=1:output"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("judge")

    def plant(name: str, tensors: Run) -> None:
        if name == "layers-float32":
            tensors[CONV] = tensors[CONV] * 1.001
            tensors["unet.act@step=0:output"] = tensors["unet.act@step=0:output"].astype("float16")
        if name.startswith("free"):
            tensors["text_encoder.layer:output"] *= 2
            tensors["postprocess:output"] *= 2

    trace = reference(folder / "r")
    write(compare(trace, [candidate(folder / "c", trace, plant)]), folder / "result.json")
    return read(folder)


def test_without_rules_the_verdicts_stay(saved: Result) -> None:
    again = judge(saved, [])
    assert again == saved
    assert again is not saved


def test_a_rule_changes_the_pairs_that_it_matches_and_the_whole_follows(saved: Result) -> None:
    before = [pair.address for pair in saved.pairs if pair.verdict == "MISMATCH" and pair.mode == "layers"]
    assert set(before) == {CONV, "unet.act@step=0:output"}
    loose = judge(saved, [Rule(address=r"unet\..*", require="rel_l2 <= 0.01", reason="known", mode="layers")])
    after = [pair.address for pair in loose.pairs if pair.verdict == "MISMATCH" and pair.mode == "layers"]
    assert after == ["unet.act@step=0:output"]  # a narrower type is excused by no tolerance
    assert (
        next(pair for pair in loose.pairs if pair.address == CONV and pair.basis.startswith("case")).basis
        == "case: known"
    )
    assert any(pair.address == CONV and pair.verdict == "MISMATCH" for pair in saved.pairs)
    strict = judge(saved, [Rule(address=r".*:output", require="max_abs <= 0", reason="equal", mode="free")])
    assert strict.counts["MISMATCH"] > saved.counts["MISMATCH"]
    assert judge(strict, []).counts == saved.counts


@pytest.mark.parametrize(("most", "verdict"), [(3.5, "MISMATCH"), (1e6, "MATCH")])
def test_a_rule_may_give_the_multiple_of_the_floor(tmp_path: Path, saved: Result, most: float, verdict: str) -> None:
    rule = Rule(
        address=r"unet\.conv_in@.*:output", require=f"ratio_to_floor <= {most}", reason="x", question="precision"
    )
    assert {pair.verdict for pair in judge(saved, [rule]).pairs if pair.address == CONV and pair.mode == "layers"} == {
        "MATCH",
        verdict,
    }

    def plant(name: str, tensors: Run) -> None:
        if name == "layers-float32":
            tensors[CONV] = tensors[CONV] * 1.001

    trace = reference(tmp_path / "r")
    result = compare(trace, [candidate(tmp_path / "c", trace, plant)], tolerances=[rule])
    assert {pair.verdict for pair in result.pairs if pair.basis == "case: x" and pair.mode == "layers"} == {
        "MATCH",
        verdict,
    }


def test_a_rule_on_a_multiple_of_the_floor_says_which_pairs_have_none(saved: Result) -> None:
    rule = Rule(address=r"unet\.conv_in@.*:output", require="ratio_to_floor <= 4", reason="x")
    with pytest.raises(ToleranceError, match=r'pairs of float64 runs .* have no floor: .* question = "precision"'):
        judge(saved, [rule])


def test_flags_between_pairs_are_set_anew(saved: Result) -> None:
    def flags(result: Result) -> list[list[str]]:
        return [
            list(pair.flags) for pair in result.pairs if pair.address == "postprocess:output" and pair.mode == "free"
        ]

    assert flags(saved) == [["inherited"], ["inherited"]]
    excused = judge(saved, [Rule(address="text_encoder.*", require="rel_l2 <= 10", reason="r")])
    assert flags(excused) == [[], []]


def test_a_rule_that_asks_for_what_was_not_measured_is_refused(saved: Result) -> None:
    with pytest.raises(ToleranceError, match="max_ulp, which was not measured"):
        judge(saved, [Rule(address="unet@.*", require="max_ulp <= 4", reason="r")])
    with pytest.raises(ToleranceError, match="matches no pair"):
        judge(saved, [Rule(address="nothing", require="size > 4", reason="r")])
