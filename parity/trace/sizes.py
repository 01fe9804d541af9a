"""How large a recording is: before it starts from shapes alone, after it ended with what was stored once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from parity.trace.records import checked_size, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.trace.schema import Record, Store

__all__ = ["Estimate", "estimate"]

_FIXED_BYTES: Final = 1500
# A record that has not been written yet lacks digest, shard and offset.
_PLACE_BYTES: Final = 32 + 16 + 4


class _Cost(NamedTuple):
    """What a store needs beside the elements, in bytes: for a tensor, for a further address of one, and for names."""

    tensor: int
    link: int
    of_name: int

    def stored(self, record: Record) -> int:
        """Return what a tensor needs that is stored."""
        return self.tensor + self.of_name * len(record.address)

    def linked(self, record: Record) -> int:
        """Return what a further address needs."""
        return self.link + self.of_name * len(record.address)


# Measured on shards of 10 to 30000 datasets: what HDF5 needs for a dataset and for a further name of one, beside
# the name itself. A `.npy` header of up to four dimensions takes 128 bytes, and a further address none.
_COSTS: Final[dict[Store, _Cost]] = {"hdf5": _Cost(300, 40, 1), "npy": _Cost(128, 0, 0)}


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
    cost = _COSTS[store]
    count = recorded = stored = 0
    on_disk = _FIXED_BYTES
    seen: set[str] = set()
    for record in records:
        count += 1
        on_disk += len(encode(record))
        if not record.digest:
            on_disk += _PLACE_BYTES
        if record.kind == "value":
            continue
        size = checked_size(record, "estimate")
        recorded += size
        if record.digest and record.digest in seen:
            on_disk += cost.linked(record)
        else:
            seen.add(record.digest)
            stored += size
            on_disk += size + cost.stored(record)
    return Estimate(records=count, bytes_recorded=recorded, bytes_stored=stored, bytes_on_disk=on_disk)
