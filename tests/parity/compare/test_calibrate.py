"""Proposed tolerances load, match what they were made from, and fail what is worse."""

from __future__ import annotations

import math
import tomllib
from typing import TYPE_CHECKING

import pytest

from parity.address import matches
from parity.compare import Rule, compare, judge, load_tolerances
from parity.compare.calibrate import encode, kinds_of, path_pattern, propose
from parity.errors import ToleranceError
from tests.parity.compare.altered import KINDS, altered
from tests.parity.compare.traces import Row, Run, candidate, reference

if TYPE_CHECKING:
    from pathlib import Path

CONV = "unet.conv_in@step=1:output"


@pytest.mark.parametrize(
    ("address", "others"),
    [
        ("unet.conv_in@step=3:output", ["unet.conv_in@step=0,call=1:output"]),
        ("unet.down.0.attn.1.to_out.0@step=3:output", ["unet.up.7.to_out.12:output", "unet.to_out.0@step=1:output"]),
        ("unet.mid.resnets.0@step=3:output.0", ["unet.resnets.11@step=1:output.7"]),
        ("unet@step=0:output", ["unet@step=1:output"]),
        ("scheduler.step@step=0:output", ["scheduler.step@step=1:output"]),
    ],
)
def test_a_pattern_matches_the_same_module_elsewhere(address: str, others: list[str]) -> None:
    assert all(matches(path_pattern(address), each) for each in (address, *others))


@pytest.mark.parametrize(
    ("address", "other"),
    [
        ("unet.conv_in@step=3:output", "unet.conv_in2@step=3:output"),
        ("unet.conv_in@step=3:output", "vae.conv_in@step=3:output"),
        ("unet.conv_in@step=3:output", "unet.conv_in@step=3:input.0"),
        ("unet.conv_in@step=3:output", "unet.conv_in.lora@step=3:output"),
        ("unet@step=3:output", "unet.conv_in@step=3:output"),
        ("unet.a.to_out.0:output", "unet.a.to_out:output"),
        ("unet.a.b:output", "unet.a.xb:output"),
    ],
)
def test_a_pattern_matches_no_other_module(address: str, other: str) -> None:
    assert not matches(path_pattern(address), other)


def test_a_proposal_matches_the_traces_that_it_was_made_from(tmp_path: Path) -> None:
    trace = reference(tmp_path / "r")
    other = candidate(tmp_path / "c", trace)
    result = compare(trace, [other])
    assert result.verdict == "MATCH"
    proposal = propose(result)
    assert not proposal.left
    file = tmp_path / "t.toml"
    file.write_text(encode(proposal.rules, "made by a test\nin two lines"))
    rules = load_tolerances(file)
    assert rules == proposal.rules
    again = compare(trace, [other], tolerances=rules)
    assert again.verdict == "MATCH"
    assert {pair.basis.partition(":")[0] for pair in again.pairs if pair.ground != "exact"} == {"case"}


def test_one_rule_covers_all_steps_and_names_its_maximum_and_headroom(tmp_path: Path) -> None:
    def plant(name: str, tensors: Run) -> None:
        if name == "layers-float32":
            tensors[CONV] = tensors[CONV] * (1 + 4e-7)

    trace = reference(tmp_path / "r")
    rows = [Row(path="unet.conv_in", native="net.conv_in", kind="conv2d")]
    other = candidate(tmp_path / "c", trace, plant, alignment=rows)
    result = compare(trace, [other])
    rules = propose(result, kinds_of([other]), headroom=2).rules
    mine = [rule for rule in rules if rule.mode == "layers" and rule.dtype == "float32" and "conv_in" in rule.address]
    assert len(mine) == 1
    measured = max(
        float(pair.rel_l2)
        for pair in result.pairs
        if pair.address.startswith("unet.conv_in@") and (pair.mode, pair.dtype) == ("layers", "float32")
    )
    limit = float(mine[0].require.split()[2])
    assert 2 * measured <= limit <= 2.2 * measured
    assert "in 3 pairs" in mine[0].reason
    assert f"the most at {CONV}" in mine[0].reason
    assert "headroom 2x; operator conv2d" in mine[0].reason


def test_what_fails_the_default_limits_is_said_and_a_worse_one_still_fails(tmp_path: Path) -> None:
    def plant(factor: float):
        def change(name: str, tensors: Run) -> None:
            if name == "layers-float32":
                tensors[CONV] = tensors[CONV] * factor

        return change

    trace = reference(tmp_path / "r")
    first = compare(trace, [candidate(tmp_path / "c", trace, plant(1.001))])
    assert first.verdict == "MISMATCH"
    proposal = propose(first)
    assert not proposal.left
    assert judge(first, proposal.rules).verdict == "MATCH"
    assert sum("1 of them fail the default limits" in rule.reason for rule in proposal.rules) == 1
    worse = compare(trace, [candidate(tmp_path / "d", trace, plant(1.01))])
    assert judge(worse, proposal.rules).verdict == "MISMATCH"


def test_what_no_rule_excuses_is_left(tmp_path: Path) -> None:
    def plant(name: str, tensors: Run) -> None:
        if name == "layers-float32":
            tensors[CONV] = tensors[CONV].astype("float16")
            del tensors["unet.act@step=0:output"]
            tensors["tokenizer:output"] = tensors["tokenizer:output"] + 1
            tensors["unet.act@step=1:output"][0, 0, 0, 0] = math.nan

    trace = reference(tmp_path / "r")
    result = compare(trace, [candidate(tmp_path / "c", trace, plant)])
    proposal = propose(result)
    assert {pair.address for pair in proposal.left} == {
        CONV, "unet.act@step=0:output", "tokenizer:output", "unet.act@step=1:output",
    }  # fmt: skip
    assert judge(result, proposal.rules).verdict == "MISMATCH"


def test_where_the_reference_is_off_no_rule_is_proposed(tmp_path: Path) -> None:
    trace = reference(tmp_path / "r")
    off = altered(trace, KINDS["scaled"], "float32", at=CONV)
    proposal = propose(compare(off, [candidate(tmp_path / "c", trace)]))
    assert {(pair.address, pair.mode) for pair in proposal.left} == {
        (CONV, mode) for mode in ("free", "steps", "layers")
    }


def test_pairs_that_a_rule_of_the_case_judges_keep_it(tmp_path: Path) -> None:
    trace = reference(tmp_path / "r")
    rule = Rule(address=r"unet\.conv_in.*", require="rel_l2 <= 1", reason="coarse on purpose")
    result = compare(trace, [candidate(tmp_path / "c", trace)], tolerances=[rule])
    assert not any("conv_in" in rule.address for rule in propose(result).rules)


def test_equal_tensors_get_the_rounding_of_their_type_and_zero_references_an_absolute_limit(tmp_path: Path) -> None:
    def plant(name: str, tensors: Run) -> None:
        if name == "layers-float32":
            tensors["postprocess:output"] *= 0.3

    trace = reference(tmp_path / "r")
    result = compare(trace, [candidate(tmp_path / "c", trace, plant, names=("layers-float32",))])
    pair = next(pair for pair in result.pairs if pair.address == "postprocess:output")
    pair.scale, pair.rel_l2 = 0.0, "inf"
    equal = next(pair for pair in result.pairs if pair.address == "text_encoder.layer:output")
    equal.rel_l2 = equal.error_rms = equal.error_max = 0.0
    by = {rule.address: rule for rule in propose(result).rules}
    assert by[path_pattern("postprocess:output")].require.startswith("max_abs <= ")
    assert by[path_pattern("text_encoder.layer:output")].require == "rel_l2 <= 3.6e-7 and max_rel <= 3.6e-7"
    assert "3 x the rounding of float32" in by[path_pattern("text_encoder.layer:output")].reason


@pytest.mark.parametrize("headroom", [0.5, math.nan, math.inf])
def test_a_headroom_below_one_is_refused(tmp_path: Path, headroom: float) -> None:
    trace = reference(tmp_path / "r")
    result = compare(trace, [candidate(tmp_path / "c", trace, names=("layers-float32",))])
    with pytest.raises(ToleranceError, match="headroom"):
        propose(result, headroom=headroom)


def test_hostile_text_survives_in_the_file() -> None:
    rule = Rule(
        address="a'b\\d\n\x7f\U0001f600:output", require="rel_l2 <= 1", reason='say "no"', stage="unet",
        question="precision", mode="free", dtype="float32",
    )  # fmt: skip
    read = tomllib.loads(encode([rule], "t"))["tolerance"][0]
    assert (read["address"], read["reason"]) == (rule.address, rule.reason)
