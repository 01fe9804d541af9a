"""Counting calls and picking addresses."""

from __future__ import annotations

import numpy as np
import pytest

from parity.taps import Call, Digests, Filter, Taps, key


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
