"""mindone_sdxl keeps what every candidate promises, on a case of one step that diffusers recorded."""

from __future__ import annotations

import pytest

pytest.importorskip("yaml", reason="needs the extra [mindspore]")

from mindone_sdxl.candidate import candidate as mindone
from parity.conformance import CandidateTests
from tests.conftest import run_parity

pytestmark = [pytest.mark.mindspore, pytest.mark.torch]

CASE = """
schema = 1
[model]
folder = "{model}"
[prompt]
positive = ["two foxes"]
negative = ["blurry"]
[sampling]
steps = 1
seed = 3
[size]
height = 64
width = 32
original = [70, 51]
crop = [3, 5]
target = [60, 31]
[encode]
height = 32
width = 48
"""


class TestMindoneSDXL(CandidateTests):
    """With a recording made in a process of its own."""

    @pytest.fixture(scope="class")
    @classmethod
    def candidate(cls):
        """Return the candidate."""
        return mindone

    @pytest.fixture(scope="class")
    @classmethod
    def trace(cls, tiny_model, tmp_path_factory):
        """Record the case."""
        folder = tmp_path_factory.mktemp("reference")
        (folder / "case.toml").write_text(CASE.format(model=tiny_model), encoding="utf-8")
        done = run_parity(folder / "trace", "record", folder / "case.toml", "--out", folder / "trace")
        assert done.code == 0, done.stderr
        return done.folder
