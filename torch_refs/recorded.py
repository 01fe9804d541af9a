"""Applies parts of a twin to what a run recorded: which calls, with which arguments, in which order.

    for call, outputs in forced(outputs_of, recorded, skipped, workers=2): ...

`outputs_of(call, inputs)` yields (port, tensor); the calls of several workers run side by side, and their outputs
come in the order of the record.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from parity.frameworks.torch_ import to_numpy
from parity.frameworks.torch_calls_ import argument, recorded_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    import numpy as np

    from parity.address import Address
    from parity.record import Progress
    from parity.taps import Call, Taps
    from parity.trace import RunReader

__all__ = ["force"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def force(
    outputs_of: Callable[[Address, Mapping[str, Any]], Iterable[tuple[str, torch.Tensor]]],
    recorded: RunReader,
    skipped: Collection[Call],
    taps: Taps,
    progress: Progress,
    *,
    workers: int,
) -> None:
    """Report the outputs of every call that `recorded` has whole, under its addresses and native paths."""
    calls = recorded_calls(recorded, skipped)

    def compute(item: tuple[Address, list[Address]]) -> list[tuple[Address, np.ndarray, str]]:
        call, inputs = item
        arguments = {address.port.removeprefix("input."): argument(recorded, str(address)) for address in inputs}
        with torch.no_grad():
            return [(replace(call, port=port), *to_numpy(tensor)) for port, tensor in outputs_of(call, arguments)]

    for done, outputs in enumerate(_ordered(compute, calls.items(), workers=workers)):
        for address, array, dtype in outputs:
            if address in recorded:
                taps.repeat(address, array, dtype, recorded.record(address).native)
        progress(done + 1, len(calls))


def _ordered(compute: Callable[[_Item], _Result], items: Iterable[_Item], *, workers: int) -> Iterator[_Result]:
    """Yield the results in order, computed by several threads that run only a little ahead."""
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(compute, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
