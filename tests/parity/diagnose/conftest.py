"""Replays of a diagnosis run in this process: the same command line, without the second that a child takes to start."""

from __future__ import annotations

import subprocess

import pytest

from parity.cli import app
from parity.diagnose import counterfactual


@pytest.fixture
def here(monkeypatch):
    """Run each replay of a diagnosis here; the list of their arguments."""
    asked = []

    def run(command, *, check):
        assert command[1:4] == ["-m", "parity", "replay"]
        asked.append(command[3:])
        app(command[3:], standalone_mode=False)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(counterfactual.subprocess, "run", run)
    return asked
