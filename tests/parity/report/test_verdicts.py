"""A pair reads as what it is: its excuse, its multiple of the limit, the worst of several."""

import pytest

from parity.report import verdicts

from .made import found as pair


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (pair("MATCH"), "MATCH"),
        (pair("MISMATCH"), "MISMATCH"),
        (pair("MISMATCH", "inherited"), "inherited"),
        (pair("MISMATCH", "contains"), "contains"),
        (pair("MISMATCH", "equivalent"), "equivalent"),
        (pair("MISMATCH", "unbounded-depth"), "undecided"),
        (pair("MISMATCH", "half-precision-grid"), "MISMATCH"),
        (pair("MATCH", "platform-precision"), "MATCH"),
        (pair("MISSING"), "MISSING"),
        (pair("MISSING", "inherited"), "MISSING"),
        (pair("INCOMPARABLE", "inherited"), "inherited"),
        (pair("INCOMPARABLE", "reference-error"), "reference off"),
        (pair("INCOMPARABLE", "twin-error"), "reference off"),
        (pair("INCOMPARABLE"), "INCOMPARABLE"),
        (pair("MISMATCH", "reference-error"), "MISMATCH"),
    ],
)
def test_an_excused_failure_is_shown_by_its_excuse_and_no_other_one_is(found, shown):
    assert verdicts.shown(found) == shown


@pytest.mark.parametrize(
    ("found", "times"),
    [
        (pair("MATCH", ground="float64", scale=2.0, error_rms=2e-9, error_max=4e-9), 2.0),
        (pair("MATCH", "island", ground="float64", scale=2.0, error_rms=2e-9, error_max=4e-9), 5e-5),
        (
            pair(
                "MISMATCH",
                question="precision",
                ground="floor",
                floor_rms=1.0,
                floor_max=2.0,
                error_rms=3.0,
                error_max=32.0,
            ),
            2.0,
        ),
        (pair("MISMATCH", question="precision", ratio_to_floor=6.0), 2.0),
        (pair("MISMATCH", rel_l2="inf"), float("inf")),
        (pair("MATCH", question="audit"), None),
    ],
)
def test_excess_is_counted_in_limits(found, times):
    assert verdicts.excess(found) == (times if times is None else pytest.approx(times))


def test_a_number_that_is_none_is_the_worst():
    pairs = [pair("MATCH", rel_l2=1.0), pair("MISMATCH", rel_l2="nan"), pair("MATCH", rel_l2=2.0)]
    assert verdicts.worst(pairs) == verdicts.worst(pairs[::-1]) == "nan"
    assert verdicts.excess(pair("MISMATCH", rel_l2="nan")) == float("inf")
