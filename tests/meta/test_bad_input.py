"""Bad input gives one clear error and exit code 2, and loses nothing that was recorded."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity.trace import Manifest, Trace, TraceWriter
from parity.trace.digests import digest_of_case

ROOT = Path(__file__).parents[2]
TINY = ROOT / "fixtures" / "cases" / "tiny.toml"


def parity(*arguments, **environment):
    command = [sys.executable, "-m", "parity", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, check=False
    )


def refused(finished, *words):
    """One line of error, exit code 2, no traceback."""
    lines = [line for line in finished.stderr.splitlines() if line.startswith("error: ")]
    assert finished.returncode == 2, finished.stderr
    assert len(lines) == 1, finished.stderr
    assert "Traceback" not in finished.stderr
    for word in words:
        assert word in lines[0], lines[0]


def small_trace(folder, side="reference", *, model="m", reference=None):
    case = {"schema": 1, "model": {"folder": model}, "precision": {"dtype": "float32"}}
    manifest = Manifest(
        side=side, name=side, case=case, case_digest=digest_of_case(case), reference_digest=reference,
    )  # fmt: skip
    writer = TraceWriter(folder, manifest)
    name, mode = ("float64", "run") if side == "reference" else ("free-float64", "free")
    with writer.run(name, mode=mode, dtype="float64") as run:
        run.tensor("unet.conv_in@step=0:output", np.arange(12.0).reshape(1, 3, 2, 2))
    writer.finish()
    return Trace.open(folder)


def test_a_case_with_an_unknown_key(tmp_path):
    path = tmp_path / "case.toml"
    path.write_text(TINY.read_text().replace("steps = 4", "step = 4"))
    refused(parity("run", path), "case.toml", "'step'", "did you mean 'steps'?")


def test_a_missing_weights_folder(tmp_path):
    path = tmp_path / "case.toml"
    path.write_text(TINY.read_text().replace("fixtures/tiny", "fixtures/none"))
    refused(parity("run", path), "fixtures/none is not there")


def test_a_trace_cut_in_half(tmp_path):
    reference = small_trace(tmp_path / "reference")
    small_trace(tmp_path / "candidate", "candidate", reference=reference.digest)
    shard = next((tmp_path / "reference" / "float64").glob("*.h5"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    refused(parity("compare", tmp_path / "reference", tmp_path / "candidate"), str(shard), "unet.conv_in")


def test_records_cut_in_half(tmp_path):
    reference = small_trace(tmp_path / "reference")
    small_trace(tmp_path / "candidate", "candidate", reference=reference.digest)
    records = tmp_path / "candidate" / "free-float64" / "records.jsonl"
    records.write_bytes(records.read_bytes()[:40])
    refused(parity("compare", tmp_path / "reference", tmp_path / "candidate"), str(records))


def test_a_trace_of_another_case(tmp_path):
    reference = small_trace(tmp_path / "reference")
    small_trace(tmp_path / "candidate", "candidate", model="another", reference=reference.digest)
    refused(
        parity("compare", tmp_path / "reference", tmp_path / "candidate"),
        "another case",
        "replay it from this reference",
    )


def test_a_folder_that_is_no_trace(tmp_path):
    refused(parity("compare", tmp_path / "none", tmp_path / "none"), "none is not a folder")


def test_a_result_that_is_not_there(tmp_path):
    refused(parity("diagnose", tmp_path), "result.json is not there")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dtype", "float31"), ("float31", "did you mean 'float32'?")),
        (("--size", "big"), ("WIDTHxHEIGHT",)),
        (("--plant", "text-projection-transposed"), ("did you mean 'text-projection-untransposed'?",)),
    ],
)
def test_an_option_with_a_wrong_value(arguments, words):
    refused(parity("run", TINY, *arguments), *words)


@pytest.mark.parametrize("name", ["diffuser", "somewhere:thing"])
def test_a_reference_that_does_not_exist(tmp_path, name):
    refused(parity("record", TINY, "--reference", name, "--out", tmp_path / "trace"), name)


def blocked(folder, framework):
    """A folder whose module of this name cannot be imported."""
    (folder / framework).mkdir(parents=True)
    (folder / framework / "__init__.py").write_text(
        f'raise ModuleNotFoundError("No module named {framework}", name="{framework}")'
    )
    return str(folder)


def test_torch_is_not_installed(tmp_path, tiny_model):
    del tiny_model
    finished = parity("record", TINY, "--out", tmp_path / "trace", PYTHONPATH=blocked(tmp_path / "path", "torch"))
    refused(finished, "torch", "[torch]")


@pytest.mark.full
def test_mindspore_is_not_installed(tmp_path, recorded):
    finished = parity(
        "replay", recorded, "--out", tmp_path / "trace", PYTHONPATH=blocked(tmp_path / "path", "mindspore")
    )
    refused(finished, "mindspore", "[mindspore]")


@pytest.mark.full
def test_a_checkpoint_with_tensors_removed_and_added(tmp_path, recorded):
    from mindone_sdxl import config, files, weights

    model = ROOT / "fixtures" / "tiny"
    state = weights.diffusers_to_mindspore(files.read_diffusers(model), config.from_diffusers(model))
    removed = state.pop("conditioner.embedders.1.model.text_projection")
    state["conditioner.embedders.1.model.text_projektion"] = removed
    files.write(tmp_path / "weights.safetensors", state)
    finished = parity(
        "replay", recorded, "--weights", tmp_path / "weights.safetensors", "--out", tmp_path / "trace", "--mode", "free"
    )
    refused(finished, "weights.safetensors", "2 tensors")
    assert "missing conditioner.embedders.1.model.text_projection" in finished.stderr
    assert "unexpected conditioner.embedders.1.model.text_projektion" in finished.stderr


def test_what_was_recorded_stays_when_the_comparison_is_refused(tmp_path):
    reference = small_trace(tmp_path / "reference")
    small_trace(tmp_path / "candidate", "candidate", model="another", reference=reference.digest)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    parity("compare", tmp_path / "reference", tmp_path / "candidate", "--out", tmp_path / "result")
    shutil.rmtree(tmp_path / "result", ignore_errors=True)
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_a_defect_in_an_adapter_is_named_with_its_line_and_is_no_mismatch(tmp_path):
    small_trace(tmp_path / "trace")
    (tmp_path / "m").mkdir()
    (tmp_path / "broken.py").write_text(
        "class Broken:\n    name, build = 'broken', None\n\n    def alignment(self, request):\n        return 1 / 0\n\n\ncandidate = Broken()\n"
    )
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    finished = parity(
        "replay", tmp_path / "trace", "--candidate", "broken:candidate", "--out", tmp_path / "out", PYTHONPATH=path
    )
    refused(finished, "the candidate broken:candidate fails at", "broken.py, line 5, in alignment: ZeroDivisionError")


def test_a_recorder_that_fails_takes_the_waiting_replays_with_it(tmp_path, tiny_model):
    del tiny_model
    finished = parity("run", TINY, "--out", tmp_path / "run", "--reference", "somewhere:thing")
    refused(finished, "somewhere")
    assert not (tmp_path / "run").exists()
    running = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path) in commandline(path)]
    assert not running


def commandline(path):
    try:
        return path.read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
