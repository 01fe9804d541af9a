"""Ctrl-C, SIGTERM, a closed terminal and a killed parent end every process of a command, in good order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.parity import numpy_program

ROOT = Path(__file__).parents[3]
SLEEPING = "tests.parity.cli.sleeping"
RUN = ("--reference", f"{SLEEPING}:reference", "--candidate", f"{SLEEPING}:candidate", "--dtype", "float32")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A case with its weights."""
    return numpy_program.write(tmp_path_factory.mktemp("case") / "program")


class Command:
    """A command whose sides sleep, once `count` of its processes have said that they do."""

    def __init__(self, *arguments, count):
        command = [sys.executable, "-m", "parity", *map(str, arguments)]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said, self.waiting = [], []
        while len(self.waiting) < count:
            line = self.process.stderr.readline()
            assert line, "".join(self.said)
            self.said.append(line)
            self.waiting += [int(number) for number in re.findall(r"waiting (\d+)", line)]

    def ended(self):
        """The exit code, and all that was said."""
        _, rest = self.process.communicate()
        return self.process.returncode, "".join(self.said) + rest


def gone(number):
    """Wait until a process has ended, for as long as the test may take."""
    while True:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interruption_without_a_traceback(case, tmp_path, number):
    command = Command("record", case, "--out", tmp_path / "out", *RUN[:2], count=1)
    command.process.send_signal(number)
    code, said = command.ended()
    assert code == 130
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_of_a_run_outlives_it(case, tmp_path, number):
    command = Command("run", case, "--out", tmp_path / "out", *RUN, count=1)
    children = Path(f"/proc/{command.process.pid}/task/{command.process.pid}/children").read_text().split()
    assert len(children) == 2  # the recorder, and a replay beside it
    command.process.send_signal(number)
    code, said = command.ended()
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert "Traceback" not in said
    assert all(map(gone, children))


def test_a_second_signal_ends_a_command_that_does_not_let_go(tmp_path):
    program = (
        "import signal, sys, time\nfrom parity.cli import signals\nsignals.listen()\n"
        "try:\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('closing', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for word in (b"ready\n", b"closing\n"):
        assert process.stdout.readline() == word
        process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert (process.returncode, said) == (130, b"")


def test_a_signal_that_is_ignored_stays_so(monkeypatch):
    from parity.cli import signals

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signals.listen()
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_a_killed_child_is_said_by_name_and_an_earlier_result_is_not_taken_for_its(case, tmp_path):
    earlier = tmp_path / "out" / "result.json"
    earlier.parent.mkdir()
    earlier.write_bytes(b"earlier")
    command = Command("run", case, "--out", tmp_path / "out", "--reference", f"{SLEEPING}:killed", *RUN[2:], count=0)
    code, said = command.ended()
    (error,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert code == 3
    assert f"{earlier} and its report are an earlier run's" in said
    assert earlier.read_bytes() == b"earlier"
    assert error.startswith("error: `parity record` was killed by signal 9 (SIGKILL); out of memory?; run it alone")
    assert "Traceback" not in said


def test_an_error_that_a_library_makes_of_an_interruption_is_one(case, tmp_path):
    command = Command("record", case, "--out", tmp_path / "out", "--reference", f"{SLEEPING}:deaf", count=1)
    command.process.send_signal(signal.SIGTERM)
    code, said = command.ended()
    assert (code, said.splitlines()[-1]) == (130, "interrupted")
    assert "Traceback" not in said
