"""Addresses: their text form and patterns."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.address import Address, literal, matches, pattern
from parity.errors import AddressError

names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}(\.[a-z0-9_]{1,5}){0,3}", fullmatch=True)
indices = st.none() | st.integers(0, 999)


@given(path=names, port=names, step=indices, call=indices)
def test_an_address_survives_its_text_form(path, port, step, call):
    address = Address(path=path, port=port, step=step, call=call)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "unet", "unet.conv_in@:", "a@step=x:output", "a@step=1,step=2:b", ":output", "a:b:c"]
)
def test_what_is_no_address_is_refused_with_an_example(text):
    with pytest.raises(AddressError, match="write PATH"):
        Address.parse(text)


def test_a_pattern_must_match_the_whole_address():
    assert matches(r"unet\.conv_in@step=\d:output", "unet.conv_in@step=3:output")
    assert not matches(r"unet\.conv_in", "unet.conv_in@step=3:output")


@pytest.mark.parametrize("address", ["unet.conv_in@step=3:output", "unet.a\nb:output", ""])
def test_no_pattern_matches_every_address(address):
    assert pattern(None).matches(address)
    assert not pattern("unet").matches(address)


def test_a_pattern_that_is_no_regular_expression_is_an_error():
    with pytest.raises(AddressError, match="not a regular expression"):
        matches("unet.(", "unet.conv_in:output")


@pytest.mark.parametrize(
    "text", ["(a+)+b", "(a|a)*b", "(.*)*x", ".*.*.*.*.*x", "(a?){500}a{500}b", "(" * 20_000 + "a" + ")" * 20_000]
)
def test_matching_takes_time_that_grows_with_the_address_alone(text):
    started = time.process_time()
    assert not any(matches(text, "unet." + "a" * length) for length in range(300))
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "text",
    [
        r"unet(?=\.).*",
        r"(?<=unet)\..*",
        r"(?!vae).*",
        r"(unet)\.\1:output",
        "(?P<a>u)(?P=a)",
        "(?>a*)b",
        "(a)?(?(1)b|c)",
    ],
)
def test_what_no_linear_matching_knows_is_refused_with_a_way_out(text):
    with pytest.raises(AddressError, match=r"linear time: look-around.* give alternatives \(A\|B\) or several rules"):
        pattern(text)


@pytest.mark.parametrize(
    "text", ["x{1000}" * 1000, "a" * 200_000, "((a{100}){100}){100}", "\udcff", "[", "a{2,1}", "*"]
)
def test_what_is_no_pattern_of_a_sensible_size_is_refused(text):
    with pytest.raises(AddressError, match=r"not a regular expression|at most \d+"):
        pattern(text)


def test_several_patterns_must_all_match():
    both = pattern((r"unet\..*", ".*:output"))
    assert both.matches("unet.a:output")
    assert not both.matches("unet.a:input.0")
    assert not both.matches("vae.a:output")


@given(text=st.text(), other=st.text())
def test_a_literal_matches_its_own_text_alone(text, other):
    assert matches(literal(text), text)
    assert matches(literal(text), other) == (text == other)


def test_an_address_with_half_a_surrogate_pair_is_matched_too():
    assert matches(r"unet\..*:output", "unet.\udcff:output")
