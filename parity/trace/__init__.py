"""Traces: what one side computed, on disk. `Trace.open` reads one, `TraceWriter` writes one."""

from parity.trace.digests import digest
from parity.trace.injection import Injection, read_injection, write_injection
from parity.trace.packing import pack
from parity.trace.reader import Trace, Verified
from parity.trace.run_reader import RunReader
from parity.trace.run_writer import RunWriter
from parity.trace.schema import SCHEMA, Checks, Island, Manifest, Mode, Record, Row, RunInfo, Store, WeightDigests
from parity.trace.sizes import Estimate, estimate
from parity.trace.writer import TraceWriter, check_same, check_unused, is_unfinished, place

__all__ = [
    "SCHEMA",
    "Checks",
    "Estimate",
    "Injection",
    "Island",
    "Manifest",
    "Mode",
    "Record",
    "Row",
    "RunInfo",
    "RunReader",
    "RunWriter",
    "Store",
    "Trace",
    "TraceWriter",
    "Verified",
    "WeightDigests",
    "check_same",
    "check_unused",
    "digest",
    "estimate",
    "is_unfinished",
    "pack",
    "place",
    "read_injection",
    "write_injection",
]
