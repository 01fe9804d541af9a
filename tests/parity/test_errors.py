"""What a message may hold, and the nearest name to a wrong one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.errors import nearest, one_line, visible


@given(st.text())
def test_a_message_is_one_line_that_a_terminal_may_be_given(text):
    assert one_line(text).isprintable()
    assert len(one_line(text)) <= 2000


@pytest.mark.parametrize("name", ["x" * 10_000, "x" * 10_000_000, "x y" * 10_000, "\x1b" * 10_000, "\udcff" * 10_000])
def test_a_name_that_is_too_long_loses_its_middle(name):
    said = one_line(f"the folder {name} is not there")
    assert said.startswith("the folder ")
    assert said.endswith(" is not there") or " y" in said
    assert "\N{HORIZONTAL ELLIPSIS}" in said
    assert len(said) <= 2000


def test_a_long_name_is_shown_with_both_its_ends():
    assert visible("a" * 3000 + "z") == "a" * 999 + "\N{HORIZONTAL ELLIPSIS}" + "a" * 999 + "z"


def test_a_short_name_is_shown_as_it_is():
    assert one_line("unet.conv_in@step=0:output is missing") == "unet.conv_in@step=0:output is missing"


def test_the_nearest_of_half_a_million_names_is_found_in_a_moment():
    names = [
        f"unet.down_blocks.{block}.attentions.{number}.to_q@step=3:output"
        for block in range(4)
        for number in range(100_000)
    ]
    started = time.process_time()
    assert nearest("unet.down_blocks.2.attentions.4711.to_k@step=3:output", names).startswith(
        ", did you mean 'unet.down_blocks.2.attentions.47"
    )
    assert nearest("x" * 100_000, ["x" * 99_000] * 100) == ""
    assert time.process_time() - started < 5


def test_the_nearest_name_is_found_among_few():
    assert nearest("float31", ["float64", "float32"]) == ", did you mean 'float32'?"
    assert nearest("quite another", ["float64", "float32"]) == ""
    assert nearest("", ["a"]) == ""
