"""Pairs are measured in batches, by themselves and in threads, and the way makes no difference."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from parity.compare import compare
from parity.compare.work import each
from tests.parity.compare.traces import candidate

if TYPE_CHECKING:
    from pathlib import Path

    from parity.trace import Trace

from tests.parity.compare.traces import CONV, planting


def test_several_threads_find_what_one_finds(ref: Trace, tmp_path: Path) -> None:
    plant = planting("free-float32", CONV, lambda t: t.__imul__(2))
    trace = candidate(tmp_path / "c", ref, plant)
    seen: list[tuple[int, int]] = []
    one, four = (
        compare(ref, [trace], jobs=1, progress=lambda done, total: seen.append((done, total))),
        compare(ref, [trace], jobs=4),
    )
    assert one.pairs == four.pairs
    assert seen[-1][0] == seen[-1][1] == len(one.pairs)


def test_large_items_are_done_in_threads_and_the_small_ones_in_the_caller_s():
    """Both kinds are done, the small ones by this thread, and what fails in a thread fails here."""
    doers = {}
    done = list(each(lambda item: doers.__setitem__(item, threading.get_ident()), ["a", "b"], [1, 2], threads=2))
    assert set(done) == {"a", "b", 1, 2}
    assert {doers[1], doers[2]} == {threading.get_ident()}
    assert threading.get_ident() not in {doers["a"], doers["b"]}
    with pytest.raises(ZeroDivisionError):
        list(each(lambda item: 1 / item, [1, 0], [], threads=2))


def test_who_is_interrupted_waits_for_what_is_in_hand_and_not_for_all():
    begun, done = threading.Event(), []

    def work(item):
        if item == "small":
            begun.wait()
            raise KeyboardInterrupt
        begun.set()
        time.sleep(0.01)
        done.append(item)

    with pytest.raises(KeyboardInterrupt):
        list(each(work, range(200), ["small"], 2))
    assert len(done) < 200
