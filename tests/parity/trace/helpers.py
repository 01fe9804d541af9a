"""Small traces for the tests of parity.trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import msgspec
import numpy as np
import xxhash

from parity import seals
from parity.dtypes import TypeName, storage
from parity.trace import Manifest, Trace, TraceWriter
from parity.trace.digests import digest_of_case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

TYPES = get_args(TypeName)
STORES = ("hdf5", "npy")


def manifest(store: str = "hdf5", **fields: Any) -> Manifest:
    """Return a manifest of a reference."""
    content = {
        "side": "reference",
        "name": "test",
        "case": {"schema": 1},
        "case_digest": digest_of_case({"schema": 1}),
        "store": store,
    }
    return Manifest(**(content | fields))


def same(first: np.ndarray, second: np.ndarray) -> bool:
    """Tell whether type, shape and bytes are equal."""
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


def example(name: str, seed: int = 0, shape: tuple[int, ...] = (3, 4)) -> np.ndarray:
    """Return a random array in the storage type of `name`, any bits allowed."""
    kind = storage(name)
    generator = np.random.default_rng(seed)
    if name == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    raw = generator.integers(0, 256, (*shape, kind.itemsize), dtype=np.uint8)
    return raw.view(kind)[..., 0]


def contents() -> list[tuple[str, str, Any]]:
    """Return (address, type, array or value) of a small run: every type, an empty one, scalars, a repeat, values."""
    found: list[tuple[str, str, Any]] = [
        (f"unet.down_blocks.{number}@step=0:output", name, example(name, number)) for number, name in enumerate(TYPES)
    ]
    found += [
        ("unet.conv_in@step=0:input.sample", "float32", example("float32", 9, (2, 5))),
        ("unet.conv_in@step=1,call=0:input.sample", "float32", example("float32", 9, (2, 5))),
        ("unet.empty:output", "float16", np.empty((0, 3), np.float16)),
        ("unet.scalar:output", "float64", np.array(-0.0)),
        ("unet.nan:output", "float32", np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)),
        ("scheduler.step@step=0:input.eta", "", 0.5),
        ("scheduler.step@step=0:input.generator", "", None),
        ("scheduler.step@step=1:input.flags", "", [True, 3, "x", float("inf")]),
    ]
    return found


def write(folder: Path, store: str = "hdf5", runs: Iterable[str] = ("float32",), **options: Any) -> Path:
    """Write the small run under each name and finish the trace."""
    writer = TraceWriter(folder, manifest(store), **options)
    for name in runs:
        with writer.run(name, mode="run", dtype="float32") as run:
            for address, kind, content in contents():
                if kind:
                    run.tensor(address, content, dtype=kind)
                else:
                    run.value(address, content)
    writer.finish()
    return folder


def assert_content(trace: Trace, name: str = "float32") -> None:
    """Check that a run is exactly the small run."""
    run = trace.run(name)
    expected = contents()
    assert list(run) == [address for address, _, _ in expected]
    for address, kind, content in expected:
        if kind:
            assert run.record(address).dtype == kind
            assert same(run.tensor(address), content), address
        else:
            assert run.value(address) == content


def edited(folder: Path, change: Callable[[Any], Any], *, run: str = "float32") -> None:
    """Apply `change` to the list of a run's records and write them back as if they had been recorded so."""
    path = folder / run / "records.jsonl"
    records = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    records = change(records) or records
    path.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    sealed_records(folder, run, records=len(records))


def sealed_records(folder: Path, run: str, **entry: Any) -> None:
    """Write the digest of a run's records.jsonl, and what else its entry shall say, into the manifest."""
    digest = xxhash.xxh3_128_hexdigest((folder / run / "records.jsonl").read_bytes())
    resealed(folder, lambda content: content["runs"][run].update(entry, records_digest=digest))


def resealed(folder: Path, change: Callable[[Any], Any]) -> None:
    """Apply `change` to the manifest and seal it anew, unless the change is one of the seal."""
    content = msgspec.json.decode((folder / "manifest.json").read_bytes())
    content["digest"] = seals.BLANK.decode()
    change(content)
    content["digest"] = content.pop("digest", "")  # the last key
    data = msgspec.json.encode(content)
    if content["digest"] == seals.BLANK.decode():
        data = seals.seal(data, "digest")
    (folder / "manifest.json").write_bytes(data)
