"""A large tensor is compared with its digest while it is measured, whichever way it takes through the kernels."""

from __future__ import annotations

import numpy as np
import pytest

from parity.compare import compare
from parity.distance import fast
from parity.errors import TraceError
from parity.trace import Row, Trace
from tests.parity.compare.traces import manifest, noisy, write

SIZE = 3 * fast.WORTH + 5
ADDRESS = "unet.conv_in@step=0:output"
FILES = {
    "reference": ("float32", "forced"),
    "candidate": ("layers-float32",),
}


def traces(folder, *, special=None, kind="float32", with_twin=True):
    """A pair of one large tensor, with its float64 run beside it or not."""
    exact = np.random.default_rng(1).standard_normal((SIZE,))
    if special is not None:
        exact[3] = special
    twin = {ADDRESS: exact}
    runs = {"float32": ("run", kind, noisy(twin, 1e-7, 2, kind))}
    if with_twin:
        runs["forced"] = ("forced", "float64", twin)
    reference = write(folder / "reference", manifest("reference"), runs)
    described = manifest(
        "candidate", reference_digest=reference.digest, alignment=[Row(path="unet.conv_in", native="-", kind="conv")]
    )
    write(folder / "candidate", described, {"layers-float32": ("layers", kind, noisy(twin, 1e-7, 3, kind))})
    return folder


def compared(folder):
    return compare(Trace.open(folder / "reference"), [Trace.open(folder / "candidate")], jobs=2)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("special", [None, np.inf, 1e30])
@pytest.mark.parametrize("with_twin", [False, True])
@pytest.mark.parametrize("place", [0, SIZE // 2, SIZE - 1])
def test_one_flipped_bit_is_refused(place, with_twin, special, compiled, tmp_path, monkeypatch):
    if compiled:
        pytest.importorskip("numba")
        monkeypatch.setattr(fast, "WORTH_BYTES", 0)
    folder = traces(tmp_path, special=special, with_twin=with_twin)
    whole = compared(folder)
    for side, runs in FILES.items():
        for run in runs:
            if run == "forced" and not with_twin:
                continue
            record = Trace.open(folder / side).run(run).record(ADDRESS)
            path = folder / side / run / record.shard
            data = path.read_bytes()
            at = record.offset + place * (8 if run == "forced" else 4)
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])  # the last bit of a number
            with pytest.raises(TraceError, match=f"'{ADDRESS}' is damaged or was changed: its bytes have digest"):
                compared(folder)
            path.write_bytes(data)
    assert compared(folder).pairs == whole.pairs


def test_half_types_are_compared_in_their_storage_form(tmp_path):
    folder = traces(tmp_path, kind="float16", with_twin=False)
    assert compared(folder).pairs
    record = Trace.open(folder / "candidate").run("layers-float32").record(ADDRESS)
    path = folder / "candidate" / "layers-float32" / record.shard
    data = bytearray(path.read_bytes())
    data[record.offset + 2 * (SIZE - 1)] ^= 1
    path.write_bytes(data)
    with pytest.raises(TraceError, match="is damaged or was changed"):
        compared(folder)
