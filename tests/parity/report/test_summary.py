"""What the renderers say is what the pairs hold, and never less."""

import pytest

from parity.report import facts, summary
from parity.result import Coverage, Pair

from . import made


def pair(verdict, *flags, **changes):
    values = {
        "address": "unet@step=0:output",
        "stage": "unet",
        "question": "semantics",
        "mode": "free",
        "verdict": verdict,
        "flags": list(flags),
    }
    return Pair(**(values | changes))


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (pair("MATCH"), "MATCH"),
        (pair("MISMATCH"), "MISMATCH"),
        (pair("MISMATCH", "inherited"), "inherited"),
        (pair("MISMATCH", "contains"), "contains"),
        (pair("MISMATCH", "equivalent"), "equivalent"),
        (pair("MISMATCH", "unbounded-depth"), "undecided"),
        (pair("MISMATCH", "half-precision-grid"), "MISMATCH"),
        (pair("MATCH", "platform-precision"), "MATCH"),
        (pair("MISSING"), "MISSING"),
        (pair("MISSING", "inherited"), "MISSING"),
        (pair("INCOMPARABLE", "inherited"), "inherited"),
    ],
)
def test_an_excused_failure_is_shown_by_its_excuse_and_no_other_one_is(found, shown):
    assert summary.verdict_of(found) == shown


def test_failures_are_counted_apart_from_what_follows_from_them():
    found = made.base(
        [pair("MATCH"), pair("MISMATCH"), *[pair("MISMATCH", "inherited")] * 3, pair("MISMATCH", "unbounded-depth")]
    )
    assert (
        summary.failures(found)
        == "1 of 6 pairs fails by itself, 3 only because of it, 1 cannot be decided without a float64 run"
    )


def test_the_headline_puts_the_address_first_where_there_is_a_divergence(tmp_path):
    assert summary.headline(made.make("transposed", tmp_path)).startswith(
        "text_encoder_2.text_projection:weight: MISMATCH"
    )


def test_the_headline_of_a_match_says_how_much_of_it_is_the_platform_s_precision(tmp_path):
    result = made.make("match", tmp_path)
    result.pairs[40].flags = ["platform-precision"]
    told = "7,662 pairs agree within their limits, 1 are beyond them by the platform's precision alone"
    assert told in summary.headline(result)


def test_the_headline_of_a_match_says_under_which_questions(tmp_path):
    told = summary.headline(made.make("match", tmp_path))
    assert told.startswith("MATCH: 7,663 pairs")
    assert "float64 (layers, steps, free)" in told
    assert "float32 (layers, steps, free)" in told


def test_nothing_compared_is_said_so():
    assert summary.headline(made.make("empty", None)) == "INCOMPLETE: nothing was compared"


def test_stages_stand_in_the_order_of_the_contract_with_every_question(tmp_path):
    rows = summary.stages(made.make("transposed", tmp_path))
    assert [row.stage for row in rows] == [
        "weights",
        "attributes",
        "tokens",
        "conditioning",
        "schedule",
        "unet",
        "guidance",
        "sampler",
        "vae",
        "image",
    ]
    unet = dict(zip(summary.COLUMNS, rows[5].cells, strict=True))
    assert (unet["semantics", "layers"].failed, unet["semantics", "layers"].explained) == (0, 0)
    assert unet["semantics", "free"].explained == unet["semantics", "free"].total == 1212
    assert rows[5].verdict == "inherited"
    assert rows[3].verdict == "MISMATCH"


def test_the_word_of_the_result_for_a_stage_stands():
    rows = summary.stages(
        made.base([pair("MISMATCH", "inherited")], stages={"unet": "INHERITED", "vae": "not measured"})
    )
    assert [(row.stage, row.verdict) for row in rows] == [("unet", "inherited"), ("vae", "not measured")]


@pytest.mark.parametrize(
    ("found", "times"),
    [
        (pair("MATCH", ground="float64", scale=2.0, error_rms=2e-9, error_max=4e-9), 2.0),
        (pair("MATCH", "island", ground="float64", scale=2.0, error_rms=2e-9, error_max=4e-9), 5e-5),
        (
            pair(
                "MISMATCH",
                question="precision",
                ground="floor",
                floor_rms=1.0,
                floor_max=2.0,
                error_rms=3.0,
                error_max=32.0,
            ),
            2.0,
        ),
        (pair("MISMATCH", question="precision", ratio_to_floor=6.0), 2.0),
        (pair("MISMATCH", rel_l2="inf"), float("inf")),
        (pair("MATCH", question="audit"), None),
    ],
)
def test_excess_is_counted_in_limits(found, times):
    assert summary.excess(found) == (times if times is None else pytest.approx(times))


GAPS = {
    "semantics: there is no float64 run": [pair("MATCH", question="precision")],
    "precision: there is no run": [pair("MATCH")],
    "semantics, layers: this replay was not made": [pair("MATCH")],
    "audits: weights": [pair("MATCH")],
}


@pytest.mark.parametrize("words", GAPS)
def test_what_was_not_measured_is_said(words):
    assert any(words in gap for gap in facts.not_measured(made.base(GAPS[words])))


def test_a_result_that_measured_all_has_no_gap_but_its_listed_reasons(tmp_path):
    assert facts.not_measured(made.make("match", tmp_path)) == [
        "container: 12 paths of the reference",
        "identity: 9 paths of the reference",
        "never called: 1 path of the reference",
        "no counterpart: 1 path of the reference",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checks": {"repeatable": True}}, "that recording changes nothing was not checked"),
        ({"checks": {"neutral": True}}, "repeats itself"),
        ({"price": {}}, "the price"),
        (
            {
                "coverage": Coverage(
                    paths=1, compared=1, parameter_owners=0, parameter_owners_compared=0, excluded={"a": "b"}
                )
            },
            "excluded by the case: 1 address",
        ),
        ({"stages": {"vae": "not measured"}}, "stage vae: not measured"),
        (
            {
                "coverage": Coverage(
                    paths=2, compared=1, parameter_owners=1, parameter_owners_compared=1, unexplained=["vae.quant_conv"]
                )
            },
            "without a reason: vae.quant_conv",
        ),
    ],
)
def test_a_check_that_was_not_made_is_a_gap(changes, words, tmp_path):
    match = made.make("match", tmp_path)
    for name, value in changes.items():
        setattr(match, name, value)
    assert any(words in gap for gap in facts.not_measured(match))


def test_a_number_that_is_none_is_the_worst():
    pairs = [pair("MATCH", rel_l2=1.0), pair("MISMATCH", rel_l2="nan"), pair("MATCH", rel_l2=2.0)]
    assert summary.worst(pairs) == summary.worst(pairs[::-1]) == "nan"
    assert summary.excess(pair("MISMATCH", rel_l2="nan")) == float("inf")


def test_provenance_puts_both_sides_side_by_side_and_flattens_tables(tmp_path):
    rows = {
        what: (reference, candidate) for what, reference, candidate in facts.provenance(made.make("match", tmp_path))
    }
    assert rows["framework"] == ("torch", "mindspore")
    assert rows["allow_tf32.matmul"][0] == "no"
