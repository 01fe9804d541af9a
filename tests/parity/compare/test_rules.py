"""Tolerance rules: files, precedence, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parity.case import ToleranceRule
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
