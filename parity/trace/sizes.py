"""How large a recording is: before it starts from shapes alone, after it ended with what was stored once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from parity.trace.records import checked_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.trace.schema import Record

__all__ = ["Estimate", "estimate"]

_TREE_BYTES: Final = 460
_LINE_BYTES: Final = 300


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes: `bytes_recorded` of all tensors, `bytes_stored` of distinct ones, `bytes_on_disk` of files."""

    records: int
    bytes_recorded: int
    bytes_stored: int
    bytes_on_disk: int


def estimate(records: Iterable[Record]) -> Estimate:
    """Return the size of a recording of `records`.

    A record without a digest (not computed yet) counts as distinct, so that before the run the estimate is an
    upper bound; with digests it is what the store holds.

    Raises:
        TraceError: a record has an impossible shape or type.
    """
    count = recorded = stored = 0
    seen: set[str] = set()
    for record in records:
        count += 1
        if record.kind == "value":
            continue
        size = checked_size(record, "estimate")
        recorded += size
        if record.digest and record.digest in seen:
            continue
        seen.add(record.digest)
        stored += size
    return Estimate(
        records=count,
        bytes_recorded=recorded,
        bytes_stored=stored,
        bytes_on_disk=stored + count * (_TREE_BYTES + _LINE_BYTES),
    )
