"""Addresses: their text form and patterns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.address import Address, matches, pattern
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
    assert pattern(None).fullmatch(address)
    assert not pattern("unet").fullmatch(address)


def test_a_pattern_that_is_no_regular_expression_is_an_error():
    with pytest.raises(AddressError, match="not a regular expression"):
        matches("unet.(", "unet.conv_in:output")
