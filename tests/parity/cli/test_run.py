"""`parity run` as a user runs it, with a program in numpy and its port: every process, and no framework."""

from __future__ import annotations

import json
import shutil

import pytest

from parity import disk
from parity import result as results
from parity.cli import run as runner
from parity.errors import TraceError
from parity.trace import Manifest, Trace, TraceWriter
from tests.conftest import run_parity
from tests.parity import numpy_program

SIDES = ("--reference", "tests.parity.numpy_program:reference", "--candidate", "tests.parity.numpy_candidate:candidate")
PLANT = "def checkpoint(state):\n    state['net.attn.q'] = state['net.attn.q'].T\n"


@pytest.fixture
def case(tmp_path):
    """A case with its weights."""
    return numpy_program.write(tmp_path / "program")


def test_a_healthy_port_is_recorded_replayed_compared_and_reported(case, tmp_path):
    done = run_parity(tmp_path / "out", "run", case, *SIDES, "--out", tmp_path / "out")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("MATCH")
    result = results.read(done.folder)
    assert {(pair.mode, pair.dtype) for pair in result.pairs if pair.mode != "audit"} == {
        (mode, dtype) for mode in ("free", "steps", "layers") for dtype in ("float64", "float32")
    }
    assert {path.name for path in done.folder.iterdir()} >= {"report.html", "junit.xml", "result.json", "reference"}
    assert Trace.open(done.folder / "reference", verify=True).manifest.status == "complete"


def test_a_planted_fault_is_named_located_and_proven(case, tmp_path):
    (tmp_path / "fault.py").write_text(PLANT)
    done = run_parity(
        tmp_path / "out", "run", case, *SIDES, "--out", tmp_path / "out", "--plant", tmp_path / "fault.py"
    )
    assert done.code == 1, done.stderr
    (cause,) = results.read(done.folder).causes
    assert (cause.slug, cause.address, cause.confirmed) == ("transposed-weight", "unet.attn.to_q", True)


ONE = ("--mode", "free", "--dtype", "float32")


def test_a_replay_that_fails_while_the_trace_is_recorded_leaves_the_whole_trace_which_resume_takes(case, tmp_path):
    chosen = ("--candidate", "somewhere:thing", *ONE)
    done = run_parity(tmp_path / "out", "run", case, *SIDES[:2], *chosen, "--out", tmp_path / "out")
    assert done.code == 2, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ") and "somewhere" in line]
    assert f"{done.folder} keeps what is complete; the same command with --resume goes on from there" in done.stderr
    assert Trace.open(done.folder / "reference", verify=True).runs == ("float32",)
    loud = ("--candidate", "tests.parity.cli.sleeping:loud")
    again = run_parity(done.folder, "run", case, *SIDES[:2], *loud, *ONE, "--resume", "--json", "--out", done.folder)
    assert "recorded already" in again.stderr
    assert (again.code, results.read(done.folder).verdict) == (0, "MATCH"), again.stderr
    assert json.loads(again.stdout)["verdict"] == "MATCH"
    assert again.stderr.count("a library says so") == 2


def test_a_run_that_begins_anew_removes_the_traces_of_the_one_before_and_nothing_else(tmp_path):
    for name in ("reference", "candidate-float32", "again"):
        TraceWriter(tmp_path / name, Manifest(side="reference", name="n", case={}, case_digest="")).finish()
    disk.write(tmp_path / "notes.txt", b"mine")
    runner._take_over(tmp_path, resume=True)
    assert len(list(tmp_path.iterdir())) == 4
    runner._take_over(tmp_path, resume=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "notes.txt"]
    (tmp_path / "notes.txt").unlink()
    shutil.rmtree(tmp_path / "again")
    disk.write(tmp_path / "candidate-float64" / ".parity-1-2.partial", b"half")
    (tmp_path / "reference").mkdir()
    runner._take_over(tmp_path, resume=False)  # killed processes have left no more than this
    disk.write(tmp_path / "reference" / "manifest.json", b'{"name": "a web page"}')
    with pytest.raises(TraceError, match="is no manifest of a trace"):
        runner._take_over(tmp_path, resume=False)


def test_nothing_runs_in_a_folder_of_someones_own_or_of_another_run(case, tmp_path):
    done = run_parity(tmp_path, "run", case, *SIDES, "--out", case.parent)
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert error.endswith("holds 'case.toml' and no run; give a folder that is new, empty, or an earlier run's")
    assert sorted(path.name for path in case.parent.iterdir()) == ["case.toml", "weights"]
    with disk.claimed(tmp_path / "out"):
        done = run_parity(tmp_path, "run", case, *SIDES, "--out", tmp_path / "out")
    assert done.code == 2
    assert done.stderr == (
        f"error: {tmp_path / 'out'} is being written by another process; wait for it, or give another --out\n"
    )


@pytest.mark.timeout(120)
def test_a_reference_that_ends_the_process_is_said_and_not_waited_for(case, tmp_path, monkeypatch):
    (tmp_path / "leaving.py").write_text("import os\nos._exit(0)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    done = run_parity(
        tmp_path / "out", "run", case, "--reference", "leaving:reference", *SIDES[2:], "--out", tmp_path / "out"
    )
    assert done.code == 3
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "ended with exit code 0 and no whole trace is in" in error


def test_a_candidate_that_lacks_a_cell_is_refused_in_one_line(case, tmp_path):
    recorded = run_parity(tmp_path / "trace", "record", case, *SIDES[:2], "--out", tmp_path / "trace")
    assert recorded.code == 0, recorded.stderr
    lacking = "tests.parity.cli.lacking:candidate"
    done = run_parity(tmp_path, "replay", recorded.folder, "--candidate", lacking, "--out", tmp_path / "out")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.code, "Traceback" in done.stderr) == (2, False)
    assert "no cell 'net.lay', did you mean 'net.ln'?" in line
