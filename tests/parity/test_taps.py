"""Counting calls and picking addresses."""

from __future__ import annotations

import numpy as np
import pytest

from parity.address import Address
from parity.taps import Call, Digests, Filter, Taps, key, rebuild


def _play(taps):
    """Call `unet.act` three times in step 0, once in step 1, and `unet.conv_in` once in each."""
    for step, calls in ((0, 3), (1, 1)):
        taps.step = step
        for path in ["unet.act"] * calls + ["unet.conv_in"]:
            call = taps.enter(path)
            taps.tensor(call, "output", np.full(2, call.number, np.float32), "float32")
            taps.leave(call)
    taps.step = None
    return taps


def test_a_counting_run_writes_every_call_and_the_next_run_only_where_there_are_several():
    first, second = Digests(), Digests()
    counting = _play(Taps(first))
    _play(Taps(second, counts=counting.counts))
    assert "unet.conv_in@step=0,call=0:output" in first.found
    assert list(second.found) == [
        "unet.act@step=0,call=0:output", "unet.act@step=0,call=1:output", "unet.act@step=0,call=2:output",
        "unet.conv_in@step=0:output", "unet.act@step=1:output", "unet.conv_in@step=1:output",
    ]  # fmt: skip
    assert {key(address): mark for address, mark in second.found.items()} == first.found


@pytest.mark.parametrize(
    ("pattern", "steps", "wanted"),
    [
        (None, None, 6),
        (r"unet\.act@step=1:output", None, 1),
        (r"unet\.conv_in.*", [0], 1),
        (r"unet\.act@step=0,call=2:output", None, 1),
        (None, [1], 2),
    ],
)
def test_the_filter_sees_the_contracts_address_in_every_run(pattern, steps, wanted):
    first, second = Digests(), Digests()
    counting = _play(Taps(first, wanted=Filter(pattern, steps)))
    _play(Taps(second, counts=counting.counts, wanted=Filter(pattern, steps)))
    assert len(second.found) == wanted
    assert {key(address) for address in second.found} <= set(first.found)


def test_a_call_with_an_unrecorded_input_is_partial():
    taps = Taps(Digests(), wanted=Filter(r".*:input\.x|.*:output"))
    call = taps.enter("unet")
    assert taps.address(call, "input.x") is not None
    assert taps.partial == set()
    assert taps.address(call, "input.y") is None
    assert taps.partial == {Call("unet", None, 0)}


def test_leaving_unwinds_calls_that_an_exception_left_open():
    taps = Taps(Digests())
    outer = taps.enter("unet")
    taps.enter("unet.conv_in")
    taps.leave(outer)
    assert taps.stack == []


def test_a_mark_flags_the_outputs_of_running_paths_only():
    class Islands(Digests):
        def tensor(self, address, array, *, dtype=None, island=None, **_):
            super().tensor(address, array, dtype=dtype)
            marks[address] = island

    marks: dict[str, str | None] = {}
    taps = Taps(Islands(), counts={})
    outer, inner = taps.enter("unet"), taps.enter("unet.act")
    taps.mark("aten.exp in float32")
    zero = np.zeros(1)
    taps.tensor(inner, "input.x", zero, "float64")
    taps.tensor(inner, "output", zero, "float64")
    taps.leave(inner)
    later = taps.enter("unet.conv_in")
    taps.tensor(later, "output", zero, "float64")
    taps.leave(later)
    taps.tensor(outer, "output", zero, "float64")
    assert marks == {
        "unet.act:input.x": None, "unet.act:output": "aten.exp in float32", "unet.conv_in:output": None,
        "unet:output": "aten.exp in float32",
    }  # fmt: skip


class Kept:
    """A sink that keeps what it is told of each record."""

    def __init__(self):
        self.records = []

    def tensor(self, address, _array, *, dtype=None, native=None, island=None, copy=True):
        """Keep what is told of a tensor."""
        self.records.append((address, dtype, native, island, copy))

    def value(self, address, value, *, native=None):
        """Keep a value."""
        self.records.append((address, value, native))


def test_a_record_has_its_type_its_native_name_and_the_sinks_own_array():
    sink = Kept()
    taps = Taps(sink, counts={}, islands={"unet": "exp"})
    call = taps.enter("unet", "model.diffusion")
    taps.tensor(call, "input.x", np.zeros(2), "bfloat16")
    taps.value(call, "input.scale", 5.0)
    taps.tensor(call, "output", np.zeros(2), "float16")
    taps.leave(call)
    taps.tensor(call, "output.late", np.zeros(2), "float16")
    taps.repeat(Address.parse("unet@step=3:output"), np.zeros(2), "float64", "again")
    assert sink.records == [
        ("unet:input.x", "bfloat16", "model.diffusion", None, False),
        ("unet:input.scale", 5.0, "model.diffusion"),
        ("unet:output", "float16", "model.diffusion", "exp", False),
        ("unet:output.late", "float16", None, "exp", False),
        ("unet@step=3:output", "float64", "again", "exp", False),
    ]


def test_what_is_not_wanted_is_not_recorded_and_it_is_known_whether_anything_was():
    sink, wanted = Kept(), Filter(r"unet:output|unet@step=1:output", [1])
    taps = Taps(sink, counts={}, wanted=wanted)
    for step in (0, 1):
        taps.step = step
        call = taps.enter("unet")
        taps.value(call, "input.x", 1)
        assert not wanted.any
        taps.tensor(call, "output", np.zeros(2), "float32")
        taps.leave(call)
    taps.repeat(Address.parse("unet@step=0:output"), np.zeros(2), "float32")
    taps.repeat(Address.parse("unet@step=1:output"), np.zeros(2), "float32")
    assert [record[0] for record in sink.records] == ["unet@step=1:output"] * 2
    assert wanted.any


def test_the_first_operator_that_marks_a_path_stays():
    taps = Taps(Kept(), islands={"unet.act": "exp"})
    taps.enter("unet.act")
    taps.enter("unet.norm")
    taps.mark("rsqrt")
    taps.mark("mean")
    assert taps.islands == {"unet.act": "exp", "unet.norm": "rsqrt"}


@pytest.mark.parametrize(
    ("flat", "nested"),
    [
        ({}, {}), ({"x": 1}, {"x": 1}), ({"0": 1, "1": 2}, (1, 2)), ({"1": 1, "0": 2}, {"1": 1, "0": 2}), ({"1": 1}, {"1": 1}),
        ({"a.b.0": 1, "a.b.1": 2, "a.c": 3}, {"a": {"b": (1, 2), "c": 3}}), ({"x.0": None}, {"x": (None,)}),
    ],
)  # fmt: skip
def test_the_arguments_of_a_call_are_built_again_from_their_keys(flat, nested):
    assert rebuild(flat) == nested
