"""The first divergence and the verdict of the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parity.compare.summary import first_divergence, verdict_of

from .made import GOOD, pair

if TYPE_CHECKING:
    from parity.result import Pair


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        ([], "INCOMPLETE"),
        ([pair("a", GOOD)], "MATCH"),
        ([pair("a", GOOD), pair("b")], "MISMATCH"),
        ([pair("a", GOOD), pair("b", "INCOMPARABLE")], "MISMATCH"),
        ([pair("a", GOOD), pair("b", "MISSING")], "INCOMPLETE"),
        ([pair("a", GOOD), pair("b", "UNEXPECTED")], "INCOMPLETE"),
        ([pair("a", GOOD), pair("b", flags=["inherited"])], "MATCH"),
        ([pair("a", GOOD), pair("b", flags=["contains"])], "MATCH"),
        ([pair("a", GOOD), pair("b", flags=["equivalent"])], "MATCH"),
        ([pair("a", GOOD), pair("b", flags=["unbounded-depth"])], "INCOMPLETE"),
        ([pair("a", GOOD), pair("b", flags=["platform-undecided"])], "INCOMPLETE"),
        ([pair("a", GOOD), pair("b", flags=["platform-undecided"]), pair("c")], "MISMATCH"),
        ([pair("a", GOOD), pair("b", flags=["mixed-dtype"])], "MISMATCH"),
        ([pair("a", GOOD), pair("b", flags=["half-precision-grid"])], "MISMATCH"),
        ([pair("a", GOOD), pair("b", "MISSING"), pair("c")], "MISMATCH"),
        ([pair("a", GOOD, "audit", question="audit")], "INCOMPLETE"),
    ],
)
def test_the_verdict_of_the_whole(pairs: list[Pair], verdict: str) -> None:
    assert verdict_of(pairs) == verdict
    if verdict == "MATCH":
        assert verdict_of(pairs, ["a path without a reason"]) == "INCOMPLETE"


def test_the_first_divergence_goes_by_stage_then_question_and_mode_then_order() -> None:
    pairs = [
        pair("vae:output", order=0, stage="vae"),
        pair("free", mode="free", order=1),
        pair("steps", mode="steps", order=1),
        pair("precision", question="precision", order=1),
        pair("late", order=9),
        pair("excused", order=2, flags=["contains"]),
        pair("early", order=3),
    ]
    found = []
    while pairs:
        first = first_divergence(pairs)
        if first is None:
            break
        found.append(first.address)
        pairs = [each for each in pairs if each.address != first.address]
    assert found == ["early", "late", "precision", "steps", "free", "vae:output"]
    assert first_divergence([]) is None
