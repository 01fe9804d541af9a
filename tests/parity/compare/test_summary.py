"""The first divergence and the verdict of the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parity.compare.summary import first_divergence, is_finding, keeps_from_match, summarize, verdict_of

from .made import GOOD, made, pair

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
        ([pair("a", GOOD), pair("b", "INCOMPARABLE", flags=["reference-error"])], "INCOMPLETE"),
        ([pair("a", GOOD), pair("b", "INCOMPARABLE", flags=["twin-error"])], "INCOMPLETE"),
        ([pair("a", GOOD), pair("b", flags=["reference-error"])], "MISMATCH"),
        ([pair("a", GOOD), pair("b", flags=["inherited", "reference-error"])], "INCOMPLETE"),
        ([pair("a", GOOD), pair("b", "INCOMPARABLE", flags=["contains", "twin-error"])], "INCOMPLETE"),
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


def test_verdicts_flags_and_findings_are_counted_and_every_verdict_has_a_number() -> None:
    result = made(
        pair("unet.a:output", GOOD),
        pair("unet.b:output", flags=["inherited", "mixed-dtype"]),
        pair("unet.c:output", flags=["mixed-dtype"]),
        pair("unet.d:output", "INCOMPARABLE"),
        pair("unet.e:output", "MISSING"),
        pair("unet.f:output", GOOD, flags=["island"]),
    )
    summarize(result)
    assert result.counts == {
        "MATCH": 2, "MISMATCH": 2, "INCOMPARABLE": 1, "MISSING": 1, "UNEXPECTED": 0, "findings": 2,
        "inherited": 1, "mixed-dtype": 2, "island": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([pair("a", GOOD)], "MATCH"),
        ([pair("a", GOOD), pair("b", flags=["equivalent"])], "MATCH"),
        ([pair("a", GOOD), pair("b", flags=["contains"])], "INHERITED"),
        ([pair("a", GOOD), pair("b", flags=["inherited"])], "INHERITED"),
        ([pair("a", GOOD), pair("b", flags=["unbounded-depth"])], "INHERITED"),
        ([pair("a", "MISSING"), pair("b", flags=["inherited"])], "INCOMPLETE"),
        ([pair("a", "UNEXPECTED"), pair("b", GOOD)], "INCOMPLETE"),
        ([pair("a", "MISSING"), pair("b"), pair("c", GOOD)], "MISMATCH"),
        ([pair("a", "INCOMPARABLE"), pair("c", GOOD)], "MISMATCH"),
    ],
)
def test_a_stage_has_the_gravest_of_what_is_said_of_its_pairs(pairs: list[Pair], said: str) -> None:
    result = made(pair("vae.decode:output", GOOD, stage="vae"), *pairs)
    summarize(result)
    assert result.stages == {"unet": said, "vae": "MATCH"}
    assert list(result.stages) == ["unet", "vae"]  # as they follow each other, and not as the pairs do


def test_a_pair_keeps_the_whole_from_a_match_by_what_it_is_or_leaves_open() -> None:
    keeping = [
        pair("a"), pair("b", "INCOMPARABLE"), pair("c", "MISSING"), pair("d", "UNEXPECTED"), pair("e", flags=["unbounded-depth"]),
        pair("f", flags=["mixed-dtype"]),
    ]  # fmt: skip
    others = [pair("g", GOOD), *(pair("h", flags=[flag]) for flag in ("contains", "inherited", "equivalent"))]
    assert [each.address for each in filter(keeps_from_match, [*keeping, *others])] == [*"abcdef"]
    assert [each.address for each in filter(is_finding, [*keeping, *others])] == ["a", "b", "f"]


def test_a_result_without_an_order_has_no_first_divergence() -> None:
    result = made(pair("unet.a:output"))
    for ordered in (True, False):
        result.checks["ordered"] = ordered
        summarize(result)
        assert (result.first_divergence is not None) is ordered
    del result.checks["ordered"]
    summarize(result)
    assert result.first_divergence is not None
    assert result.first_divergence.address == "unet.a:output"


def test_what_has_no_reason_keeps_the_whole_from_a_match() -> None:
    result = made(pair("unet.a:output", GOOD))
    summarize(result)
    assert result.verdict == "MATCH"
    result.coverage.unexplained = ["unet.b"]
    summarize(result)
    assert result.verdict == "INCOMPLETE"
