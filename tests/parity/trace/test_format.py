"""The format as docs/trace-format.md says it, written and read without the package's own code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash

from parity.trace import Manifest, Record, RunInfo, Trace

from .helpers import STORES, contents, same, write

DOCUMENT = Path(__file__).parents[3] / "docs" / "trace-format.md"


def foreign(folder: Path, store: str, arrays: dict[str, np.ndarray]) -> None:
    """Write a trace as somebody would who has only the document, h5py and numpy."""
    (folder / "free-float32" / "npy").mkdir(parents=True)
    lines = []
    with h5py.File(folder / "free-float32" / "tensors-0000.h5", "w") as file:
        for number, (address, array) in enumerate(arrays.items()):
            head = f"{array.dtype}[{','.join(map(str, array.shape))}]".encode()
            record = {"address": address, "stage": "unet", "shape": array.shape, "dtype": str(array.dtype)}
            record["digest"] = xxhash.xxh3_128_hexdigest(head + array.tobytes())
            record["offset"] = None
            if store == "hdf5":
                component, rest = re.fullmatch(r"([^.@:]*)\.?(.*)", address).groups()
                file.create_dataset(f"{component}/{rest}", data=array)
                record["shard"] = "tensors-0000.h5"
            else:
                np.save(folder / "free-float32" / "npy" / f"{number}.npy", array)
                record["shard"] = f"npy/{number}.npy"
            lines.append(json.dumps(record))
    text = "".join(line + "\n" for line in lines)
    (folder / "free-float32" / "records.jsonl").write_text(text)
    manifest = {
        "schema": 1, "side": "candidate", "name": "mine", "case": {}, "case_digest": "", "status": "complete", "store": store,
        "runs": {
            "free-float32": {
                "mode": "free", "dtype": "float32", "complete": True, "records": len(lines),
                "records_digest": xxhash.xxh3_128_hexdigest(text.encode()),
            }
        },
        "digest": "0" * 32,
    }  # fmt: skip
    blank = json.dumps(manifest)
    sealed = blank.removesuffix("0" * 32 + '"}') + xxhash.xxh3_128_hexdigest(blank.encode()) + '"}'
    (folder / "manifest.json").write_text(sealed)


@pytest.mark.parametrize("store", STORES)
def test_a_recorder_written_from_the_document_is_understood(tmp_path, store):
    arrays = {
        "unet.conv_in@step=0:output": np.arange(6, dtype=np.float32).reshape(2, 3),
        "unet@step=0:output": np.array(2.5),
        "unet.empty:output": np.empty((0, 2), np.int8),
        "unet.mask:output": np.array([True, False]),
        "unet.twice:output": np.array(2.5),
    }
    foreign(tmp_path, store, arrays)
    run = Trace.open(tmp_path, verify=True).run("free-float32")
    assert list(run) == list(arrays)
    for address, array in arrays.items():
        assert same(run.tensor(address), array)


@pytest.mark.parametrize("store", STORES)
def test_a_reader_written_from_the_document_understands(tmp_path, store):
    folder = write(tmp_path / "t", store, shard_bytes=200)
    text = (folder / "manifest.json").read_bytes()
    manifest = json.loads(text)
    assert xxhash.xxh3_128_hexdigest(text.replace(manifest["digest"].encode(), b"0" * 32)) == manifest["digest"]
    assert list(manifest)[-1] == "digest"
    lines = (folder / "float32" / "records.jsonl").read_bytes()
    assert xxhash.xxh3_128_hexdigest(lines) == manifest["runs"]["float32"]["records_digest"]
    identity = xxhash.xxh3_128(manifest["case_digest"].encode())
    for line, (address, kind, content) in zip(lines.decode().splitlines(), contents(), strict=True):
        record = json.loads(line)
        assert record["address"] == address
        part = ["float32", address, record["kind"], record["digest"], record["value"]]
        identity.update(json.dumps(part, separators=(",", ":"), ensure_ascii=False).encode())
        if not kind:
            continue
        assert record["dtype"] == kind
        stored = content.tobytes()
        if record["offset"] is None:
            assert content.size == 0
            continue
        data = (folder / "float32" / record["shard"]).read_bytes()[record["offset"] :][: len(stored)]
        assert data == stored
        head = f"{kind}[{','.join(map(str, record['shape']))}]".encode()
        assert xxhash.xxh3_128_hexdigest(head + data) == record["digest"]
    assert identity.hexdigest() == Trace.open(folder).digest


@pytest.mark.parametrize("struct", [Record, RunInfo, Manifest])
def test_the_document_names_every_key(struct):
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [field for field in struct.__struct_fields__ if f"`{field}`" not in text]
    assert not missing


def test_the_documents_python_runs(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(DOCUMENT), "exec"), {"array": np.zeros(3, np.float32)})  # noqa: S102 - our own document
    assert len(Trace.open(tmp_path / "trace").run("free-float32")) == 2
