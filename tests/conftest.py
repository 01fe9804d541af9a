"""What several test packages share: the main job, run once in child processes as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[1]
SLOW_FIRST = ("tests/meta", "tests/gold", "tests/mindone_sdxl", "tests/torch_refs", "tests/ms_candidates")
"""Folders whose files are handed out first, so that no worker begins a long file when the other one ends."""
settings.register_profile("day", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("night", max_examples=5_000, deadline=None, print_blob=True)
settings.load_profile("day")  # or what --hypothesis-profile says

NEEDED = {"torch": ("torch", "diffusers", "transformers"), "mindspore": ("mindspore",)}
"""What a test with a marker needs; without it the test is skipped."""


def pytest_configure() -> None:
    """Give a worker of pytest-xdist cores of its own, before it loads a library that counts them.

    MindSpore's main thread waits by yielding: one process keeps two cores busy, and two on the same cores hinder each
    other, while two that stay apart are done in about half the time.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if worker.startswith("gw") and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) >= count:
            os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) :: count])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow folders in front; within a folder the order stays."""

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(ROOT).as_posix()
        found = [number for number, name in enumerate(SLOW_FIRST) if folder.startswith(name)]
        return found[0] if found else len(SLOW_FIRST)

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a framework that is not here."""
    for marker, names in NEEDED.items():
        if item.get_closest_marker(marker):
            _skip_without(names, marker)


def _skip_without(names: Iterable[str], extra: str) -> None:
    """Skip a test where one of the packages of an extra is not here."""
    lacking = [name for name in names if not is_here(name)]
    if lacking:
        pytest.skip(f"needs the extra [{extra}]: {', '.join(lacking)} cannot be imported")


@cache
def is_here(name: str) -> bool:
    """Tell whether a package is installed."""
    return find_spec(name) is not None


class Finished(NamedTuple):
    """A finished command and the folder that it wrote."""

    code: int
    stdout: str
    stderr: str
    folder: Path


def run_parity(folder: Path, *arguments: object) -> Finished:
    """Run the command line in a child process, in the root of the repository."""
    command = [sys.executable, "-m", "parity", *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return Finished(finished.returncode, finished.stdout, finished.stderr, folder)


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """The tiny model's folder, built when it is not there."""
    folder = ROOT / "fixtures" / "tiny"
    if not (folder / "model_index.json").exists():
        _skip_without(NEEDED["torch"], "torch")
        subprocess.run([sys.executable, "-m", "torch_refs.tiny", str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def main_job(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """`parity run fixtures/cases/tiny.toml`, once: here, or before, in the folder that PARITY_MAIN_JOB names."""
    del tiny_model
    for marker, names in NEEDED.items():
        _skip_without(names, marker)
    if "PARITY_MAIN_JOB" in os.environ:
        folder = Path(os.environ["PARITY_MAIN_JOB"])
        return Finished(*json.loads((folder / "finished.json").read_text()), folder)
    folder = tmp_path_factory.mktemp("main") / "tiny"
    return run_parity(folder, "run", "fixtures/cases/tiny.toml", "--out", folder)


@pytest.fixture(scope="session")
def recorded(main_job: Finished) -> Path:
    """The main job's reference trace."""
    return main_job.folder / "reference"
