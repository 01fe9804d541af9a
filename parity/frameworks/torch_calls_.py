"""Recorded calls made again in torch: which calls a run has, their arguments, and a module called with them.

A twin repeats each call of a working run on exactly the inputs that were recorded of it, widened to float64.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parity.address import Address
from parity.frameworks.torch_ import Signature, wide_tensor
from parity.taps import Call

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch

    from parity.trace import RunReader

__all__ = ["argument", "call_module", "recorded_calls"]


def recorded_calls(recorded: RunReader, skipped: Collection[Call]) -> dict[Address, list[Address]]:
    """Return, in order, each call with a recorded output, as an address, and the addresses of its inputs."""
    calls: dict[Address, list[Address]] = {}
    computed: set[Address] = set()
    for text in recorded:
        address = Address.parse(text)
        if Call.of(address) in skipped:
            continue
        call = replace(address, port="output")
        inputs = calls.setdefault(call, [])
        if address.port.startswith("input."):
            inputs.append(address)
        else:
            computed.add(call)
    return {call: inputs for call, inputs in calls.items() if call in computed}


def argument(recorded: RunReader, address: str) -> Any:
    """Return a recorded input as the twin takes it: a wide tensor or the plain value."""
    record = recorded.record(address)
    if record.kind == "value":
        return recorded.value(address)
    return wide_tensor(recorded.tensor(address), record.dtype)


def call_module(module: torch.nn.Module, inputs: dict[str, Any]) -> Any:
    """Call a module with arguments by the names of its parameters, as `parity.frameworks.torch_.rebuild` gives them."""
    signature = Signature(module.forward)
    if signature.rest is None or signature.rest not in inputs:
        return module(**inputs)
    # What a parameter takes that gathers the rest can only follow those before it by place.
    named = dict(inputs)
    rest = named.pop(signature.rest)
    before = [named.pop(name) for name in signature.names if name in named]
    return module(*before, *rest, **named)
