"""The smallest model of all kinds of blocks in the tiny one's place: how a run is recorded does not depend on its size."""

from __future__ import annotations

import pytest

from tests.torch_refs.conftest import with_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return a folder that holds the smallest model and the small case."""
    return with_model(tmp_path_factory.mktemp("least"), "--least")


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
