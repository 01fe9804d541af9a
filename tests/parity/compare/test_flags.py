"""What fails only because of another pair is flagged, and what fails first never is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parity.compare.flags import relate
from parity.components import UNDECLARED

from .made import BAD, GOOD, pair

if TYPE_CHECKING:
    from parity.result import Pair


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


@pytest.mark.parametrize("flag", ["reference-error", "twin-error"])
def test_an_error_of_the_reference_is_handed_on_to_nothing(flag) -> None:
    found = flags_after(
        pair("unet.a@step=0:output", "INCOMPARABLE", flags=[flag]),
        pair("unet.b@step=0:output", GOOD),
        pair("unet.a@step=0:output", "INCOMPARABLE", "free", 1, [flag]),
        pair("unet.b@step=0:output", BAD, "free", 2),
    )
    assert found == {"unet.a@step=0:output": [flag], "unet.b@step=0:output": []}


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


def precise(address: str, ratio: float, mode: str = "layers", order: int = 0, **more: object) -> Pair:
    """A float32 pair at so many times its floor."""
    fields = {"question": "precision", "dtype": "float32", "basis": "floor", "ratio_to_floor": ratio} | more
    return pair(address, GOOD if ratio <= 3 else BAD, mode, order, **fields)


@pytest.mark.parametrize(
    ("local", "ratio", "flags"),
    [(2.9, 3.1, ["platform-undecided"]), (2.9, 22.0, []), (1.0, 3.1, []), (3.2, 3.1, ["platform-undecided"])],
    ids=["near its limit", "beyond what the operator explains", "far from its limit", "beyond its limit"],
)
def test_what_an_attention_near_its_limit_reaches_is_undecided_in_a_longer_replay(
    local: float, ratio: float, flags: list[str]
) -> None:
    found = flags_after(
        pair("unet.attn@step=0:output", GOOD),
        precise("unet.attn@step=0:output", local, platform={"softmax": 7.0}),
        precise("unet.out@step=0:output", 1.0),
        precise("unet.attn@step=0:output", 2.9, "free", 1),
        precise("unet.out@step=0:output", ratio, "free", 2),
    )
    assert found["unet.out@step=0:output"] == flags


def test_what_comes_before_an_attention_is_none_of_its_doing() -> None:
    found = flags_after(
        precise("unet.attn@step=0:output", 2.9, platform={"softmax": 7.0}),
        precise("unet.in@step=0:output", 1.0),
        precise("unet.in@step=0:output", 3.1, "free", 1),
        precise("unet.attn@step=0:output", 2.9, "free", 2),
    )
    assert found["unet.in@step=0:output"] == []


def test_an_attribute_is_equivalent_only_as_long_as_its_outputs_match() -> None:
    attribute = pair("unet.a:attribute.eps", BAD, "audit", question="audit", stage="attributes", dtype=None)
    for verdict, flags in ((GOOD, ["equivalent"]), (BAD, []), (GOOD, ["equivalent"])):
        relate([attribute, pair("unet.a.b@step=0:output", verdict)], UNDECLARED)
        assert attribute.flags == flags
    relate([attribute, pair("unet.b@step=0:output", GOOD)], UNDECLARED)
    assert attribute.flags == []
