"""What a trace is worth after its recorder was killed, raised, or filled the disk."""

# ruff: noqa: S311 - the child is this interpreter, and a test draws reproducibly
from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from parity.errors import TraceError
from parity.trace import Trace, TraceWriter, npy
from parity.trace.hdf5 import Hdf5Shard
from parity.trace.npy import FOLDER
from parity.trace.shard_file import ShardFile

from .helpers import STORES, contents, manifest, same, write
from .recorder import COUNT, address, array, record

ROOT = Path(__file__).parents[3]
KILLS = 10


def killed_after(folder: Path, store: str, delay_s: float) -> bool:
    """Start the recorder, kill it after a while; false when it had finished by then."""
    command = [sys.executable, "-m", "tests.parity.trace.recorder", str(folder), store]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n", process.stderr.read()
        time.sleep(delay_s)
        process.kill()
        _, errors = process.communicate()
        assert errors == b""
        return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("store", STORES)
def test_a_recorder_killed_at_any_moment_leaves_what_resume_completes(tmp_path, store):
    record(str(tmp_path / "unbroken"), store, 0.0)
    unbroken = Trace.open(tmp_path / "unbroken")
    folder = tmp_path / "killed"
    delays = random.Random(f"kills of {store}")
    held = 0
    for attempt in range(4 * KILLS):
        # A slow disk may need longer than that for its first shard.
        if attempt >= KILLS // 2 and held:
            break
        if not killed_after(folder, store, delays.uniform(0.0, 0.12) * (1 + attempt // KILLS)):
            break
        part = Trace.open(folder, verify=True, allow_incomplete=True)
        if part.manifest.status == "complete":
            # Killed between its last write and its end.
            break
        with pytest.raises(TraceError, match="not complete"):
            Trace.open(folder)
        run = part.run("float64")
        assert list(run) == list(unbroken.run("float64"))[: len(run)]
        assert len(run) >= held
        held = len(run)
    assert held or Trace.open(folder, verify=True)
    record(str(folder), store, 0.0)
    whole = Trace.open(folder, verify=True)
    assert whole.digest == unbroken.digest
    assert whole.manifest.runs["float64"].records == unbroken.manifest.runs["float64"].records
    assert whole.manifest.runs["float64"].bytes_recorded == unbroken.manifest.runs["float64"].bytes_recorded
    for number in range(COUNT):
        expected = array(number)
        assert same(whole.run("float64").tensor(address(number)), expected)


@pytest.mark.parametrize("store", STORES)
def test_a_run_left_by_an_exception_keeps_its_records_and_is_resumed(tmp_path, store):
    def interrupted():
        writer = TraceWriter(tmp_path / "t", manifest(store))
        with writer.run("r", mode="run", dtype="float64") as run:
            run.tensor("unet.a:output", np.arange(3.0))
            raise KeyError(run.info.dtype)

    with pytest.raises(KeyError, match="float64"):
        interrupted()
    with pytest.raises(TraceError, match=r"not complete \(status 'recording', run r unfinished\)"):
        Trace.open(tmp_path / "t")
    assert list(Trace.open(tmp_path / "t", allow_incomplete=True).run("r")) == ["unet.a:output"]
    writer = TraceWriter(tmp_path / "t", manifest(store), resume=True)
    with writer.run("r", mode="run", dtype="float64") as run:
        assert "unet.a:output" in run
        run.tensor("unet.a:output", np.arange(3.0))
        run.tensor("unet.b:output", np.arange(3.0))
    writer.finish()
    records = Trace.open(tmp_path / "t", verify=True).run("r").records
    assert [each.address for each in records] == ["unet.a:output", "unet.b:output"]
    assert records[0].shard == records[1].shard


@pytest.mark.parametrize(
    ("address", "content"),
    [("unet.conv_in@step=0:input.sample", np.zeros((2, 5), np.float32)), ("scheduler.step@step=0:input.eta", 0.25)],
)
def test_a_resume_with_another_value_is_refused(tmp_path, address, content):
    folder = write(tmp_path / "t")
    writer = TraceWriter(folder, manifest(), resume=True)

    def again():
        with writer.run("float32", mode="run", dtype="float32") as run:
            if isinstance(content, np.ndarray):
                run.tensor(address, content)
            else:
                run.value(address, content)

    with pytest.raises(TraceError, match=r"before the interruption and is .* now; this run does not continue that one"):
        again()


def test_a_resume_of_another_case_is_refused(tmp_path):
    folder = write(tmp_path / "t")
    with pytest.raises(TraceError, match=r"its case_digest is '[0-9a-f]{32}', now 'other'"):
        TraceWriter(folder, manifest(case_digest="other"), resume=True)
    writer = TraceWriter(folder, manifest(), resume=True)
    with pytest.raises(TraceError, match="type float32, only None; now 'free', float64"):
        writer.run("float32", mode="free", dtype="float64")


def test_a_cut_last_line_is_dropped_and_recorded_again(tmp_path):
    folder = tmp_path / "t"
    writer = TraceWriter(folder, manifest(), shard_bytes=1)
    run = writer.run("float32", mode="run", dtype="float32")
    for name, kind, content in contents()[:6]:
        run.tensor(name, content, dtype=kind)
    with pytest.raises(KeyError), run:
        raise KeyError
    lines = (folder / "float32" / "records.jsonl").read_bytes()
    (folder / "float32" / "records.jsonl").write_bytes(lines[:-20])
    assert len(Trace.open(folder, allow_incomplete=True, verify=True).run("float32")) == 5
    writer = TraceWriter(folder, manifest(), resume=True)
    with writer.run("float32", mode="run", dtype="float32") as run:
        for name, kind, content in contents()[:6]:
            run.tensor(name, content, dtype=kind)
    writer.finish()
    assert len(Trace.open(folder, verify=True).run("float32")) == 6


def test_two_recorders_never_write_one_run(tmp_path):
    writer = TraceWriter(tmp_path / "t", manifest())
    with writer.run("r", mode="run", dtype="float32") as run:
        run.tensor("unet.a:output", np.zeros(1))
        other = TraceWriter(tmp_path / "t", manifest(), resume=True)
        with pytest.raises(TraceError, match="is being recorded by another process"):
            other.run("r", mode="run", dtype="float32")
    writer.finish()
    assert len(Trace.open(tmp_path / "t", verify=True).run("r")) == 1


@pytest.mark.parametrize("name", ["float32", "float32/records.jsonl"])
def test_a_resume_follows_no_link_and_removes_nothing_outside(tmp_path, name):
    folder = write(tmp_path / "t")
    path = folder / name
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    if name == "float32":
        (tmp_path / "outside" / "tensors-0007.h5").touch()
    writer = TraceWriter(folder, manifest(), resume=True)
    with pytest.raises(TraceError, match=r"cannot be opened"):
        writer.run("float32", mode="run", dtype="float32")
    assert name != "float32" or (tmp_path / "outside" / "tensors-0007.h5").exists()


@pytest.mark.parametrize("linked", [True, False])
def test_a_resume_removes_unfinished_tensors_but_none_behind_a_link(tmp_path, linked):
    """The records name no file of that folder, so nothing else refuses the link."""
    folder, outside = write(tmp_path / "t"), tmp_path / "outside"
    place = outside if linked else folder / "float32" / FOLDER
    place.mkdir()
    left = place / "unfinished.npy"
    left.touch()
    if linked:
        (folder / "float32" / FOLDER).symlink_to(outside)
    with suppress(TraceError):
        TraceWriter(folder, manifest(), resume=True).run("float32", mode="run", dtype="float32")
    assert left.exists() is linked


FULL = """
import resource, sys
import numpy as np
from parity.errors import TraceError
from parity.trace import TraceWriter
from tests.parity.trace.helpers import manifest
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
writer = TraceWriter(sys.argv[1], manifest(sys.argv[2]), shard_bytes=1000)
try:
    with writer.run("r", mode="run", dtype="float64") as run:
        for number in range(20):
            run.tensor(f"unet.{number}:output", np.full(1000 if number < 10 else 100_000, number, np.float64))
except TraceError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("store", STORES)
def test_a_full_disk_is_one_clear_error_and_finished_shards_stay(tmp_path, store):
    folder = tmp_path / "t"
    found = subprocess.run(
        [sys.executable, "-c", FULL, str(folder), store], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert "r: writing the trace failed: " in found.stderr
    assert "File too large" in found.stderr
    assert "its finished shards are intact" in found.stderr
    part = Trace.open(folder, verify=True, allow_incomplete=True).run("r")
    assert list(part) == [f"unet.{number}:output" for number in range(10)]
    writer = TraceWriter(folder, manifest(store), resume=True)
    with writer.run("r", mode="run", dtype="float64") as run:
        for number in range(20):
            run.tensor(f"unet.{number}:output", np.full(1000 if number < 10 else 100_000, number, np.float64))
    writer.finish()
    assert len(Trace.open(folder, verify=True).run("r")) == 20


def test_a_disk_that_fills_while_hdf5_writes_its_own_part_is_an_error_too(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    shard = Hdf5Shard(tmp_path, 0)
    shard.put("unet.a:output", np.arange(3.0), "float64")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            shard.close()
        shard.abandon()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_surfaces_at_the_next_call(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = TraceWriter(tmp_path / "t", manifest("npy"))

    taken: list[int] = []

    def recorded() -> None:
        with writer.run("r", mode="run", dtype="float64") as run:
            for number in range(100_000):
                run.tensor(f"unet.{number}:output", np.full(20_000, number, np.float64))
                taken.append(number)

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(TraceError, match=r"writing the trace failed: .*File too large"):
            recorded()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(taken) < 2_000  # no more than waits to be written: not the run's end


@pytest.mark.parametrize("store", STORES)
def test_an_interruption_while_the_last_shard_is_written_is_one_and_the_shard_is_whole(tmp_path, store, monkeypatch):
    """HDF5 writes through a file object in Python; an exception that a signal raises in there looks like a full disk."""
    write_to = ShardFile.sync if store == "hdf5" else npy._sync

    def interrupted(*arguments):
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # so that the main thread meets it while this one writes
        write_to(*arguments)

    def recorded():
        with TraceWriter(tmp_path / "t", manifest(store)).run("r", mode="run", dtype="float64") as run:
            run.tensor("unet.a:output", np.arange(3.0))
            monkeypatch.setattr(*((ShardFile, "sync") if store == "hdf5" else (npy, "_sync")), interrupted)

    with pytest.raises(KeyboardInterrupt):
        recorded()
    part = Trace.open(tmp_path / "t", verify=True, allow_incomplete=True)
    assert list(part.run("r")) == ["unet.a:output"]
    assert not part.manifest.runs["r"].complete
    writer = TraceWriter(tmp_path / "t", manifest(store), resume=True)
    with writer.run("r", mode="run", dtype="float64") as run:
        run.tensor("unet.a:output", np.arange(3.0))
    writer.finish()
