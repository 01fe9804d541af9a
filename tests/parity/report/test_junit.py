"""The document counts what a person must look at, and is valid XML for any text."""

import re
from xml.etree import ElementTree as ET

import pytest

from parity.address import path_of
from parity.compare.summary import summarize
from parity.report import junit

from . import made


def parse(result):
    return ET.fromstring(junit.document(result))


@pytest.mark.parametrize("kind", made.KINDS)
def test_the_totals_are_those_of_the_cases(kind, tmp_path):
    root = parse(made.make(kind, tmp_path))
    suites = root.findall("testsuite")
    for name, tag in (("tests", "testcase"), ("failures", "testcase/failure"), ("skipped", "testcase/skipped")):
        assert [int(suite.get(name)) for suite in suites] == [len(suite.findall(tag)) for suite in suites]
        assert int(root.get(name)) == sum(int(suite.get(name)) for suite in suites)
    assert (int(root.get("failures")) == 0) == (made.make(kind, tmp_path).verdict == "MATCH")


def test_one_case_holds_a_path_under_one_question_mode_and_type(tmp_path):
    result = made.make("match", tmp_path)
    names = [(case.get("classname"), case.get("name")) for case in parse(result).iter("testcase")]
    assert (
        len(names)
        == len(set(names))
        == len({(pair.stage, path_of(pair.address), pair.question, pair.mode, pair.dtype) for pair in result.pairs}) + 1
    )
    assert ("parity.unet", "unet.conv_in [semantics, layers, float64]") in names


def test_a_failure_carries_the_five_lines_and_inherited_cases_are_skipped(tmp_path):
    root = parse(made.make("transposed", tmp_path))
    failures = {
        case.get("name"): case.find("failure") for case in root.iter("testcase") if case.find("failure") is not None
    }
    assert sorted({name.partition(" ")[0] for name in failures}) == ["text_encoder_2.text_projection"]
    text = failures["text_encoder_2.text_projection [semantics, layers, float64]"].text
    assert "MISMATCH   torch 2.13 -> mindspore 2.8, float64" in text
    assert "  again: parity replay" in text
    skipped = [case for case in root.iter("testcase") if case.find("skipped") is not None]
    assert skipped
    assert all("inherited" in case.find("skipped").get("message") for case in skipped)


def test_what_is_undecided_is_one_error_and_no_failure(tmp_path):
    result = made.make("match", tmp_path)
    pair = next(pair for pair in result.pairs if pair.question == "precision")
    pair.verdict, pair.flags = "MISMATCH", ["platform-undecided"]
    summarize(result)
    root = parse(result)
    assert [root.get(name) for name in ("failures", "errors", "skipped")] == ["0", "1", "1"]
    (error,), (skipped,) = root.iter("error"), root.iter("skipped")
    assert error.get("message").endswith("nothing is blamed before `parity diagnose` decides")
    assert skipped.get("message").endswith("undecided: platform-undecided")


def test_missing_and_unexpected_records_and_uncompared_paths_fail(tmp_path):
    root = parse(made.make("incomplete", tmp_path))
    assert sorted(failure.get("type") for failure in root.iter("failure")) == [
        "INCOMPLETE",
        "MISSING",
        "MISSING",
        "UNEXPECTED",
    ]
    assert (
        "vae.encoder.quant_conv: not compared, no reason"
        in root.find("testsuite[@name='verdict']/testcase/failure").text
    )


def test_the_properties_name_the_verdict_and_both_versions(tmp_path):
    values = {found.get("name"): found.get("value") for found in parse(made.make("match", tmp_path)).iter("property")}
    assert values["verdict"] == "MATCH"
    assert values["sides"] == "torch 2.13 -> mindspore 2.8"
    assert values["reference.torch"] == "2.13.0+cpu"
    assert values["candidate.mindspore"] == "2.8.0"


def test_no_character_is_outside_of_xml(tmp_path):
    result = made.make("hostile", tmp_path)
    result.pairs[-1].detail = "".join(map(chr, range(0x20))) + "\ufffe\uffff\ud800]]>"
    text = junit.document(result).decode()
    assert not re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    assert parse(result).get("failures") != "0"
