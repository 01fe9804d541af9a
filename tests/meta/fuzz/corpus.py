"""What is altered: small inputs of every kind, and the commands that read them."""

from __future__ import annotations

import contextlib
import io
import json
import re
import struct
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from parity.adapters.plants import Plant
from parity.case import DIFFUSION
from parity.cli import flow
from parity.digests import digests
from parity.errors import InputError
from parity.trace import Manifest, Row, Trace, TraceWriter, WeightDigests
from parity.trace.digests import digest_of_case
from tests.meta.fuzz import alterations
from tests.parity import numpy_program
from tests.parity.trace.dumps import made

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

ADDRESSES = ("unet.conv_in@step=0:output", "unet.conv_in@step=1:output", "vae.decode:output")
REPAIRS = {
    "edits": [
        {"kind": "weight", "address": "unet.a:weight", "change": "transpose"},
        {"kind": "attribute", "path": "unet.norm", "name": "eps", "value": 1e-6},
        {"kind": "noise", "shift": 1},
        {"kind": "substitute", "path": "unet.b"},
        {"kind": "precision", "operators": ["exp"]},
    ],
    "strict": False,
}
TOLERANCES = """
[[tolerance]]
address = 'unet\\..*'
stage = "unet"
port = "output"
require = "rel_l2 <= 1e-3 and not max_abs > 0.1"
reason = "measured"

[[tolerance]]
address = "(unet|vae).*"
port = 'output.*'
require = "max_rel <= 0.9 or size == 0"
reason = "the rest"

[[exclude]]
address = "scheduler.*eta"
reason = "excluded by the case"
"""
MAPPING = """
schema = 1
threshold = 0.9

[[pair]]
path = "unet.conv_in"
port = "output"
native = "net.conv_in"
take = "output"
confidence = 0.97
evidence = "values"

[[pair]]
path = "vae.decode"
native = "net.decode"
confidence = 0.5
accepted = true
weights = { }

[not_compared]
"scheduler.step" = "identity"
"""
FAULT = """
SCALE = 1.5


def model(root):
    root["factor"] = SCALE * 2


def checkpoint(state):
    for name in sorted(state):
        state[name] = state[name] * SCALE
"""


class Refusing:
    """An adapter of either kind that stops where its framework would be needed."""

    name = "refusing"
    sections = DIFFUSION

    def load(self, resolved: Any, **_: Any) -> Any:
        """Stop with the case that was read."""
        message = f"stopped with {resolved.case.sampling.steps} steps"
        raise InputError(message)

    def alignment(self, request: Any) -> Any:
        """Build the fault in, then stop."""
        plant = Plant.of(request.plant)
        plant.checkpoint({"a": 1.0})
        plant.model({})
        message = "stopped before the first run"
        raise InputError(message)

    def build(self, request: Any) -> Any:
        """Never get here."""
        raise NotImplementedError


refusing = Refusing()
HERE = "tests.meta.fuzz.corpus:refusing"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Inputs of one kind.

    Attributes:
        name: How a failure names them.
        files: Patterns of those that are altered, relative to the corpus.
        commands: What reads them; one is drawn.
        ways: How they are altered; one is drawn.
        seal: Writes the digests of what lies above an altered file anew, so that it is read at all.
        truth: What the inputs say, by another reader than ours; where a command says MATCH that has read them, it is as it was.
        whole: Whether another thing may take a file's place.
    """

    name: str
    files: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    ways: tuple[Callable[[random.Random, bytes], bytes], ...]
    seal: Callable[[Path, Path], None] | None = None
    truth: Callable[[Path], Any] | None = None
    whole: bool = True


MANIFESTS = ("ref/manifest.json", "*/manifest.json")
RECORDS = ("ref/*/records.jsonl", "*/*/records.jsonl")
COMPARE = ("--jobs", "1")
TEXT = (alterations.by_word, alterations.by_word, alterations.by_word, alterations.by_byte, alterations.by_line)
JSON = (alterations.as_json, alterations.as_json, alterations.by_word, alterations.by_byte)
LINES = (alterations.as_lines, alterations.as_lines, alterations.by_word, alterations.by_byte, alterations.by_line)
TRACE = (
    ("show", "ref"), ("show", "ref", ADDRESSES[0]), ("show", "cand", "--json"), ("verify", "ref"), ("compare", "ref", "cand", *COMPARE),
    ("compare", "ref", "cand", *COMPARE), ("compare", "ref", "cand", *COMPARE), ("pack", "ref", "--only", "unet.*", "--out", "new"),
    ("map", "ref", "native"), ("calibrate", "ref", "cand", *COMPARE),
    ("replay", "ref", "--candidate", HERE, "--out", "new"),
    ("compare", "ref", "off", *COMPARE), ("diagnose", "failing"), ("calibrate", "ref", "off", *COMPARE),
)  # fmt: skip
FAILING = (
    ("show", "failing"), ("explain", "failing"), ("explain", "failing", ADDRESSES[0]), ("judge", "failing", "--tolerances", "all.toml"),
    ("diagnose", "failing"), ("report", "failing"),
)  # fmt: skip
RESULT = (
    ("show", "result"), ("show", "result", "unet.conv_in"), ("show", "result", "--json"), ("explain", "result"),
    ("explain", "result", ADDRESSES[0]), ("judge", "result", "--tolerances", "all.toml"), ("judge", "result", "--tolerances", "all.toml", "--json"),
)  # fmt: skip


def build(root: Path) -> None:
    """Write the inputs, unaltered, and what the commands need beside them."""
    _trace(root / "ref", "reference", "hdf5")
    digest = Trace.open(root / "ref").digest
    _trace(root / "cand", "candidate", "npy", digest)
    _trace(root / "off", "candidate", "npy", digest, factor=1.01)
    _trace(root / "native", "candidate", "hdf5", digest, names={"unet.": "net.", "vae.": "net."})
    (root / "all.toml").write_text("[[tolerance]]\naddress = '(unet|vae).*'\nrequire = 'rel_l2 <= 1'\nreason = 'any'\n")
    (root / "t.toml").write_text(TOLERANCES)
    (root / "map.toml").write_text(MAPPING)
    (root / "repair.json").write_text(json.dumps(REPAIRS))
    (root / "fault.py").write_text(FAULT)
    (root / "case").mkdir()
    numpy_program.write(root / "case")
    (root / "m").mkdir()
    for side in ("a", "b"):
        _plain(root / side)
        np.savez(root / f"{side}.npz", **_arrays())
        np.savez_compressed(root / f"{side}-packed.npz", **_arrays())
        made.write_safetensors(
            root / f"{side}.safetensors", {name: (array, array.dtype.name) for name, array in _arrays().items()}
        )
        (root / f"sharded-{side}").mkdir()
        shards = {name: f"model-{number}-of-4.safetensors" for number, name in enumerate(_arrays())}
        for name, file in shards.items():
            made.write_safetensors(
                root / f"sharded-{side}" / file, {name: (_arrays()[name], _arrays()[name].dtype.name)}
            )
        (root / f"sharded-{side}" / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": shards})
        )
        (root / f"pt-{side}").mkdir()
        made.write_pt(root / f"pt-{side}" / "x.pt", _arrays()["unet.conv_in.weight"])
        made.network(root / f"torch-{side}")
        made.network(root / f"mindspore-{side}", "mindspore")
    for candidate, result in (("cand", "result"), ("off", "failing")):
        flow.compare(root / "ref", [root / candidate], out=root / result, tolerances=None, jobs=1)


def _arrays() -> dict[str, np.ndarray]:
    """Return arrays of several types and shapes."""
    generator = np.random.default_rng(3)
    return {
        "unet.conv_in.weight": generator.standard_normal((3, 4)).astype(np.float32),
        "unet.conv_in.bias": generator.standard_normal(4),
        "ids": np.arange(5),
        "scalar": np.array(2.5),
    }


def _plain(folder: Path) -> None:
    """Write a folder of arrays, with a folder in it."""
    (folder / "step_0").mkdir(parents=True)
    for name, array in _arrays().items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "step_0" / "x.npy", np.arange(6.0).reshape(2, 3))


def _digests(factor: float) -> dict[str, WeightDigests]:
    """Return the digests of the weights, of which one is wrong where `factor` is not one."""
    weight = (factor * np.arange(6.0)).astype(np.float32).reshape(2, 3)
    return {"unet.conv_in:weight": WeightDigests(shape=(2, 3), dtype="float32", digests=digests(weight, "float32"))}


def _trace(
    folder: Path,
    side: str,
    store: str,
    reference: str | None = None,
    *,
    factor: float = 1.0,
    names: dict[str, str] | None = None,
) -> None:
    """Write a trace of two runs with tensors, which are `factor` too large, and values; `names` are exchanged for the candidate's own."""
    prefix = "" if side == "reference" else "free-"
    case = {"schema": 1, "model": {"folder": "m"}, "precision": {"dtype": "float32"}}
    described = Manifest(
        side=side, name=side, store=store, case_digest=digest_of_case(case), reference_digest=reference, case=case,
        provenance={"versions": {"numpy": "1"}, "device": "cpu"}, modules={"unet.conv_in": "Conv2d"},
        attributes={"unet.conv_in": {"eps": 1e-5 if factor == 1.0 else 1e-6, "groups": 2, "activation": "silu"}}, weights=_digests(factor),
        alignment=[Row(path=each, native=each) for each in ("unet.conv_in", "vae.decode")] if prefix and not names else None,
    )  # fmt: skip
    writer = TraceWriter(folder, described)
    for dtype in ("float64", "float32"):
        with writer.run(prefix + dtype, mode="free" if prefix else "run", dtype=dtype) as run:
            for number, address in enumerate(ADDRESSES):
                own = address
                for theirs, ours in (names or {}).items():
                    own = own.replace(theirs, ours)
                array = factor * np.random.default_rng(number).standard_normal((2, 3))
                run.tensor(own, array.astype(dtype), native=own, stage=address.partition(".")[0])
            run.value("scheduler.step@step=0:input.eta", 0.5)
            run.value("scheduler.step@step=0:output", [1, "x", float("inf")])
    writer.finish()


def seal_json(key: str) -> Callable[[Path, Path], None]:
    """Return what writes the digest of a JSON file into its last key, where it has one."""
    form = re.compile(rb'"%s":\s*"([0-9a-f]{32})"\s*\}\s*\Z' % key.encode())

    def seal(_: Path, path: Path) -> None:
        data = path.read_bytes()
        found = form.search(data)
        if found is not None:
            blank = data[: found.start(1)] + b"0" * 32 + data[found.end(1) :]
            path.write_bytes(
                blank[: found.start(1)] + xxhash.xxh3_128_hexdigest(blank).encode() + blank[found.end(1) :]
            )

    return seal


def seal_manifest(root: Path, path: Path) -> None:
    """Write the digest of a manifest's case, and the manifest's own."""
    with contextlib.suppress(
        ValueError, KeyError, TypeError, AttributeError
    ):  # it may be no JSON, or none of a manifest
        content = json.loads(path.read_bytes())
        content["case_digest"] = digest_of_case(content["case"])
        path.write_text(json.dumps(content | {"digest": content.pop("digest")}))
    seal_json("digest")(root, path)


def seal_records(root: Path, path: Path) -> None:
    """Write number and digest of a run's records into the manifest above, and that one's own digest."""
    data = path.read_bytes()
    manifest = root / path.relative_to(root).parts[0] / "manifest.json"
    content = json.loads(manifest.read_bytes())
    content["runs"][path.parent.name] |= {
        "records": data.count(b"\n"),
        "records_digest": xxhash.xxh3_128_hexdigest(data),
    }
    manifest.write_text(json.dumps(content | {"digest": content.pop("digest")}))
    seal_json("digest")(root, manifest)


def seal_tensor(root: Path, path: Path) -> None:
    """Write the digests of the tensors of a file that changed into their records."""
    run = next(each for each in path.parents if (each / "records.jsonl").exists())
    lines = []
    for line in (run / "records.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        if record["offset"] is not None:
            content = _bytes_of(run, record)
            head = f"{record['dtype']}[{','.join(map(str, record['shape']))}]".encode()
            record["digest"] = xxhash.xxh3_128_hexdigest(head + content)
        lines.append(json.dumps(record).encode() + b"\n")
    (run / "records.jsonl").write_bytes(b"".join(lines))
    seal_records(root, run / "records.jsonl")


def _bytes_of(run: Path, record: dict[str, Any]) -> bytes:
    """Return the bytes of a record's tensor, or as many as there are."""
    size = int(np.prod(record["shape"])) * np.dtype(record["dtype"]).itemsize
    return (run / record["shard"]).read_bytes()[record["offset"] : record["offset"] + size]


class _Near:
    """Numbers that are those of another reading, to what rounding explains: a bit at the end of one is no other thing."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __eq__(self, other: object) -> bool:
        """Compare with a hundred times the error of float32."""
        if not isinstance(other, _Near) or self.array.shape != other.array.shape:
            return False
        scale = float(np.abs(other.array).max(initial=0.0))
        return bool(np.allclose(self.array, other.array, rtol=0.0, atol=1e-5 * scale))


def trace_says(root: Path) -> Any:
    """Return the tensors of both traces, read by nothing of ours: (side, run, address) -> type, shape and bytes.

    Plain values are left out: a candidate need not have them; and the reference's working run, which sets floors and is not what the
    candidate is held against.
    """
    found = {}
    for side in ("ref", "cand"):
        for run in json.loads((root / side / "manifest.json").read_bytes())["runs"]:
            if (side, run) == ("ref", "float32"):
                continue
            for line in (root / side / run / "records.jsonl").read_bytes().splitlines():
                record = json.loads(line)
                if record.get("kind", "tensor") == "tensor":
                    content = np.frombuffer(_bytes_of(root / side / run, record), record["dtype"])
                    found[side, run, record["address"]] = record["dtype"], record["shape"], _Near(content)
    return found


def folder_says(root: Path) -> Any:
    """Return what the plain folders say, read by numpy."""
    paths = [path for side in ("a", "b") for path in sorted((root / side).rglob("*")) if not path.is_dir()]
    return {str(path.relative_to(root)): _said(np.load(path)) for path in paths}


def archive_says(suffix: str) -> Callable[[Path], Any]:
    """Return what reads the archives by numpy."""

    def says(root: Path) -> Any:
        return [
            {name: _said(found[name]) for name in found.files}
            for found in (np.load(io.BytesIO((root / f"{side}{suffix}.npz").read_bytes())) for side in ("a", "b"))
        ]

    return says


def safetensors_say(root: Path) -> Any:
    """Return what the safetensors files say."""
    found = []
    for side in ("a", "b"):
        data = (root / f"{side}.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        found.append(
            {
                name: (each["dtype"], each["shape"], data[8 + length :][slice(*each["data_offsets"])])
                for name, each in header.items()
            }
        )
    return found


def msprobe_says(name: str) -> Callable[[Path], Any]:
    """Return what reads the dumps: dump.json as it is, and the bytes of each file's tensor."""

    def says(root: Path) -> Any:
        found = []
        for side in ("a", "b"):
            folder = root / f"{name}-{side}"
            data = json.loads((folder / "dump.json").read_bytes())["data"]
            files = {path.name: _file_says(path) for path in sorted((folder / "dump_tensor_data").iterdir())}
            found.append((json.dumps(data), files))
        return found

    return says


def _file_says(path: Path) -> Any:
    """Return what one file of a dump says."""
    if path.suffix == ".npy":
        return _said(np.load(path))
    with zipfile.ZipFile(path) as archive:
        # The pickle beside it may say the same in other words.
        return [
            _Near(np.frombuffer(archive.read(name), np.float32))
            for name in archive.namelist()
            if name.endswith("data/0")
        ]


def _said(array: np.ndarray) -> Any:
    """Return type, shape and numbers, or the bytes of what are none."""
    if array.dtype.kind == "f":
        return array.dtype.newbyteorder("<").str, array.shape, _Near(array)
    return array.dtype.newbyteorder("<").str, array.shape, array.astype(array.dtype.newbyteorder("<")).tobytes()


KINDS = (
    Kind(name="manifest", files=MANIFESTS, commands=TRACE, ways=JSON, truth=trace_says),
    Kind(
        name="sealed manifest", files=MANIFESTS, commands=TRACE, ways=JSON, truth=trace_says,
        seal=seal_manifest, whole=False,
    ),
    Kind(name="records", files=RECORDS, commands=TRACE, ways=LINES, truth=trace_says),
    Kind(
        name="sealed records", files=RECORDS, commands=TRACE, ways=LINES, truth=trace_says,
        seal=seal_records, whole=False,
    ),
    Kind(name="shards", files=("ref/*/*.h5", "cand/*/npy/*"), commands=TRACE, ways=(alterations.by_byte,), truth=trace_says),
    Kind(
        name="sealed shards", files=("ref/*/*.h5", "cand/*/npy/*"), commands=TRACE, ways=(alterations.by_byte,), truth=trace_says,
        seal=seal_tensor, whole=False,
    ),
    Kind(
        name="npy", files=("a/*.npy", "b/*/*.npy"), commands=(("compare", "a", "b", *COMPARE), ("show", "a")),
        ways=(alterations.by_byte, alterations.by_word), truth=folder_says,
    ),
    Kind(
        name="npz", files=("a.npz", "b.npz"), commands=(("compare", "a.npz", "b.npz", *COMPARE), ("verify", "a.npz")),
        ways=(alterations.by_byte, alterations.as_archive, alterations.as_archive), truth=archive_says(""),
    ),
    Kind(
        name="packed npz", files=("a-packed.npz",), commands=(("compare", "a-packed.npz", "b-packed.npz", *COMPARE),),
        ways=(alterations.by_byte, alterations.as_archive), truth=archive_says("-packed"),
    ),
    Kind(
        name="safetensors", files=("a.safetensors", "b.safetensors"),
        commands=(("compare", "a.safetensors", "b.safetensors", *COMPARE), ("show", "a.safetensors")),
        ways=(alterations.by_byte, alterations.as_safetensors, alterations.as_safetensors), truth=safetensors_say,
    ),
    Kind(
        name="pt", files=("torch-a/dump_tensor_data/*", "torch-b/dump_tensor_data/*"),
        commands=(("compare", "torch-a", "torch-b", *COMPARE), ("show", "torch-a")),
        ways=(alterations.by_byte, alterations.as_archive, alterations.as_archive), truth=msprobe_says("torch"),
    ),
    Kind(
        name="index", files=("sharded-a/*", "sharded-b/*.json"), commands=(("compare", "sharded-a", "sharded-b", *COMPARE), ("show", "sharded-a")),
        ways=(*JSON, alterations.as_safetensors),
    ),
    Kind(
        name="one pt", files=("pt-a/x.pt", "pt-b/x.pt"), commands=(("compare", "pt-a", "pt-b", *COMPARE), ("verify", "pt-a")),
        ways=(alterations.by_byte, alterations.as_archive, alterations.as_archive),
    ),
    Kind(
        name="dump.json", files=("torch-a/dump.json", "mindspore-b/dump.json"),
        commands=(("compare", "mindspore-a", "mindspore-b", *COMPARE), ("compare", "torch-a", "mindspore-b", *COMPARE), ("show", "torch-a")),
        ways=JSON,
    ),
    Kind(
        name="case", files=("case/case.toml",), commands=(("record", "case/case.toml", "--reference", HERE, "--out", "new"),), ways=TEXT,
    ),
    Kind(
        name="tolerances", files=("t.toml",),
        commands=(("judge", "result", "--tolerances", "t.toml"), ("compare", "ref", "cand", "--tolerances", "t.toml", *COMPARE)), ways=TEXT,
    ),
    Kind(name="mapping", files=("map.toml",), commands=(("compare", "ref", "native", "--mapping", "map.toml", *COMPARE),), ways=TEXT),
    Kind(
        name="sealed failing result", files=("failing/result.json",), commands=FAILING, ways=JSON, seal=seal_json("seal"), whole=False,
    ),
    Kind(name="result", files=("result/result.json",), commands=RESULT, ways=JSON),
    Kind(
        name="sealed result", files=("result/result.json",), commands=(*RESULT, ("report", "result")), ways=JSON, seal=seal_json("seal"),
        whole=False,
    ),
    Kind(
        name="repairs", files=("repair.json",),
        commands=(("replay", "ref", "--candidate", HERE, "--repair", "repair.json", "--out", "new"),), ways=JSON,
    ),
    Kind(
        name="fault", files=("fault.py",),
        commands=(("replay", "ref", "--candidate", HERE, "--plant", "fault.py", "--out", "new"),), ways=TEXT,
    ),
)  # fmt: skip
