"""How a process of this program ended is said in words; `tests/parity/cli/test_signals.py` ends whole commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parity import children
from parity.cli import _failed
from parity.errors import ChildError, ChildInputError


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "failed with exit code 1 (see above)"),
        (-9, "was killed by signal 9 (SIGKILL); out of memory?"),
        (-15, "was killed by signal 15 (SIGTERM)"),
        (-64, "was killed by signal 64 (SIGRTMAX)"),
    ],
)
def test_an_ending_is_said_by_name(code, words):
    assert children.ending(code) == words


def test_a_module_that_fails_is_an_error_and_one_that_was_interrupted_an_interruption():
    with pytest.raises(ChildError, match="failed with exit code 1"):
        children.run([], module="tests.none")
    with pytest.raises(ChildInputError, match="failed with exit code 2"):
        children.run(["2"], module="tests.parity.ending")
    with pytest.raises(KeyboardInterrupt):
        children.run(["130"], module="tests.parity.ending")


def test_a_process_that_does_not_end_when_it_is_asked_to_is_killed_and_what_it_has_started_too(monkeypatch):
    monkeypatch.setattr(children, "_GRACE_S", 0.01)
    deaf = (
        "import signal, subprocess, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, process_group=0)
    own = int(process.stdout.readline())
    children.stop([process])
    assert process.wait() == -9
    assert process.stdout.read() == b""  # nobody has the pipe any more
    assert not Path(f"/proc/{own}/fd").exists() or not list(Path(f"/proc/{own}/fd").iterdir())
    process.stdout.close()


def test_what_a_child_has_said_is_no_second_error(capsys):
    assert (_failed(ChildInputError("the replay failed")), _failed(ChildError("the replay failed"))) == (2, 3)
    assert capsys.readouterr().err == "the replay failed\nerror: the replay failed\n"
