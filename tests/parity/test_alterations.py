"""Whatever is altered in what was recorded or judged, at a random place: one error, or it was not used and changed nothing."""

# ruff: noqa: S311 - reproducible draws
from __future__ import annotations

import json
import random
import shutil

import msgspec
import pytest
from typer.testing import CliRunner

from parity import result as results
from parity.cli import app
from parity.compare import compare, judge
from parity.diagnose import causes_of
from parity.diagnose.evidence import Evidence
from parity.errors import InputError, TraceError
from parity.replay import Options, replay
from parity.trace import Trace, pack
from tests.parity.diagnose.faults import FAULTS, traces
from tests.parity.numpy_candidate import candidate
from tests.parity.trace.helpers import resealed

SIDES = ("reference", "candidate")
SEEDS = range(12)


@pytest.fixture(scope="module")
def folders(program, port, tmp_path_factory):
    """Copies of both sides, to be altered and put back."""
    base = tmp_path_factory.mktemp("altered")
    for side, trace in zip(SIDES, (program, port), strict=True):
        shutil.copytree(trace.folder, base / side)
    return {side: base / side for side in SIDES}


@pytest.fixture(scope="module")
def untouched(folders):
    """The result of the traces as they were recorded."""
    return compared(folders)


@pytest.fixture
def alter(folders):
    """Write other bytes into a file of a side; they are put back in the end."""
    before = []

    def change(side, name, altered):
        path = folders[side] / name
        before.append((path, path.read_bytes()))
        path.write_bytes(altered(path.read_bytes()))
        assert path.read_bytes() != before[-1][1]

    yield change
    for path, data in reversed(before):
        path.write_bytes(data)


def compared(folders):
    """The pairs and the verdict."""
    found = compare(Trace.open(folders["reference"]), [Trace.open(folders["candidate"])], jobs=1)
    return found.verdict, msgspec.to_builtins(found.pairs)


def leaves(value, place=()):
    """Yield the place of every plain value in nested JSON."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*place, key))
    else:
        yield place


def another(draw, value):
    """Return another plain value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + draw.choice((1, -1, 0.5 if isinstance(value, float) else 7))
    if isinstance(value, str) and value:
        place = draw.randrange(len(value))
        return value[:place] + chr((ord(value[place]) ^ 1) & 0x7F) + value[place + 1 :]
    return draw.choice((0, "x"))


def with_another(draw, content, below=()):
    """Return JSON with one plain value changed, somewhere below a place."""
    altered = json.loads(json.dumps(content))
    inside = altered
    for key in below:
        inside = inside[key]
    *way, last = draw.choice(list(leaves(inside)))
    for key in way:
        inside = inside[key]
    inside[last] = another(draw, inside[last])
    return altered


TENSORS = [(side, run) for side, runs in (
    ("reference", ("float32", "float64", "forced", "steps")),
    ("candidate", ("free-float32", "free-float64", "layers-float32", "layers-float64", "steps-float32", "steps-float64")),
) for run in runs]  # fmt: skip


def test_every_run_is_altered(program, port):
    assert {(side, run) for side, trace in zip(SIDES, (program, port), strict=True) for run in trace.runs} == set(
        TENSORS
    )


@pytest.mark.parametrize(("side", "run"), TENSORS)
def test_an_altered_tensor_never_passes(side, run, folders, untouched, alter):
    draw = random.Random(f"{side} {run}")
    records = [record for record in Trace.open(folders[side]).run(run).records if record.offset is not None]
    outputs = [record for record in records if record.is_output_tensor]
    inputs = [record for record in records if not record.is_output_tensor] or outputs
    refused = 0
    for record in [*draw.sample(outputs, 4), *draw.sample(inputs, min(4, len(inputs)))]:
        place = record.offset + draw.randrange(4)

        def flipped(data, place=place):
            return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]

        path = f"{run}/{record.shard}"
        whole = (folders[side] / path).read_bytes()
        alter(side, path, flipped)
        with pytest.raises(TraceError, match=r"is damaged or was changed: its bytes have digest"):
            Trace.open(folders[side], verify=True)
        try:
            assert compared(folders) == untouched, record.address
        except TraceError as error:
            refused += "is damaged or was changed: its bytes have digest" in str(error)
        (folders[side] / path).write_bytes(whole)
    assert refused >= 3  # what is compared; a run's inputs are no part of every comparison


def test_an_altered_input_is_not_injected(folders, alter, tmp_path):
    run = Trace.open(folders["reference"]).run("float64")
    record = run.record("prepare_latents:input.noise")
    alter(
        "reference",
        f"float64/{record.shard}",
        lambda data: data[: record.offset] + bytes([data[record.offset] ^ 1]) + data[record.offset + 1 :],
    )
    with pytest.raises(TraceError, match=r"'prepare_latents:input.noise' is damaged or was changed"):
        replay(
            folders["reference"],
            candidate,
            tmp_path / "out",
            Options(modes=("free",), dtypes=("float64",)),
            lambda *_: None,
        )


def test_an_altered_injection_file_is_found_and_does_not_travel(folders, alter, tmp_path):
    trace = Trace.open(folders["reference"])
    name = random.Random(0).choice(list(trace.manifest.injection))
    alter("reference", name, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(TraceError, match=rf"{name} is damaged or was changed"):
        Trace.open(folders["reference"], verify=True)
    with pytest.raises(TraceError, match=rf"{name} is damaged or was changed"):
        pack(trace, ".*", tmp_path / "out")


def test_an_altered_input_is_no_evidence(tmp_path):
    fault = FAULTS["norm-epsilon"]
    reference, other = traces(tmp_path, *fault[:5])
    result = compare(reference, [other])
    record = reference.run("float64").record("text_encoder_2.ln:input.input")
    path = reference.folder / "float64" / record.shard
    data = bytearray(path.read_bytes())
    data[record.offset] ^= 1
    path.write_bytes(data)
    again = [Trace.open(trace.folder) for trace in (reference, other)]
    with pytest.raises(TraceError, match=r"'text_encoder_2.ln:input.input' is damaged or was changed"):
        causes_of(Evidence(result, again[0], again[1:]))


def test_an_altered_tensor_is_not_shown(folders, alter):
    record = Trace.open(folders["reference"]).run("float32").record("postprocess:output")
    alter(
        "reference",
        f"float32/{record.shard}",
        lambda data: data[: record.offset] + bytes([data[record.offset] ^ 1]) + data[record.offset + 1 :],
    )
    done = CliRunner().invoke(app, ["show", str(folders["reference"]), record.address])
    assert "is damaged or was changed" in str(done.exception)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seed", SEEDS)
def test_an_altered_value_of_a_manifest_is_refused(side, seed, folders, alter):
    draw = random.Random(f"{side} {seed}")
    content = json.loads((folders[side] / "manifest.json").read_bytes())
    keys = [key for key in content if any(leaves(content[key]))]
    part = draw.choice(
        [*keys, "weights", "weights", "case", "runs", "alignment" if side == "candidate" else "attributes"]
    )
    below = (part,) if isinstance(content[part], (dict, list)) else ()
    alter(side, "manifest.json", lambda _: json.dumps(with_another(draw, content, below)).encode())
    with pytest.raises(InputError):
        Trace.open(folders[side])


@pytest.mark.parametrize("seed", SEEDS)
def test_another_case_is_refused_even_under_a_new_seal(seed, folders, alter):
    draw = random.Random(seed)
    side = draw.choice(SIDES)
    content = json.loads((folders[side] / "manifest.json").read_bytes())
    alter(side, "manifest.json", lambda _: json.dumps(with_another(draw, content, ("case",))).encode())
    resealed(folders[side], lambda _: None)
    with pytest.raises(TraceError, match=r"holds another case than was run|is no manifest of a trace: "):
        Trace.open(folders[side])


@pytest.mark.parametrize(
    "field", ["address", "stage", "kind", "shape", "dtype", "digest", "shard", "offset", "value", "native", "island"]
)
def test_an_altered_record_is_refused(field, folders, alter):
    draw = random.Random(field)
    for side, run in TENSORS:
        lines = (folders[side] / run / "records.jsonl").read_bytes().splitlines()
        number = draw.randrange(len(lines))
        record = json.loads(lines[number])
        record[field] = with_another(draw, [record[field]])[0] if record[field] != [] else [1]
        lines[number] = json.dumps(record).encode()
        alter(side, f"{run}/records.jsonl", lambda _, lines=lines: b"\n".join(lines) + b"\n")
        with pytest.raises(TraceError, match=r"records.jsonl is damaged or was changed"):
            Trace.open(folders[side])


def test_a_lost_line_and_one_too_many_are_refused(folders, alter):
    for side, run in TENSORS:
        alter(side, f"{run}/records.jsonl", lambda data: data[data.index(b"\n") + 1 :])
        with pytest.raises(TraceError, match=r"records.jsonl is damaged or was changed"):
            Trace.open(folders[side])


@pytest.mark.parametrize("seed", range(40))
def test_an_altered_result_is_not_judged(seed, saved, tmp_path):
    draw = random.Random(seed)
    content = json.loads(saved.read_bytes())
    part = draw.choice(["pairs", "verdict", "counts", "coverage", "checks", "traces", "price", "provenance", "case"])
    below = (part,) if isinstance(content[part], (dict, list)) and any(leaves(content[part])) else ()
    path = tmp_path / "result.json"
    path.write_bytes(json.dumps(with_another(draw, content, below), indent=1).encode() + b"\n")
    with pytest.raises(InputError):
        results.read(path)


@pytest.fixture(scope="module")
def saved(folders, tmp_path_factory):
    """A result as it was written."""
    path = tmp_path_factory.mktemp("saved") / "result.json"
    found = compare(Trace.open(folders["reference"]), [Trace.open(folders["candidate"])], jobs=1)
    results.write(found, path)
    assert judge(results.read(path), []).verdict == found.verdict
    return path
