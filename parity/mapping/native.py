"""Traces under native names: what a candidate computed, at its own paths, before anybody knows what means what.

A `NativeRun` counts calls and writes outputs. Its addresses always name the call, and the step once it was told one:

    model.diffusion_model.input_blocks.0.0@step=0,call=0:output

Weights are digested as the candidate holds them, rounded to narrower types, and in equal parts along the first axis, so
that one fused projection is recognised as three of the reference's (`part1of3/float32`).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parity.address import Address
from parity.digests import ROUNDINGS, digest
from parity.dtypes import bits, is_float, narrow, widen
from parity.errors import AddressError, InputError
from parity.mapping.units import PARTS, WHOLE
from parity.trace import Manifest, TraceWriter, WeightDigests

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from parity.components import Components
    from parity.trace import RunWriter, Trace

__all__ = ["NativeRun", "native_digests", "native_trace"]

_ROUNDINGS: Final = ("float32", *ROUNDINGS)


class NativeRun:
    """Receives the calls of a candidate's cells and functions and writes them under the candidate's own names."""

    def __init__(self, run: RunWriter, program: Components) -> None:
        """Write to an open run; `program` is what the reference is made of."""
        self._run = run
        self._program = program
        self._counts: dict[tuple[str, int | None], int] = {}
        self._step: int | None = None

    def step(self, step: int | None) -> None:
        """Enter a step of the loop (None: leave it)."""
        self._step = step

    def cell(self, native: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the outputs of one call, by key (`""` for a single tensor)."""
        place = (native, self._step)
        call = self._counts.get(place, 0)
        self._counts[place] = call + 1
        for key, array in arrays.items():
            port = f"output.{key}" if key else "output"
            address = Address(path=native, step=self._step, call=call, port=port)
            self._run.tensor(address, array, native=native, stage=self._stage(address))

    def function(self, name: str, outputs: Mapping[str, np.ndarray], call: int = 0) -> None:
        """Take the outputs of a function that is no cell, by port (`output`, `output.KEY`)."""
        del call  # counted here as everywhere
        self.cell(name, {port.removeprefix("output").removeprefix("."): array for port, array in outputs.items()})

    def _stage(self, address: Address) -> str:
        """Return the stage that the name tells; a native path tells none and is `unet` until it is mapped."""
        try:
            return self._program.stage_of(address.path, address.port)
        except AddressError:
            return "unet"


@contextmanager
def native_trace(
    out: Path,
    reference: Trace,
    weights: Iterable[tuple[str, np.ndarray, str]],
    *,
    name: str,
    dtype: str,
    modules: Mapping[str, str],
    provenance: Mapping[str, Any],
) -> Iterator[NativeRun]:
    """Write a candidate's trace with one run, `free-DTYPE`, and yield what receives its calls.

    Args:
        out: The folder to write.
        reference: The recorded reference whose latents and noise the candidate was given.
        weights: PATH:NAME, array and type of every parameter.
        name: What the candidate is called.
        dtype: The type that it computes in.
        modules: Path -> class of every cell.
        provenance: What the numbers depend on.

    Raises:
        InputError: `dtype` is no floating type.
        TraceError: the folder holds a trace already, or cannot be written.
    """
    if not is_float(dtype):
        message = f"{dtype!r} is no floating type; name the type that the candidate computes in, such as float32"
        raise InputError(message)
    digests = {
        path: WeightDigests(shape=array.shape, dtype=kind, digests=native_digests(array, kind))
        for path, array, kind in weights
    }
    manifest = Manifest(
        side="candidate",
        name=name,
        case=reference.manifest.case,
        case_digest=reference.manifest.case_digest,
        sources=reference.manifest.sources,
        reference_digest=reference.digest,
        modules=dict(modules),
        components=reference.manifest.components,
        functions=reference.manifest.functions,
        provenance=dict(provenance),
        weights=digests,
    )
    writer = TraceWriter(out, manifest)
    with writer.run(f"free-{dtype}", mode="free", dtype=dtype) as run:
        yield NativeRun(run, manifest.program)
    writer.finish()


def native_digests(array: np.ndarray, dtype: str) -> dict[str, str]:
    """Return `LAYOUT/ROUNDING` -> digest; layouts are `identity` and `partIofN`, `own` among the roundings.

    >>> fused = np.arange(12, dtype=np.float32).reshape(6, 2)
    >>> native_digests(fused, "float32")["part1of3/own"] == digest(fused[2:4])
    True
    """
    forms = {"own": array}
    if is_float(dtype):
        wide = widen(array, dtype)
        with np.errstate(over="ignore"):
            forms |= {kind: narrow(wide, kind) for kind in _ROUNDINGS if bits(kind) < bits(dtype)}
    found = {f"{WHOLE.layout}/{form}": digest(values) for form, values in forms.items()}
    length = len(np.atleast_1d(array))
    for parts in PARTS:
        if length <= len(parts) or length % len(parts):
            continue
        for form, values in forms.items():
            for each, share in zip(parts, np.split(values, len(parts)), strict=True):
                found[f"{each.layout}/{form}"] = digest(share)
    return found
