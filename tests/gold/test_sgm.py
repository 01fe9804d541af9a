"""Recordings of Stability-AI's package match in mindone_sdxl: every sampler, with and without guidance, image to image.

With PARITY_SGM_SOURCE set to a checkout the recordings are made anew from the real package, and the same tests run
on them; one more then holds the kept recordings against the new ones.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
SCRIPT = ROOT / "fixtures" / "gold" / "sgm" / "record.py"
GOLD = runpy.run_path(str(SCRIPT))
SOURCE = os.environ.get("PARITY_SGM_SOURCE")
MODES = ("free", "steps", "layers")
# Recordings in which no operator takes part that another one of these has not: what rounding costs is seen there.
SAME_OPERATORS = {
    *(name for name in GOLD["GOLD"] if name.endswith("unguided")), "image-to-image-HeunEDM", "no-negative", "EDM",
    "EulerAncestral-eta",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _model():
    """The model of the recordings, built when it is not there."""
    pytest.importorskip("torch")
    subprocess.run(
        [sys.executable, "-c", f"import runpy; runpy.run_path({str(SCRIPT)!r})['build_model']()"], cwd=ROOT, check=True
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """The kept recordings, unpacked."""
    folder = tmp_path_factory.mktemp("sgm")
    with tarfile.open(GOLD["ARCHIVE"]) as archive:
        archive.extractall(folder, filter="data")
    return folder


def record(name, folder):
    """Record one of them with the real package, in a process of its own."""
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), name, str(folder / name)], cwd=ROOT, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr


@pytest.fixture
def trace(request, kept, tmp_path) -> Path:
    """The recording of a name: kept, or made anew."""
    if SOURCE is None:
        return kept / request.param
    record(request.param, tmp_path)
    return tmp_path / request.param


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """The model as a MindSpore checkpoint, made once."""
    from mindone_sdxl.convert import convert

    path = tmp_path_factory.mktemp("weights") / "least.ckpt"
    convert(ROOT / GOLD["MODEL"] / "model.safetensors", path, config=ROOT / GOLD["MODEL"] / "model.yaml")
    return path


def replayed(trace, out, only, weights=None, dtypes=()):
    """Replay a recording, in both types unless `dtypes` says which, and compare."""
    pytest.importorskip("mindspore")
    from mindone_sdxl.candidate import candidate
    from parity.compare import compare
    from parity.replay import Options, replay
    from parity.trace import Trace

    chosen = Options(only=only, weights=weights, dtypes=dtypes)
    own = replay(trace, candidate, out, chosen, lambda *_: None)
    return compare(Trace.open(trace), [own])


@pytest.mark.parametrize("trace", GOLD["GOLD"], indirect=True)
def test_the_recording_matches(trace, tmp_path, checkpoint, monkeypatch):
    monkeypatch.chdir(ROOT)
    weights = None if trace.name == "float16" else checkpoint  # a float16 run rounds them first
    exact_only = trace.name in SAME_OPERATORS
    questions = ("semantics",) if exact_only else ("semantics", "precision")
    dtypes = ("float64",) if exact_only else ()
    result = replayed(trace, tmp_path / "own", GOLD["taps"](trace.name), weights, dtypes)
    wrong = [
        (pair.mode, pair.dtype, pair.address, pair.verdict, pair.rel_l2)
        for pair in result.pairs
        if pair.verdict != "MATCH"
    ]
    assert result.verdict == "MATCH", wrong[:5]
    measured = {(pair.question, pair.mode) for pair in result.pairs if pair.mode != "audit"}
    assert measured == {(question, mode) for question in questions for mode in MODES}
    assert result.islands == []


@pytest.mark.parametrize("trace", ["EulerAncestral"], indirect=True)
def test_another_discretization_does_not_match(trace, tmp_path, checkpoint, monkeypatch):
    """The same weights and noise on diffusers' timesteps: the check that must say no."""
    from mindone_sdxl import discretization

    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(discretization.DISCRETIZATIONS, "LegacyDDPM", discretization.DiffusersDDPM)
    result = replayed(trace, tmp_path / "own", GOLD["taps"](trace.name), checkpoint, ("float64",))
    assert result.verdict == "MISMATCH"
    assert result.first_divergence.address.startswith("scheduler.set_timesteps")


ANYWHERE = ["predict_noise"] * 5 + ["decode"]


@pytest.mark.parametrize("trace", ["LinearMultistep"], indirect=True)  # it remembers the steps before
@pytest.mark.parametrize(
    ("only", "expected"),
    [("scheduler.step@step=2:output", ["predict_noise"]), ("unet@step=2,call=7:output", ANYWHERE)],
    ids=["recorded", "unknown to the reference"],
)
def test_a_replay_of_one_step_computes_no_other(only, expected, trace, tmp_path, checkpoint, monkeypatch):
    pytest.importorskip("mindspore")
    from mindone_sdxl.candidate import candidate
    from mindone_sdxl.pipeline import StableDiffusionXL
    from parity.compare import compare
    from parity.replay import Options, replay
    from parity.trace import Trace

    calls = []

    def counted(name):
        method = getattr(StableDiffusionXL, name)

        def call(*arguments):
            calls.append(name)
            return method(*arguments)

        monkeypatch.setattr(StableDiffusionXL, name, call)

    counted("predict_noise")
    counted("decode")
    monkeypatch.chdir(ROOT)
    chosen = Options(modes=("steps",), dtypes=("float64",), only=only, weights=checkpoint)
    own = replay(trace, candidate, tmp_path / "own", chosen, lambda *_: None)
    assert calls == expected
    if expected is not ANYWHERE:
        (pair,) = [pair for pair in compare(Trace.open(trace), [own]).pairs if pair.mode == "steps"]
        assert (pair.address, pair.verdict) == (only, "MATCH")


@pytest.mark.parametrize("name", ["HeunEDM", "LinearMultistep", "image-to-image", "whole"])
@pytest.mark.skipif(SOURCE is None, reason="PARITY_SGM_SOURCE names no checkout of Stability-AI/generative-models")
def test_the_kept_recording_is_what_the_package_computes(name, kept, tmp_path):
    from parity.trace import Trace

    record(name, tmp_path)
    new, old = Trace.open(tmp_path / name), Trace.open(kept / name)
    assert set(new.runs) == set(old.runs)
    for run in old.runs:
        assert set(new.run(run)) == set(old.run(run))
        limit = 1e-12 if old.run(run).info.dtype == "float64" else 1e-5
        for record_ in old.run(run).records:
            if record_.kind == "tensor":
                before, after = old.run(run).wide(record_.address), new.run(run).wide(record_.address)
                finite = np.isfinite(before)
                scale = np.abs(before[finite]).max(initial=1e-30)
                assert np.abs(after[finite] - before[finite]).max(initial=0.0) <= limit * scale, record_.address
