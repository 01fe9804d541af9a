"""What the platforms cost, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.address import path_of
from parity.report import platform
from parity.report.words import NOTHING

from .made import small

if TYPE_CHECKING:
    from pathlib import Path


def test_operators_of_both_sides_stand_side_by_side_with_their_ratio() -> None:
    table = {
        "torch": {"exp": {"float32": {"rel_l2": 2e-8, "rel_max": 1.0}}, "tanh": {"float32": {"rel_l2": 0.0}}},
        "mindspore": {"exp": {"float32": {"rel_l2": 6e-7}}, "silu": {"float16": {"rel_l2": 3e-4}}, "tanh": {}},
    }
    columns, rows = platform.costs(table)
    assert columns == ["torch", "mindspore", "mindspore / torch"]
    assert rows == [
        ("exp · float32", ["2.0e-08", "6.0e-07", "30x"]),
        ("tanh · float32", ["0", NOTHING, NOTHING]),
        ("silu · float16", [NOTHING, "3.0e-04", NOTHING]),
    ]


def test_what_is_no_table_is_left_out() -> None:
    assert platform.costs({"x": 1, "y": {"exp": None}, "z": {"exp": {"float32": {"rel_l2": "nan"}}}}) == ([], [])


def test_the_pairs_that_an_operator_explains_are_counted_by_module(tmp_path: Path) -> None:
    result = small(tmp_path)
    assert platform.flagged(result) == []
    first = next(pair for pair in result.pairs if pair.mode == "layers")
    first.flags = [*first.flags, "platform-precision"]
    assert platform.flagged(result) == [f"{path_of(first.address)}: 1 pair (layers)"]
