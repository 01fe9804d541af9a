"""What is written is there whole or not at all, and a folder has one writer at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from parity import disk
from parity.errors import OutputError
from tests.disks import files, room

ROOT = Path(__file__).parents[2]
OLD = {"result.json": b"old", "report.html": b"drawn from old", "images/a.png": b"drawn from old"}
NEW = {"result.json": b"new", "report.html": b"drawn from new", "images/a.png": b"drawn from new"}
HOLDER = """
import sys, time
from parity import disk
with disk.claimed(sys.argv[1]):
    print("claimed", flush=True)
    time.sleep(60)
"""


def test_a_file_appears_whole_and_its_folder_is_made(tmp_path):
    disk.write(tmp_path / "new" / "a.json", b"content")
    assert files(tmp_path) == {"new/a.json": b"content"}


def test_a_full_disk_leaves_the_earlier_file_and_nothing_else(tmp_path):
    disk.write(tmp_path / "a.json", b"earlier")
    with room(100), pytest.raises(OutputError, match=r"a\.json cannot be written: File too large; make room"):
        disk.write(tmp_path / "a.json", b"x" * 200)
    assert files(tmp_path) == {"a.json": b"earlier"}


def test_a_block_that_is_left_by_an_exception_leaves_the_earlier_file_and_nothing_else(tmp_path):
    def written_in_part():
        with disk.writing(tmp_path / "a.json") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    disk.write(tmp_path / "a.json", b"earlier")
    with pytest.raises(KeyboardInterrupt):
        written_in_part()
    assert files(tmp_path) == {"a.json": b"earlier"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("file/below/a.json", "Not a directory"),
        ("folder", "it is a folder"),
        ("pipe", "it is no regular file"),
        ("link", "it is no regular file"),
        ("n" * 300, "File name too long"),
        (f"{'n' * 300}/a.json", "File name too long"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused_before_and_while_it_is_written(tmp_path, name, why):
    (tmp_path / "file").write_bytes(b"a user's")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    for refused in (lambda: disk.check_file(tmp_path / name), lambda: disk.write(tmp_path / name, b"ours")):
        with pytest.raises(OutputError, match=rf"cannot be written: {why}") as error:
            refused()
        assert "\n" not in str(error.value)
    assert files(tmp_path) == {"file": b"a user's", "link": b"a user's"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "link", "pipe"]


def test_a_place_is_tried_without_a_trace(tmp_path):
    disk.check_file(tmp_path / "new" / "folder" / "a.json")
    assert not list(tmp_path.iterdir())
    with room(100), pytest.raises(OutputError, match="File too large"):
        disk.check_file(tmp_path / "new" / "folder" / "a.json")
    assert not list(tmp_path.iterdir())


def test_files_that_belong_together_are_replaced_together(tmp_path):
    disk.write_together(tmp_path, OLD)
    disk.write_together(tmp_path, NEW)
    assert files(tmp_path) == NEW


@pytest.mark.parametrize("large", NEW)
def test_a_full_disk_leaves_all_that_belong_together(tmp_path, large):
    disk.write_together(tmp_path, OLD)
    with room(100), pytest.raises(OutputError, match="File too large"):
        disk.write_together(tmp_path, NEW | {large: b"x" * 200})
    assert files(tmp_path) == OLD


def test_an_interruption_at_any_moment_leaves_no_drawing_of_another_file(tmp_path, monkeypatch):
    calls = 0
    replace, unlink = Path.replace, Path.unlink

    def interrupted(at):
        def counted(own):
            def called(*arguments, **options):
                nonlocal calls
                calls += 1
                if calls == at:
                    raise KeyboardInterrupt
                return own(*arguments, **options)

            return called

        monkeypatch.setattr(Path, "replace", counted(replace))
        monkeypatch.setattr(Path, "unlink", counted(unlink))

    seen = []
    for at in range(1, 6):
        folder, calls = tmp_path / str(at), 0
        disk.write_together(folder, OLD)
        interrupted(at)
        with pytest.raises(KeyboardInterrupt):
            disk.write_together(folder, NEW)
        monkeypatch.undo()
        found = files(folder)
        assert found.items() <= OLD.items() or found.items() <= NEW.items()
        assert "result.json" in found
        seen.append(found["result.json"])
    assert seen == [b"old"] * 3 + [b"new"] * 2


def test_a_folder_that_was_claimed_for_nothing_is_gone(tmp_path):
    with disk.claimed(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with disk.claimed(tmp_path / "mine" / "new"):
        disk.write(tmp_path / "mine" / "new" / "a.json", b"a")
    assert files(tmp_path) == {"mine/new/a.json": b"a"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("file", "is a file and no folder"),
        ("file/below", "cannot be written: Not a directory"),
        (f"new/{'n' * 300}", "cannot be written: File name too long"),
    ],
)
def test_what_is_no_place_for_a_folder_is_refused_in_one_line(tmp_path, name, why):
    (tmp_path / "file").write_bytes(b"a user's")
    with pytest.raises(OutputError, match=why) as error, disk.claimed(tmp_path / name):
        pass
    assert "\n" not in str(error.value)
    assert files(tmp_path) == {"file": b"a user's"}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_noticed_when_a_folder_is_claimed(tmp_path):
    with room(100), pytest.raises(OutputError, match="File too large"), disk.claimed(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_has_one_writer_and_whatever_a_killed_one_left_is_removed(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "a")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"claimed\n"
        with (
            pytest.raises(OutputError, match="a is being written by another process; wait"),
            disk.claimed(tmp_path / "a"),
        ):
            pass
        (tmp_path / "a" / f".parity-{holder.pid}-0.partial").write_bytes(b"half")
        holder.send_signal(signal.SIGKILL)
    with disk.claimed(tmp_path / "a"):
        disk.write(tmp_path / "a" / "b.json", b"whole")
    assert files(tmp_path) == {"a/b.json": b"whole"}


def test_of_many_that_claim_a_folder_at_once_one_has_it(tmp_path):
    inside, won, lost = threading.Semaphore(1), [], []

    def claims():
        for _ in range(50):
            try:
                with disk.claimed(tmp_path / "a"):
                    won.append(inside.acquire(blocking=False))
                    inside.release()
            except OutputError as error:
                lost.append(str(error))

    threads = [threading.Thread(target=claims) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) + len(lost) == 300
    assert all(won)
    assert won
    assert all("is being written by another process" in each for each in lost)
    assert not list(tmp_path.glob("a/*"))
