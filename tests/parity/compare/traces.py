"""Small traces written with the real writer: a text encoder, a two-layer UNet over three steps, and functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parity.distance.tensor import Tensor
from parity.trace import Checks, Island, Manifest, Row, Trace, TraceWriter, WeightDigests
from parity.trace.digests import digest_of_case

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from parity.result import Pair, Result

STEPS = 3
CONV = "unet.conv_in@step=1:output"
SHAPES = {
    "text_encoder.layer": (2, 7, 16),
    "unet.time_proj": (2, 32),
    "unet.conv_in": (2, 8, 6, 4),
    "unet.act": (2, 8, 6, 4),
    "unet": (2, 4, 6, 4),
    "scheduler.step": (1, 4, 6, 4),
    "postprocess": (1, 3, 12, 8),
}
IDS = "tokenizer:output"
Run = dict[str, Any]


def end_to_end(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of one type as `Layout` lays them."""
    return Tensor(np.concatenate([each.array.reshape(-1) for each in tensors]), tensors[0].dtype)


def addresses() -> list[str]:
    """Every tensor output in order of completion."""
    inside = [path for path in SHAPES if path.startswith(("unet", "scheduler"))]
    loop = [f"{path}@step={step}:output" for step in range(STEPS) for path in inside]
    return [IDS, "text_encoder.layer:output", *loop, "postprocess:output"]


def exact_run(seed: int = 0) -> Run:
    """The float64 twin's tensors by address."""
    rng = np.random.default_rng(seed)
    run: Run = {IDS: rng.integers(0, 49408, (2, 77))}
    for address in addresses()[1:]:
        run[address] = rng.standard_normal(SHAPES[address.partition("@")[0].partition(":")[0]])
    return run


def noisy(run: Mapping[str, Any], relative: float, seed: int, dtype: str = "float32") -> Run:
    """The same tensors with an error of this size, in another type."""
    rng = np.random.default_rng(seed)
    return {
        address: value
        if value.dtype.kind == "i"
        else (value + relative * rng.standard_normal(value.shape)).astype(dtype)
        for address, value in run.items()
    }


def manifest(side: str, **fields: Any) -> Manifest:
    """A manifest of one small case."""
    return Manifest(
        side=side, name=f"small {side}", case={"schema": 1}, case_digest=digest_of_case({"schema": 1}), **fields
    )


def write(folder: Path, described: Manifest, runs: Mapping[str, tuple[str, str, Run]], **options: Any) -> Trace:
    """Write runs (name -> mode, dtype, tensors) as a trace and open it."""
    writer = TraceWriter(folder, described)
    for name, (mode, dtype, tensors) in runs.items():
        with writer.run(name, mode=mode, dtype=dtype, **options) as run:
            for address, value in tensors.items():
                if isinstance(value, np.ndarray):
                    kind = "bfloat16" if value.dtype == np.uint16 else value.dtype.name
                    run.tensor(address, value, dtype=kind, native=f"net.{address}")
                else:
                    run.value(address, value)
    writer.finish()
    return Trace.open(folder)


def reference(folder: Path, **fields: Any) -> Trace:
    """A reference with working run, twin, forced twin and restarted steps."""
    twin = exact_run()
    forced, steps = noisy(twin, 1e-6, 5, "float64"), noisy(twin, 2e-6, 6, "float64")
    working = noisy(forced, 1e-7, 7)
    runs = {
        "float32": ("run", "float32", working),
        "float64": ("run", "float64", twin),
        "forced": ("forced", "float64", forced),
        "steps": ("steps", "float64", {address: value for address, value in steps.items() if "@step" in address}),
    }
    return write(folder, manifest("reference", **fields), runs)


def candidate(
    folder: Path,
    trace: Trace,
    change: Callable[[str, Run], None] | None = None,
    *,
    names: tuple[str, ...] = (),
    only: str | None = None,
    **fields: Any,
) -> Trace:
    """A healthy candidate of `trace`; `change(run name, tensors)` plants a fault."""
    runs: dict[str, tuple[str, str, Run]] = {}
    sources = {"layers": "forced", "steps": "steps", "free": "float64"}
    for mode, exact in sources.items():
        for dtype in ("float64", "float32"):
            name = f"{mode}-{dtype}"
            if names and name not in names:
                continue
            source = trace.run("float64" if dtype == "float64" else exact)
            found = {record.address: source.tensor(record.address) for record in source.records}
            if mode == "steps":
                found = {address: value for address, value in found.items() if "@step" in address}
            if dtype == "float64":
                made = noisy(found, 1e-14, 11, "float64")
            elif mode == "layers":
                made = noisy(found, 1.2e-7, 12)
            else:
                made = noisy(found, 1e-6 if mode == "free" else 1.5e-6, 13)
            if change is not None:
                change(name, made)
            runs[name] = (mode, dtype, made)
    described = manifest("candidate", reference_digest=fields.pop("reference_digest", trace.digest), **fields)
    return write(folder, described, runs, only=only)


def pair(result: Result, address: str, question: str, mode: str) -> Pair:
    """The one pair of an address, question and mode."""
    (found,) = [each for each in result.pairs if (each.address, each.question, each.mode) == (address, question, mode)]
    return found


def planting(run: str, address: str, change: Callable[[np.ndarray], Any]) -> Callable[[str, Run], None]:
    """A fault in one tensor of one run; `change` alters it in place or returns another."""

    def plant(name: str, tensors: Run) -> None:
        if name == run:
            changed = change(tensors[address])
            if changed is not None:
                tensors[address] = changed

    return plant


__all__ = [
    "CONV",
    "IDS",
    "SHAPES",
    "STEPS",
    "Checks",
    "Island",
    "Row",
    "WeightDigests",
    "addresses",
    "candidate",
    "exact_run",
    "manifest",
    "noisy",
    "pair",
    "planting",
    "reference",
    "write",
]
