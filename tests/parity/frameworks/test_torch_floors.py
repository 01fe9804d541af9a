"""The reference's operators by themselves."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from parity.dtypes import eps
from parity.frameworks.floors import KINDS
from parity.frameworks.torch_floors_ import floors

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_torch_has_every_kind_and_errs_by_a_few_roundings(dtype):
    table = floors(dtype)
    assert set(table) == set(KINDS)
    for kind, by in table.items():
        assert 0.05 * eps(dtype) < by[dtype]["rel_l2"] < 8 * eps(dtype), kind
        assert by[dtype]["rel_max"] >= by[dtype]["rel_l2"]
