"""The largest result, made once for all tests that look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import made

if TYPE_CHECKING:
    from parity.result import Result


@pytest.fixture(scope="session")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A result of twelve thousand pairs at least; who changes it makes a copy."""
    result = made.make("huge", tmp_path_factory.mktemp("huge"))
    result.pairs += result.pairs[: max(0, 12_000 - len(result.pairs))]
    return result
