"""The files that all tools compare, made from a seed: a folder of `.npy`, and from it each tool's own form.

`large` has SDXL's shape mix at 1024 pixels, 1 GB in float32 on each side: nine tensors in ten differ by 1e-6 to
1e-2 of their rms, growing along the run as errors do, every tenth is equal. `small` has 4000 tensors of 16 to
63 numbers. The half types hold the same shapes, so half the bytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEGABYTE = 1_000_000
LARGE = (
    (20, (2, 320, 64, 128)),  # 21 MB each in float32
    (30, (2, 640, 64, 32)),  # 10.5 MB
    (40, (2, 1280, 32, 16)),  # 5.2 MB
    (310, (2, 77, 320)),  # 0.2 MB
)
SMALL = 4000


class Set(NamedTuple):
    """One set of pairs."""

    name: str
    dtype: str
    shapes: tuple[tuple[int, ...], ...]


def sets(scale: float = 1.0) -> dict[str, Set]:
    """Return the sets by name; `scale` below 1 makes fewer tensors, for a trial."""
    shapes = tuple(shape for count, shape in LARGE for _ in range(max(1, round(scale * count))))
    rng = np.random.default_rng(0)
    order = rng.permutation(len(shapes))
    mixed = tuple(shapes[number] for number in order)
    lengths = tuple((int(length),) for length in rng.integers(16, 64, max(10, round(scale * SMALL))))
    return {
        "large": Set("large", "float32", mixed),
        "small": Set("small", "float32", lengths),
        "large-float16": Set("large-float16", "float16", mixed),
        "large-bfloat16": Set("large-bfloat16", "bfloat16", mixed),
    }


def pairs(chosen: Set, seed: int = 7) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield address, reference and candidate; bfloat16 as uint16."""
    count = len(chosen.shapes)
    for number, shape in enumerate(chosen.shapes):
        rng = np.random.default_rng((seed, number))
        reference = rng.standard_normal(shape, np.float32)
        candidate = reference
        if number % 10:
            drift = np.float32(10.0 ** (-6 + 4 * number / count))
            candidate = reference + drift * rng.standard_normal(shape, np.float32)
        yield f"unet.block.{number}@step=0:output", _stored(reference, chosen), _stored(candidate, chosen)


def _stored(values: np.ndarray, chosen: Set) -> np.ndarray:
    """Return values in the set's type."""
    from parity.dtypes import narrow

    return narrow(values, chosen.dtype)


def file_name(address: str) -> str:
    """Return a name that parity reads as the address and msprobe as one of its own."""
    return "Cell." + address.partition("@")[0] + ".Conv2d.forward.0.output.0.npy"


def make(folder: Path, chosen: Set) -> None:
    """Write the set in every form that its type allows."""
    from parity.trace import Manifest, Row, Trace, TraceWriter

    listed = list(pairs(chosen))
    rows = [Row(path=address.partition("@")[0], native="-", kind="operator") for address, _, _ in listed]
    digest = None
    for side, place in (("reference", 1), ("candidate", 2)):
        given = {} if digest is None else {"reference_digest": digest, "alignment": rows}
        manifest = Manifest(side=side, name=chosen.name, case={}, case_digest="", **given)
        writer = TraceWriter(folder / "trace" / side, manifest)
        run, mode = (chosen.dtype, "run") if side == "reference" else (f"layers-{chosen.dtype}", "layers")
        with writer.run(run, mode=mode, dtype=chosen.dtype) as recording:
            for pair in listed:
                recording.tensor(pair[0], pair[place], dtype=chosen.dtype)
        writer.finish()
        digest = Trace.open(folder / "trace" / side).digest
        if chosen.dtype != "bfloat16":
            arrays = {file_name(pair[0]): pair[place] for pair in listed}
            _write_npy(folder / "npy" / side, arrays)
            _write_msprobe(folder / "npy" / side, folder / "msprobe" / side, arrays)
            np.save(folder / f"reprod_{side}.npy", arrays, allow_pickle=True)  # type: ignore[arg-type]


def _write_npy(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write each array as a file."""
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / name, array)


def _write_msprobe(data: Path, folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Describe the same files as a dump of msprobe, and link them where it looks."""
    tensors = folder / "dump_tensor_data"
    tensors.mkdir(parents=True)
    described = {}
    for name, array in arrays.items():
        (tensors / name).hardlink_to(data / name)
        numbers = array.astype(np.float64)
        described[name.removesuffix(".output.0.npy")] = {
            "input_args": [],
            "input_kwargs": {},
            "output": [
                {
                    "type": "mindspore.Tensor", "dtype": str(array.dtype).capitalize(), "shape": list(array.shape),
                    "Max": float(numbers.max()), "Min": float(numbers.min()), "Mean": float(numbers.mean()),
                    "Norm": float(np.linalg.norm(numbers)), "data_name": name,
                }
            ],
        }  # fmt: skip
    dump = {"task": "tensor", "level": "L0", "framework": "mindspore", "dump_data_dir": str(tensors), "data": described}
    (folder / "dump.json").write_text(json.dumps(dump))
