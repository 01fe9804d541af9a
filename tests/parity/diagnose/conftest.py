"""Replays of a diagnosis run in this process: the same command line, without the second that a child takes to start."""

from __future__ import annotations

import pytest

from parity.cli import app
from parity.diagnose import counterfactual


@pytest.fixture
def here(monkeypatch):
    """Run each replay of a diagnosis here; the list of their arguments."""
    asked = []

    def run(arguments):
        assert arguments[0] == "replay"
        asked.append(arguments)
        app(arguments, standalone_mode=False)

    monkeypatch.setattr(counterfactual.children, "run", run)
    return asked
