"""What the port writes is there whole or not at all; no framework takes part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mindone_sdxl import disk, files
from mindone_sdxl.command import ended
from mindone_sdxl.convert import convert
from mindone_sdxl.errors import InputError, OutputError, SDXLError
from tests.disks import files as files_below
from tests.disks import room

ROOT = Path(__file__).parents[2]
STATE = {"a": np.arange(1000.0)}
HOLDER = """
import sys, time
from pathlib import Path
from mindone_sdxl import disk
with disk.whole(Path(sys.argv[1])) as partial:
    partial.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("name", ["w.safetensors", "w.ckpt"])
def test_a_full_disk_leaves_the_earlier_weights_and_nothing_else(tmp_path, name):
    files.write(tmp_path / name, {"a": np.zeros(3)})
    before = files_below(tmp_path)
    with room(500), pytest.raises(OutputError, match=rf"{name} cannot be written: File too large; make room"):
        files.write(tmp_path / name, STATE)
    assert files_below(tmp_path) == before


def test_a_file_is_written_by_one_process_and_what_a_killed_one_left_is_replaced(tmp_path):
    path = tmp_path / "w.ckpt"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"writing\n"
        with pytest.raises(OutputError, match=r"w\.ckpt is being written by another process"):
            files.write(path, STATE)
        holder.send_signal(signal.SIGKILL)
    assert files_below(tmp_path) == {"w.ckpt.partial": b"half"}
    files.write(path, STATE)
    assert np.array_equal(files.read(path)["a"], STATE["a"])
    assert [each.name for each in tmp_path.iterdir()] == ["w.ckpt"]


def test_numbers_go_on_behind_the_last_one_and_replace_none(tmp_path):
    for name in ("000000000.png", "000000004.png", "notes.png"):
        (tmp_path / name).write_bytes(b"a user's")
    assert disk.reserved(tmp_path, ".png").name == "000000005.png"
    assert disk.reserved(tmp_path / "new", ".png").name == "000000000.png"


def test_a_place_is_tried_without_a_trace(tmp_path):
    disk.check_folder(tmp_path / "new" / "folder")
    with room(100), pytest.raises(OutputError, match="File too large"):
        disk.check_folder(tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_bytes(b"a user's")
    for name in ("file/below", "n" * 300):
        with pytest.raises(OutputError, match="cannot be written"):
            disk.check_folder(tmp_path / name)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("mine", "holds 'notes.txt'; give a folder that is new or empty"),
        ("mine/notes.txt", "cannot be written: Not a directory"),
        ("mine/notes.txt/w.ckpt", "cannot be written: Not a directory"),
        ("half", "half.partial is there: another process writes it, or one was killed"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_weights_are_read(tmp_path, output, words):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_bytes(b"mine")
    (tmp_path / "half.partial").mkdir()
    with pytest.raises(OutputError, match=words):
        convert(tmp_path / "none.ckpt", tmp_path / output)
    assert files_below(tmp_path) == {"mine/notes.txt": b"mine"}


def test_a_command_ends_with_what_became_of_it(capsys):
    def refused():
        message = "too small"
        raise InputError(message)

    def interrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        return ["not reached"]

    before = signal.getsignal(signal.SIGTERM)
    assert (ended(lambda: ["a", "b"]), ended(refused), ended(interrupted)) == (0, 2, 130)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("a\nb\n", "error: too small\ninterrupted\n")
    assert signal.getsignal(signal.SIGTERM) is before
    assert issubclass(OutputError, SDXLError)


def test_a_reader_that_has_left_changes_nothing():
    program = "import sys\nfrom mindone_sdxl.command import ended\nsys.exit(ended(lambda: ['x' * 70000] * 9))"
    script = f'{sys.executable} -c "{program}" | head -c 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["/bin/bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
