"""Five lines, always five, that name the address, both numbers, the limit and the command."""

import shlex

import pytest

from parity.address import matches
from parity.report import card
from parity.result import FirstDivergence, Pair, Worst

from . import made

PAIR = Pair(
    address="unet.down_blocks.1.attentions.0@step=3:output",
    stage="unet",
    question="precision",
    mode="layers",
    verdict="MISMATCH",
    dtype="float16",
    basis="floor",
    limit="3x",
    rel_l2=0.031,
    ratio_to_floor=41.2,
    worst=Worst(index=(0, 17, 4, 9), reference=1.2043, candidate=1.2353),
    outside=128,
    size=4096,
    detail="all in channels 16-19",
)


def test_the_card_reads_as_the_style_guide_shows_it():
    told = card.lines(
        PAIR,
        sides="torch 2.13 -> mindspore 2.8",
        first=True,
        inputs="the inputs of this module match",
        again="parity replay …",
    )
    assert told == [
        "unet.down_blocks.1.attentions.0 @step=3 output   MISMATCH   torch 2.13 -> mindspore 2.8, float16",
        "  rel_l2 3.1e-02, 41x its floor (tolerance 3x; basis: float64 twin)",
        "  worst at [0, 17, 4, 9]: ref 1.2043, cand 1.2353; 128 of 4096 outside, all in channels 16-19",
        "  first divergence: yes (precision, layers); the inputs of this module match",
        "  again: parity replay …",
    ]


@pytest.mark.parametrize("kind", made.KINDS)
def test_every_pair_has_five_lines_whatever_it_holds(kind, tmp_path, request):
    result = request.getfixturevalue("huge") if kind == "huge" else made.make(kind, tmp_path)
    for pair in result.pairs[::37]:
        told = card.of(result, pair)
        assert len(told) == 5
        assert all(line.isprintable() and line.strip() for line in told)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("MISSING", "the candidate has no record"),
        ("UNEXPECTED", "the reference has no record"),
        ("INCOMPARABLE", "not comparable"),
    ],
)
def test_a_pair_without_numbers_says_what_is_wrong(verdict, words):
    pair = Pair(address="unet@step=0:output", stage="unet", question="semantics", mode="free", verdict=verdict)
    assert words in card.lines(pair)[1]


def test_the_limit_of_a_ratio_that_exceeds_it_by_little_is_told_apart():
    pair = Pair(
        address="unet@step=0:output",
        stage="unet",
        question="precision",
        mode="layers",
        verdict="MISMATCH",
        ratio_to_floor=3.0002,
        limit="3x",
        basis="floor",
    )
    assert "3.0002x its floor (tolerance 3x" in card.lines(pair)[1]


def test_the_command_selects_exactly_the_ports_of_the_module(tmp_path):
    result = made.make("local", tmp_path)
    pair = card.first_pair(result)
    command = shlex.split(card.again(result, pair))
    pattern = command[command.index("--only") + 1]
    place = pair.address.rpartition(":")[0]
    assert matches(pattern, f"{place}:output")
    assert matches(pattern, f"{place}:input.0")
    assert not matches(pattern, f"{place.replace('step=0', 'step=1')}:output")
    assert not matches(pattern, f"{place.replace('.0@', 'x0@')}:output")
    assert command[command.index("--mode") + 1] == pair.mode
    assert command[command.index("--dtype") + 1] == pair.dtype


def test_a_hostile_address_stays_inside_its_quotes():
    pattern = card.only(made.HOSTILE + "@step=0:output")
    assert matches(pattern, made.HOSTILE + "@step=0:output")
    assert pattern.isprintable()
    assert shlex.split(shlex.quote(pattern)) == [pattern]


def other(port, mode, verdict):
    return Pair(
        address=f"unet.conv_in@step=0:{port}",
        stage="unet",
        question="semantics",
        mode=mode,
        verdict=verdict,
        dtype="float64",
        rel_l2=0.25,
    )


@pytest.mark.parametrize(
    ("others", "mode", "words"),
    [
        ([], "layers", "both sides start from the recorded ones"),
        ([other("input.0", "free", "MATCH")], "free", "the inputs of this module match"),
        (
            [other("input.0", "free", "MISMATCH"), other("input.1", "free", "MATCH")],
            "free",
            "1 input of 2 differ already (rel_l2 2.5e-01)",
        ),
        ([other("output", "layers", "MATCH")], "free", "given the reference's inputs this module matches"),
        ([other("output", "layers", "MISMATCH")], "free", "given the reference's inputs this module fails too"),
        ([], "free", "not compared in this mode"),
    ],
)
def test_what_is_known_about_the_inputs_is_said(others, mode, words):
    pair = other("output", mode, "MISMATCH")
    assert words in card.inputs_of(made.base([pair, *others]), pair)


def test_the_first_divergence_is_found_under_its_own_question(tmp_path):
    result = made.make("local", tmp_path)
    result.first_divergence = FirstDivergence(
        address=result.first_divergence.address, stage="unet", question="precision", mode="free", dtype="float32"
    )
    pair = card.first_pair(result)
    assert (pair.question, pair.mode) == ("precision", "free")
    assert card.of(result, pair)[3].startswith("  first divergence: yes")


@pytest.mark.parametrize(
    ("side", "name"),
    [
        ({"framework": "torch", "versions": {"torch": "2.13.0+cpu"}}, "torch 2.13"),
        ({"framework": "mindspore", "mindspore": "2.8.0"}, "mindspore 2.8"),
        ({"framework": "jax", "framework_version": "0.9"}, "jax 0.9"),
        ({"framework": "torch"}, "torch"),
        ({}, "reference"),
        (None, "reference"),
    ],
)
def test_a_side_is_named_by_what_its_provenance_says(side, name):
    assert card.sides(made.base([], provenance={"reference": side})) == f"{name} -> candidate"


def test_an_audit_that_matches_says_so(tmp_path):
    result = made.make("match", tmp_path)
    assert "the values are equal" in card.of(result, result.pairs[0])[1]
