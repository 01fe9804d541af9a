"""Reading a mapped file of any size leaves little of it in memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from parity.distance.blocks import blocks
from parity.distance.fast import WORTH
from parity.distance.measure import measure
from parity.distance.tensor import Tensor
from parity.distance.window import WINDOW_BYTES, note_read

SIZE = 32 * WINDOW_BYTES
MOST = 6 * WINDOW_BYTES  # pages of libraries come and go beside it


def resident_file_bytes() -> int:
    """Pages of mapped files that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_the_pages_of_a_large_tensor_are_given_back(tmp_path: Path) -> None:
    path = tmp_path / "big"
    (np.arange(SIZE // 4) % 1000).astype(np.float32).tofile(path)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    big = Tensor(np.frombuffer(mapped, np.float32).reshape(2, -1), "float32")
    some = Tensor(np.ones(WORTH, np.float32), "float32")
    measure(some, some, compiled=True)  # loads compiled code
    before = resident_file_bytes()
    largest = 0
    for (block,) in blocks([big.array]):
        block.sum()
        largest = max(largest, resident_file_bytes() - before)
    assert 0 < largest < MOST
    found = measure(big, big, compiled=True)
    assert (found.error_max, found.largest) == (0.0, 999.0)
    assert resident_file_bytes() - before < MOST


def test_arrays_that_are_no_files_are_left_alone() -> None:
    note_read([np.ones(3), np.frombuffer(b"12345678", np.float64)])
