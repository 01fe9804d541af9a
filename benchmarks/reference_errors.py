"""How far a healthy reference stays below the ceilings: `python benchmarks/reference_errors.py TRACE`.

TRACE is a recording; no candidate is needed. Printed for each replay: the reference's own error in multiples of the
ceiling (1 is the limit) of one operator in the layer replay, of a whole run in the others. A module of several operators
has a higher ceiling, so that its true multiple is smaller.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from parity.compare.ceiling import Model, working_type
from parity.compare.floor import coarser
from parity.compare.plan import is_same_tensor
from parity.distance.measure import measure
from parity.distance.tensor import Tensor
from parity.dtypes import is_float
from parity.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.trace.run_reader import RunReader

EXPECTED = {"layers": "forced", "steps": "steps", "free": "float64"}


class Multiple(NamedTuple):
    """An output, and its error in multiples of its ceiling: of the rms, and of the largest element."""

    address: str
    rms: float
    max: float


def multiples(trace: Trace, working: RunReader, mode: str) -> Iterator[Multiple]:
    """Yield every floating output that both runs have."""
    expected = trace.run(EXPECTED[mode])
    for address in expected.output_tensors:
        exact, record = expected.record(address), working.find(address)
        if record is None or not (is_same_tensor(record, exact) and is_float(record.dtype) and np.prod(record.shape)):
            continue
        first, second = (Tensor(run.tensor(address), run.record(address).dtype) for run in (expected, working))
        found = measure(first, second)
        dtype = working_type(coarser(working.info.dtype, record.dtype), trace.manifest.policy)
        ceiling = (Model.of if mode == "layers" else Model.of_run)(dtype).ceiling(found)
        yield Multiple(address, found.error_rms / ceiling.rms, found.error_max / ceiling.max)


def row(name: str, found: list[Multiple], which: str) -> str:
    """Return one line: number, median, 99 %, largest, and where the largest is."""
    values = [getattr(each, which) for each in found]
    median, high = np.quantile(values, (0.5, 0.99))
    largest = int(np.argmax(values))
    return f"| {name} | {len(found)} | {median:.2g} | {high:.2g} | {values[largest]:.2g} | `{found[largest].address}` |"


def main(folder: str) -> int:
    """Print the table of a recording."""
    trace = Trace.open(folder)
    working = next(run for run in trace.in_modes("run") if run.name != "float64")
    print("| replay, of | outputs | median | 99 % | largest | at |\n|---|---|---|---|---|---|")
    for mode, expected in EXPECTED.items():
        if expected in trace.runs:
            found = list(multiples(trace, working, mode))
            print(row(f"{mode}, rms", found, "rms"))
            print(row(f"{mode}, one element", found, "max"))
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and the folder
        sys.exit("usage: python benchmarks/reference_errors.py TRACE")
    sys.exit(main(sys.argv[1]))
