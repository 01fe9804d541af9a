"""Tolerance rules: predicates, files, precedence, and what is refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from parity.case import ToleranceRule
from parity.compare.predicate import Predicate
from parity.compare.rules import Rule, RuleBook, load
from parity.errors import ToleranceError
from parity.result import Pair

if TYPE_CHECKING:
    from pathlib import Path

PAIR = Pair(
    address="unet.conv_in@step=0:output",
    stage="unet",
    question="precision",
    mode="layers",
    verdict="MATCH",
    dtype="float32",
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("rel_l2 <= 1e-3", True), ("rel_l2 < 1e-4", False), ("rel_l2 <= 1e-3 and max_abs <= 0.1", False),
        ("rel_l2 <= 1e-3 or max_abs <= 0.1", True), ("not max_abs > 0.1", False), ("1e-5 < rel_l2 <= 1e-3", True),
        ("cosine >= 0.999", False), ("cosine > -1", False), ("size == 16", True), ("(rel_l2 <= 1e-3)", True),
    ],
)  # fmt: skip
def test_predicates(text: str, holds) -> None:
    measures = {"rel_l2": 5e-4, "max_abs": 0.2, "cosine": math.nan, "size": 16.0}
    assert Predicate.parse(text).holds(measures) is holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rel_l2",
        "1e-3",
        "rel_l1 <= 1",
        "rel_l2 <= max(1, 2)",
        "__import__('os')",
        "rel_l2 != 3",
        "rel_l2 <= 'x'",
        "rel_l2 <=",
        "rel_l2 <= True",
        "rel_l2 + 1 <= 2",
        "rel_l2.real <= 1",
        "(" * 400,
        "not " * 200 + "size == 1",
    ],
)
def test_other_predicates_are_refused(text: str) -> None:
    with pytest.raises(ToleranceError):
        Predicate.parse(text)


def test_a_wrong_measure_names_the_nearest() -> None:
    with pytest.raises(ToleranceError, match="did you mean 'rel_l2'"):
        Predicate.parse("rel_l1 <= 1")


def test_the_first_rule_that_matches_counts() -> None:
    rules = [
        Rule(address=r"unet\..*", require="rel_l2 <= 1", reason="no", mode="free"),
        Rule(address=r"unet\..*", require="rel_l2 <= 1", reason="no", dtype="float16"),
        Rule(address=r"unet\..*", require="rel_l2 <= 1", reason="no", port="input.*"),
        Rule(
            address=r"unet\..*", require="rel_l2 <= 2", reason="yes", stage="unet", port="output", question="precision"
        ),
        ToleranceRule(address=".*", require="rel_l2 <= 3", reason="late"),
    ]
    book = RuleBook(rules)
    found = book.find(PAIR)
    assert found is not None
    assert found[0].reason == "yes"
    with pytest.raises(ToleranceError, match="matches no pair"):
        book.refuse_unused()


def test_a_pattern_matches_the_whole_address() -> None:
    assert RuleBook([Rule(address="unet", require="size == 1", reason="r")]).find(PAIR) is None


def test_a_file_is_read_and_its_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("[[tolerance]]\naddress = '.*'\nrequire = 'rel_l2 <= 1e-3'\nreason = 'r'\nport = 'output'\n")
    assert load(path) == [Rule(address=".*", require="rel_l2 <= 1e-3", reason="r", port="output")]
    for text in (
        "x = 1",
        "[[tolerance]]\naddress='a'",
        "[[tolerance]]\naddress='('\nrequire='size == 1'\nreason='r'",
        "not toml [",
    ):
        path.write_text(text)
        with pytest.raises(ToleranceError, match=r"t\.toml"):
            load(path)
    with pytest.raises(ToleranceError, match="is not there"):
        load(tmp_path / "none.toml")
