"""What a rule may require, and what is refused as no predicate."""

from __future__ import annotations

import math

import pytest

from parity.compare.predicate import Predicate
from parity.errors import ToleranceError


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


def test_minus_signs_and_what_python_would_run_are_read_as_numbers_or_refused() -> None:
    assert Predicate.parse("cosine > --1 or -rel_l2 < -0.5").holds({"cosine": 0.0, "rel_l2": 1.0})
    assert not Predicate.parse("-" * 400 + "1 < size").holds({"size": 1.0})
    with pytest.raises(ToleranceError, match="neither a measure nor a number"):
        Predicate.parse("size < [1][0]")
