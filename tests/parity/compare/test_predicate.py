"""What a rule may require, and what is refused as no predicate."""

from __future__ import annotations

import math

import pytest

from parity.compare.predicate import BOUNDABLE, Predicate
from parity.errors import ToleranceError


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("rel_l2 <= 1e-3", True), ("rel_l2 < 1e-4", False), ("rel_l2 <= 1e-3 and max_abs <= 0.1", False),
        ("rel_l2 <= 1e-3 or max_abs <= 0.1", True), ("not max_abs > 0.1", False), ("1e-5 < rel_l2 <= 1e-3", True),
        ("cosine >= 0.999", False), ("cosine > 0", False), ("size == 16", True), ("(rel_l2 <= 1e-3)", True),
        ("0 <= rel_l2 <= 1e-3", True), ("rel_l2 <= 1e-3 or cosine >= 0.99", True), ("size < 4 or rel_l2 <= 1e-4", False),
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
    assert Predicate.parse("cosine > --0.5 and -rel_l2 > -0.5").holds({"cosine": 0.6, "rel_l2": 0.1})
    assert not Predicate.parse("-" * 400 + "1 < size").holds({"size": 1.0})
    with pytest.raises(ToleranceError, match="neither a measure nor a number"):
        Predicate.parse("size < [1][0]")


@pytest.mark.parametrize(
    "text",
    [
        "rel_l2 >= 0", "max_abs >= 0", "rel_l2 > 0", "rel_l2 >= -1", "not rel_l2 < 0", "-rel_l2 <= 0", "0 <= rel_l2",
        "cosine >= -1", "cosine > -1", "cosine <= 1", "cosine < 2", "max_ulp <= 1e20", "ratio_to_floor <= 1e35",
        "rel_l2 <= 1e300", "max_abs <= 1" + "0" * 100, "not max_rel > 1e300", "size > 0", "size >= 1", "size <= 1e30",
        "rel_l2 <= 1 or rel_l2 > 0.5", "rel_l2 <= 1 or max_abs >= 0", "rel_l2 <= 1e-3 or size > 0",
        "not (rel_l2 > 1 and rel_l2 < 1)", "size < 100 or size >= 100",
    ],
)  # fmt: skip
def test_what_no_pair_can_fail_is_refused(text: str) -> None:
    with pytest.raises(ToleranceError, match="holds however wrong a pair is; give what it may be at most"):
        Predicate.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "rel_l2 < 0", "rel_l2 <= -1e-3", "max_abs < 0", "cosine > 1", "cosine >= 1.5", "size < 1", "size == 1.5 and size == 2",
        "rel_l2 <= 1e-3 and rel_l2 > 1", "not (rel_l2 <= 1 or max_abs >= 0)",
    ],
)  # fmt: skip
def test_what_no_pair_can_hold_is_refused(text: str) -> None:
    with pytest.raises(
        ToleranceError, match=r"holds for no pair \(.* is .* to .*\); give a limit that a right pair keeps"
    ):
        Predicate.parse(text)


@pytest.mark.parametrize("text", ["rel_l2 <= 1e999", "max_abs < -1e999", "max_abs <= 1" + "0" * 400])
def test_infinity_is_no_limit(text: str) -> None:
    with pytest.raises(ToleranceError, match="compares with infinity, which no limit is"):
        Predicate.parse(text)


@pytest.mark.parametrize("text", ["rel_l2 <= max_rel", "1 <= 2", "1e-3 < 1 < rel_l2", "rel_l2 <= rel_l2"])
def test_a_measure_is_compared_with_a_number_and_nothing_else(text: str) -> None:
    with pytest.raises(ToleranceError, match="compare a measure with a number"):
        Predicate.parse(text)


def test_a_long_predicate_is_read_in_no_time() -> None:
    numbers = " and ".join(f"{name} <= {1 + number}e-3" for number, name in enumerate(sorted(BOUNDABLE) * 3))
    assert Predicate.parse(numbers).names == BOUNDABLE.keys()
