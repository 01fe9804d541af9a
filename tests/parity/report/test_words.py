"""Numbers never round onto what they must differ from; foreign text never leaves its line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.report import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.031, "3.1e-02"),
        (0.0, "0"),
        (None, words.NOTHING),
        ("nan", "nan"),
        ("inf", "inf"),
        ("-inf", "-inf"),
        (1e300, "1.0e+300"),
        (-2.5, "-2.5e+00"),
    ],
)
def test_a_distance_is_written_with_two_digits(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (41.3, "41x"),
        (3.0, "3x"),
        (3.0004, "3.0004x"),
        (2.99999, "2.99999x"),
        (123.4, "123x"),
        (1e7, "1e+07x"),
        (0.93, "0.93x"),
        ("inf", "infx"),
        (None, words.NOTHING),
    ],
)
def test_a_multiple_is_never_rounded_onto_its_limit(value, text):
    assert words.ratio(value, 3.0) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_multiple_reads_as_its_limit_only_if_it_is_its_limit(value):
    assert (words.ratio(value, 3.0) == "3x") == (value == 3.0)


@given(st.floats(), st.floats())
def test_two_values_that_differ_are_written_so_that_they_differ(reference, candidate):
    texts = words.apart(reference, candidate)
    if reference != candidate and not (math.isnan(reference) or math.isnan(candidate)):
        assert texts[0] != texts[1]


def test_integers_keep_all_their_digits():
    assert words.apart(2**53, 2**53 + 1) == ("9007199254740992", "9007199254740993")


@given(st.text())
def test_foreign_text_stays_on_one_printable_line(text):
    assert words.visible(text).isprintable()


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "\u202eabc", "\ud800", "\u2028", "\x00"])
def test_control_sequences_become_escapes(text):
    assert words.visible(text).encode("ascii").isascii()
    assert words.visible(text) != text


def test_ordinary_text_stays_as_it_is():
    assert words.visible("größer [a] <b> 'c' 中文") == "größer [a] <b> 'c' 中文"


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_the_stored_form_of_a_number_is_right_to_three_digits(value):
    assert float(words.compact(value)) == pytest.approx(value, rel=6e-3)
    assert len(words.compact(value)) <= 9
