"""The port in numpy with a row of a cell that it does not have."""

from __future__ import annotations

from parity.trace import Row
from tests.parity.numpy_candidate import NumpyCandidate

__all__ = ["candidate"]


class Lacking(NumpyCandidate):
    """Names a cell wrongly."""

    rows = tuple(
        Row(path=row.path, native="net.lay") if row.path == "unet.norm" else row for row in NumpyCandidate.rows
    )


candidate = Lacking()
