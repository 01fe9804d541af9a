"""The sentences at the top say what the pairs hold, and never less."""

from parity.compare.summary import summarize
from parity.report import headline

from . import made
from .made import found as pair


def test_failures_are_counted_apart_from_what_follows_from_them():
    found = made.base(
        [pair("MATCH"), pair("MISMATCH"), *[pair("MISMATCH", "inherited")] * 3, pair("MISMATCH", "unbounded-depth")]
    )
    assert (
        headline.failures(found)
        == "1 of 6 pairs fails by itself, 3 only because of it, 1 cannot be decided without a float64 run"
    )


def test_the_headline_puts_the_address_first_where_there_is_a_divergence(tmp_path):
    assert headline.headline(made.make("transposed", tmp_path)).startswith(
        "text_encoder_2.text_projection:weight: MISMATCH"
    )


def test_the_headline_of_a_match_says_how_much_of_it_is_the_platform_s_precision(tmp_path):
    result = made.make("match", tmp_path)
    result.pairs[40].flags = ["platform-precision"]
    told = "7,662 pairs agree within their limits, 1 are beyond them by the platform's precision alone"
    assert told in headline.headline(result)


def test_the_headline_of_a_match_says_under_which_questions(tmp_path):
    told = headline.headline(made.make("match", tmp_path))
    assert told.startswith("MATCH: 7,663 pairs")
    assert "float64 (layers, steps, free)" in told
    assert "float32 (layers, steps, free)" in told


def test_a_reference_that_is_off_is_told_beside_a_divergence_and_counted_apart(tmp_path):
    result = made.make("off", tmp_path)
    off = sum("reference-error" in each.flags for each in result.pairs)
    assert f"{off} cannot be judged because the reference is off there" in headline.failures(result)
    result.pairs[0].verdict = "MISMATCH"
    summarize(result)
    clause = "the reference's working run is off, first at unet.conv_in@step=1:output (reference-error)"
    assert result.verdict == "MISMATCH"
    assert headline.headline(result).endswith(clause)
    assert f"{clause.capitalize()[:1]}{clause[1:]}." in headline.lead(result)
    assert "causes were found" not in headline.lead(result)


def test_nothing_compared_is_said_so():
    assert headline.headline(made.make("empty", None)) == "INCOMPLETE: nothing was compared"
