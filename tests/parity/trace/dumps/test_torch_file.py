"""Pickles that no tensor has: none takes long or much memory, and none is unpickled."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from parity.errors import TraceError
from parity.trace.dumps.torch_file import read_layout

from .made import pickled, write_pt

TENSOR = pickled(np.zeros(2, np.float32), "float32")
LONG = b"\x8a\xff" + b"\x7f" * 255
PICKLES = {
    # Each level is a tuple of three references to the level below.
    "a kilobyte of references": b"\x80\x02)q\x00"
    + b"".join(b"h%ch%ch%c\x87q%c" % (i, i, i, i + 1) for i in range(120))
    + b".",
    "references in the place of a storage": b"\x80\x02)q\x00"
    + b"".join(b"h%ch%ch%c\x87q%c" % (i, i, i, i + 1) for i in range(120))
    + b"(X\x07\x00\x00\x00storageh\x78X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ.",
    "references in the place of a function": b"\x80\x02)q\x00"
    + b"".join(b"h%ch%ch%c\x87q%c" % (i, i, i, i + 1) for i in range(120))
    + b"h\x78)R.",
    "a shape of long numbers": TENSOR.replace(
        b"(J\x02\x00\x00\x00t", b"(" + LONG + b"q\x50" + b"h\x50" * 30_000 + b"t", 1
    ),
    "a shape of many dimensions": TENSOR.replace(b"(J\x02\x00\x00\x00t", b"(" + b"K\x02" * 30_000 + b"t", 1),
    "a negative size": TENSOR.replace(b"J\x02\x00\x00\x00t", b"J\xff\xff\xff\xfft"),
    "marks alone": b"\x80\x02" + b"(" * 60_000 + b".",
    "a call of anything": b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
    "nothing": b"",
    "no end": b"\x80\x02)" * 10,
}


@pytest.mark.parametrize("what", PICKLES)
def test_a_pickle_that_no_tensor_has_is_refused_at_once(tmp_path, what):
    write_pt(tmp_path / "x.pt", np.zeros(2, np.float32), pickle=PICKLES[what] or b" ")
    tracemalloc.start()
    started = time.process_time()
    with (tmp_path / "x.pt").open("rb") as file, pytest.raises(TraceError, match=r"x\.pt") as found:
        read_layout(file, "x.pt")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - started < 5
    assert most < 50e6
    assert len(str(found.value)) < 1000
