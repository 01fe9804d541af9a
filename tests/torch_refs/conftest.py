"""A tiny pipeline and one complete trace of it, made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CASE = """
schema = 1
[model]
folder = "tiny"
[prompt]
positive = ["Astronaut in a jungle, cold color palette, muted colors, detailed, 8k", "two foxes"]
negative = ["blurry", "text"]
[sampling]
steps = 3
guidance = 5.0
seed = 7
[size]
height = 64
width = 32
original = [2051, 70]
crop = [3, 5]
target = [60, 31]
[encode]
height = 32
width = 48
"""


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Compute on one thread: tiny operators gain nothing from more, and lose much on a busy machine."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Return a folder that holds the tiny model and a small case."""
    return with_model(tmp_path_factory.mktemp("case"))


def with_model(place: Path, *options: str) -> Path:
    """Write a model and the small case into a folder."""
    from torch_refs.tiny import main

    main([str(place / "tiny"), *options])
    (place / "case.toml").write_text(CASE)
    return place


@pytest.fixture(scope="session")
def resolved(folder):
    """Return the small case."""
    from parity.case import load

    return load(folder / "case.toml")


@pytest.fixture(scope="session")
def trace(folder, resolved):
    """Return a complete recording of the small case."""
    from parity.record import record
    from torch_refs.diffusers.reference import reference

    return record(resolved, reference, folder / "trace")


@pytest.fixture
def pipeline(resolved):
    """Return a fresh pipeline in float32."""
    from torch_refs.diffusers.reference import load_pipeline

    return load_pipeline(resolved, "cpu", "float32")


@pytest.fixture
def system(pipeline, resolved):
    """Return a system on a fresh pipeline."""
    from torch_refs.diffusers.system import DiffusersSystem

    return DiffusersSystem(pipeline, resolved.case, "float32")
