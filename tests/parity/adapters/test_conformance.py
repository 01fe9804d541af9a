"""The adapters of docs/adapters.md keep what every reference and every candidate promises."""

from __future__ import annotations

import importlib
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("mindspore")

from parity.case import load
from parity.conformance import CandidateTests, ReferenceTests
from parity.record import record
from tests.parity.adapters.test_document import FILES, write

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The document's two programs and their adapters, to be imported."""
    place = write(tmp_path_factory.mktemp("swirl"))
    sys.path.insert(0, str(place))
    yield place
    sys.path.remove(str(place))
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.fixture(scope="module")
def swirl(folder):
    """The torch program's adapter."""
    return importlib.import_module("swirl_reference").reference


@pytest.fixture(scope="module")
def port(folder):
    """The port's adapter."""
    return importlib.import_module("swirl_candidate").candidate


@pytest.fixture(scope="module")
def resolved(folder):
    """The document's case."""
    return load(folder / "case.toml")


@pytest.fixture(scope="module")
def healthy(swirl, resolved, folder):
    """A whole recording."""
    return record(resolved, swirl, folder / "healthy")


class TestTheDocumentsReference(ReferenceTests):
    """swirl_reference.py."""

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls, swirl):
        """Return the reference."""
        return swirl


class TestTheDocumentsCandidate(CandidateTests):
    """swirl_candidate.py."""

    @pytest.fixture(scope="class")
    @classmethod
    def candidate(cls, port):
        """Return the candidate."""
        return port

    @pytest.fixture(scope="class")
    @classmethod
    def trace(cls, healthy):
        """Return the reference's trace."""
        return healthy.folder
