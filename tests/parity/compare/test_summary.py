"""Flags between pairs, the first divergence and the verdict of the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parity.compare.flags import relate
from parity.compare.summary import first_divergence, verdict_of
from parity.components import UNDECLARED
from parity.result import Pair

if TYPE_CHECKING:
    from parity.result import Flag

BAD, GOOD = "MISMATCH", "MATCH"


def pair(
    address: str, verdict: str = BAD, mode: str = "layers", order: int = 0, flags: list[Flag] | None = None, **more: Any
) -> Pair:
    """A float64 pair without numbers."""
    fields: dict[str, Any] = {"question": "semantics", "dtype": "float64", "stage": "unet"} | more
    return Pair(address=address, verdict=verdict, mode=mode, order=order, flags=flags or [], **fields)


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


def flags_after(*pairs: Pair) -> dict[str, list[str]]:
    """Flags of the pairs that are no layer pairs."""
    relate(pairs, UNDECLARED)
    return {each.address: list(each.flags) for each in pairs if each.mode != "layers"}


@pytest.mark.parametrize(("mode", "scope"), [("free", "@step=1"), ("steps", "@step=0")])
def test_only_what_follows_a_failure_in_its_scope_is_inherited(mode: str, scope: str) -> None:
    second = f"unet.b{scope}:output"
    found = flags_after(
        pair("unet.a@step=0:output", GOOD),
        pair(second, GOOD),
        pair("unet.a@step=0:output", BAD, mode, 1),
        pair(second, BAD, mode, 2),
    )
    assert found == {"unet.a@step=0:output": [], second: ["inherited"]}


def test_every_step_of_the_step_replay_starts_anew() -> None:
    found = flags_after(
        pair("unet.b@step=1:output", GOOD),
        pair("unet.a@step=0:output", BAD, "steps", 1),
        pair("unet.b@step=1:output", BAD, "steps", 2),
    )
    assert found["unet.b@step=1:output"] == []


def test_a_layer_that_fails_by_itself_inherits_nothing() -> None:
    found = flags_after(
        pair("unet.b@step=0:output"),
        pair("unet.a@step=0:output", BAD, "free", 1),
        pair("unet.b@step=0:output", BAD, "free", 2),
    )
    assert found["unet.b@step=0:output"] == []


@pytest.mark.parametrize(("inside", "flags"), [(False, []), (True, ["inherited"])])
def test_matching_inputs_leave_only_what_failed_inside(inside, flags: list[str]) -> None:
    pairs = [
        pair("unet.block@step=0:output", GOOD),
        pair("text_encoder:output", BAD, "free", 1),
        pair("unet.block@step=0:input.0", GOOD, "free", 2),
        pair("unet.block@step=0:output", BAD, "free", 4),
    ]
    if inside:
        pairs.append(pair("unet.block.leaf@step=0:output", BAD, "free", 3))
    assert flags_after(*pairs)["unet.block@step=0:output"] == flags


def test_relations_are_set_anew_and_other_flags_stay() -> None:
    old = pair("unet.a:output", BAD, "free", 1, ["contains", "inherited", "mixed-dtype"])
    assert flags_after(old)["unet.a:output"] == ["contains", "mixed-dtype"]
