"""`compare` on small real traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from parity.compare import compare
from parity.trace import Trace
from tests.parity.compare.traces import candidate, reference

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def ref(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return reference(tmp_path_factory.mktemp("reference") / "trace")


def test_a_healthy_candidate_matches(ref: Trace, tmp_path: Path) -> None:
    result = compare(ref, [candidate(tmp_path / "c", ref)])
    bad = [(p.address, p.question, p.mode, p.verdict, p.ratio_to_floor, p.rel_l2, p.limit) for p in result.pairs if p.verdict != "MATCH"]
    assert bad == []
    assert result.verdict == "MATCH"
