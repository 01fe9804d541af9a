"""The recording that most tests of the comparer start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.parity.compare.traces import reference

if TYPE_CHECKING:
    from parity.trace import Trace


@pytest.fixture(scope="module")
def ref(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return reference(tmp_path_factory.mktemp("reference") / "trace")
