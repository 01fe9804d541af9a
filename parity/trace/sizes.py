"""How large a recording is: before it starts from shapes alone, after it ended with what was stored once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from parity.trace.records import checked_size, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.trace.schema import Record, Store

__all__ = ["Estimate", "estimate"]

# Measured on shards of 10 to 30000 datasets: what HDF5 needs for a dataset and for a further name of one, beside
# the name itself. A `.npy` header of up to four dimensions takes 128 bytes.
_DATASET_BYTES: Final = 300
_LINK_BYTES: Final = 40
_HEADER_BYTES: Final = 128
_FIXED_BYTES: Final = 1500
# A record that has not been written yet lacks digest, shard and offset.
_PLACE_BYTES: Final = 32 + 16 + 4


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes: `bytes_recorded` of all tensors, `bytes_stored` of distinct ones, `bytes_on_disk` of files."""

    records: int
    bytes_recorded: int
    bytes_stored: int
    bytes_on_disk: int


def estimate(records: Iterable[Record], *, store: Store = "hdf5") -> Estimate:
    """Return the size of a recording of one run.

    A record without a digest (not computed yet) counts as distinct, so that before the run the estimate is an
    upper bound; with digests it is what the store holds.

    Raises:
        TraceError: a record has an impossible shape or type.
    """
    count = recorded = stored = 0
    on_disk = _FIXED_BYTES
    seen: set[str] = set()
    for record in records:
        count += 1
        on_disk += len(encode(record)) + (0 if record.digest else _PLACE_BYTES)
        if record.kind == "value":
            continue
        size = checked_size(record, "estimate")
        recorded += size
        if record.digest and record.digest in seen:
            on_disk += _LINK_BYTES + len(record.address) if store == "hdf5" else 0
            continue
        seen.add(record.digest)
        stored += size
        on_disk += size + (_DATASET_BYTES + len(record.address) if store == "hdf5" else _HEADER_BYTES)
    return Estimate(records=count, bytes_recorded=recorded, bytes_stored=stored, bytes_on_disk=on_disk)
