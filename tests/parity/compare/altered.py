"""A recorded trace of which some tensors read otherwise, as if another program had been recorded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from parity.address import is_output
from parity.dtypes import is_float, narrow, widen
from parity.trace import Trace, digest
from parity.trace.files import Tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parity.trace import Record
    from parity.trace.run_reader import RunReader

    Change = Callable[[np.ndarray], np.ndarray]

__all__ = ["KINDS", "altered"]


class _Altered(Tensors):
    """The tensors of a run, those of some addresses changed."""

    def __init__(self, run: RunReader, change: Change, pattern: re.Pattern[str]) -> None:
        self._run, self._change, self._pattern = run, change, pattern

    def read(self, record: Record) -> np.ndarray:
        array = self._run.tensor(record.address)
        if not (is_float(record.dtype) and is_output(record.address) and self._pattern.fullmatch(record.address)):
            return array
        changed = np.broadcast_to(self._change(widen(array, record.dtype)), record.shape)
        return narrow(changed, record.dtype) if record.dtype == "bfloat16" else changed.astype(array.dtype)


def altered(trace: Trace, change: Change, *runs: str, at: str = ".*") -> Trace:
    """The trace with the outputs that `at` matches changed in some runs; what was replayed from it still fits it."""
    pattern = re.compile(at)
    readers = {run.name: run for run in trace.readers}
    for name in runs:
        tensors = _Altered(readers[name], change, pattern)
        readers[name] = readers[name].with_records(_digested(readers[name].records, tensors), tensors)
    manifest = replace(trace.manifest, origin=trace.digest)
    return Trace(trace.folder, manifest, readers, plain=trace.plain, ordered=trace.ordered)


def _digested(records: Sequence[Record], tensors: Tensors) -> list[Record]:
    """Records with the digests of what they read now."""
    found = []
    for record in records:
        mark = digest(tensors.read(record), record.dtype) if record.kind == "tensor" else record.digest
        found.append(replace(record, digest=mark))
    return found


def _noise(array: np.ndarray) -> np.ndarray:
    return array + 0.05 * array.std() * np.random.default_rng(3).standard_normal(array.shape)


def _element(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[array.size // 2] += 0.1 + abs(array.flat[array.size // 2])
    return array


def _channel(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    if array.ndim > 1:
        array[:, 0] *= 1.05
    return array


def _cut(array: np.ndarray) -> np.ndarray:
    return (array.astype("<f4").view(np.uint32) & np.uint32(0xFFFFE000)).view("<f4").astype(float)


KINDS: dict[str, Change] = {
    "scaled": lambda array: array * 1.05,
    "doubled and shifted": lambda array: array * 2 + 1,
    "negated": np.negative,
    "shifted": lambda array: array + 0.05 * array.std() + 0.01,
    "noise": _noise,
    "one element": _element,
    "one channel": _channel,
    "float16": lambda array: array.astype(np.float16).astype(float),
    "bfloat16": lambda array: widen(narrow(array, "bfloat16"), "bfloat16"),
    "cut to 10 bits": _cut,
    "zeros": np.zeros_like,
    "vanishing": lambda array: array * 1e-42,
}
"""What may be wrong with a run, by name."""
