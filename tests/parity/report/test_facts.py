"""What a result says beside its pairs, and what it says it cannot say."""

import pytest

from parity.report import facts
from parity.result import Coverage

from . import made
from .made import found as pair

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


def test_provenance_puts_both_sides_side_by_side_and_flattens_tables(tmp_path):
    rows = {line.what: tuple(line.texts) for line in facts.provenance(made.make("match", tmp_path))}
    assert rows["framework"] == ("torch", "mindspore")
    assert rows["allow_tf32.matmul"][0] == "no"
