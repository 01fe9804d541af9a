"""Buffers are used again, hold no more than allowed, and never mix two tensors."""

from __future__ import annotations

import numpy as np
import pytest

from parity.trace import Trace, TraceWriter
from parity.trace.buffers import Buffers

from .helpers import manifest, same

LARGE = 1 << 19


def test_a_buffer_given_back_serves_the_next_tensor_of_about_its_size():
    buffers = Buffers(1 << 24)
    _, first = buffers.copy(np.zeros(LARGE, np.uint8), np.dtype(np.uint8))
    buffers.give(first)
    copied, second = buffers.copy(np.ones(LARGE - 100, np.uint8), np.dtype(np.uint8))
    assert second is first
    assert copied.base is first
    assert (copied == 1).all()
    _, third = buffers.copy(np.zeros(LARGE, np.uint8), np.dtype(np.uint8))
    assert third is not first


def test_no_more_is_kept_than_allowed():
    buffers = Buffers(LARGE)
    taken = [buffers.copy(np.zeros(LARGE, np.uint8), np.dtype(np.uint8))[1] for _ in range(2)]
    for buffer in taken:
        buffers.give(buffer)
    again = [buffers.copy(np.zeros(LARGE, np.uint8), np.dtype(np.uint8))[1] for _ in range(2)]
    assert again[0] is taken[0]
    assert again[1] is not taken[1]


@pytest.mark.parametrize("size", [(1 << 18), (1 << 18) + 8, 3 << 17, (3 << 17) + 8, (1 << 20) - 8, 1 << 20])
def test_a_buffer_is_large_enough_and_not_much_larger(size):
    copied, buffer = Buffers(0).copy(np.ones(size // 8), np.dtype("<f8"))
    assert copied.nbytes == size
    assert size <= buffer.nbytes <= size * 1.5


@pytest.mark.parametrize("form", [np.asfortranarray, lambda array: array.astype(">f8"), lambda array: array[::2, ::-1]])
def test_a_copy_is_in_c_order_and_little_endian(form):
    array = form(np.random.default_rng(0).standard_normal((300, 400)))
    copied, _ = Buffers(0).copy(array, np.dtype("<f8"))
    assert same(copied, np.asarray(array, "<f8", order="C"))
    assert copied.flags.c_contiguous
    assert not np.shares_memory(copied, array)


def test_a_run_of_large_tensors_uses_a_few_buffers_and_keeps_every_byte(tmp_path):
    writer = TraceWriter(tmp_path / "t", manifest(), queue_bytes=4 * LARGE)
    taken = []
    with writer.run("r", mode="run", dtype="float64") as run:
        give = run._buffers.give

        def counted(buffer):
            taken.append(buffer.ctypes.data)
            give(buffer)

        run._buffers.give = counted
        for number in range(60):
            run.tensor(f"unet.{number}:output", np.full(LARGE // 8, number, np.float64))
    writer.finish()
    back = Trace.open(tmp_path / "t", verify=True).run("r")
    assert all((back.tensor(f"unet.{number}:output") == number).all() for number in range(60))
    assert len(taken) == 60
    assert len(set(taken)) < 20
