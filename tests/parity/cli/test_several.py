"""`parity compare` of several candidates: one page, the worst exit code, and every command reads the result."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from typer.testing import CliRunner

from parity import result as results
from parity.cli import app
from tests.parity.compare.test_several import WRONG, wrong
from tests.parity.compare.traces import CONV, candidate, planting, reference

PLANTED = "small candidate (plant half), float32"


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    trace = reference(folder / "reference")
    candidate(folder / "healthy", trace, command=["--candidate=port"])
    candidate(folder / "planted", trace, wrong, command=["--candidate=port", "--plant=half"])
    finished = command("compare", folder / "reference", folder / "healthy", folder / "planted", "--out", folder / "out")
    return folder / "out", finished


def test_one_wrong_candidate_among_right_ones_is_exit_code_1_and_named_first(compared):
    _, finished = compared
    assert finished.exit_code == 1
    assert finished.stdout.startswith(f"{WRONG}: MISMATCH; first divergence of {PLANTED}")


def test_two_right_candidates_are_exit_code_0(compared):
    folder = compared[0].parent
    finished = command("compare", folder / "reference", folder / "healthy")
    assert finished.exit_code == 0
    assert finished.stdout.startswith("MATCH")


def attended(folder, **offsets):
    """Record a reference with an attention and replay it on a platform with a poor softmax, off by so much, once for each name."""
    tables = [{"softmax": {"float32": {"rel_l2": error, "rel_max": error}}} for error in (1e-7, 2e-6)]
    trace = reference(folder / "reference", floors=tables[0], modules={"unet.conv_in": "Attention"})
    for name, off in offsets.items():
        plant = planting("layers-float32", CONV, lambda tensor, off=off: tensor * np.float32(1 + off))
        candidate(folder / name, trace, plant, floors=tables[1], command=[f"--weights={name}"])
    return folder / "reference"


def test_what_only_the_platform_may_explain_is_exit_code_4(tmp_path):
    trace = attended(tmp_path, right=0, undecided=1e-6, wrong=1e-4)
    codes = {"right": 0, "undecided": 4, "wrong": 1, "right undecided": 4, "undecided wrong": 1}
    for names, code in codes.items():
        finished = command("compare", trace, *(tmp_path / name for name in names.split()))
        assert (names, finished.exit_code) == (names, code)
    alone = command("compare", trace, tmp_path / "undecided")
    assert alone.stdout.startswith("INCOMPLETE: 1 pair may be beyond the floor by the candidate's platform alone")


def test_the_page_and_junit_tell_the_candidates_apart(compared):
    folder, _ = compared
    page = (folder / "report.html").read_text()
    assert f'data-candidate="{PLANTED}"' in page
    suites = ET.parse(folder / "junit.xml").getroot()
    failed = {suite.get("name") for suite in suites.iter("testsuite") if suite.get("failures") != "0"}
    assert failed == {f"{PLANTED}: unet"}


def test_explain_says_it_for_each_candidate(compared):
    folder, _ = compared
    text = command("explain", folder, WRONG).stdout
    assert "small candidate, float32: MATCH" in text
    assert f"{PLANTED}: MISMATCH" in text


def test_the_result_is_one_file_that_names_the_candidate_of_each_pair(compared):
    folder, _ = compared
    raw = json.loads((folder / "result.json").read_text())
    assert raw["verdict"] == "MISMATCH"
    assert {pair["candidate"] for pair in raw["pairs"]} == set(raw["candidates"])
    assert all(view["pairs"] == [] for view in raw["candidates"].values())


def test_the_page_is_drawn_again_with_the_same_bytes(compared):
    folder, _ = compared
    before = (folder / "report.html").read_bytes()
    assert command("report", folder).exit_code == 0
    assert (folder / "report.html").read_bytes() == before


def test_a_rule_accepts_the_fault_of_one_candidate(compared, tmp_path):
    folder, _ = compared
    rules = tmp_path / "rules.toml"
    rules.write_text(
        f'[[tolerance]]\naddress = \'{WRONG.replace(".", "[.]")}\'\nrequire = "rel_l2 <= 1"\nreason = "a test"\n'
    )
    finished = command("judge", folder, "--tolerances", rules, "--json")
    judged = json.loads(finished.stdout)
    assert finished.exit_code == 0, finished.output
    assert {view["verdict"] for view in judged["candidates"].values()} == {"MATCH"}
    (tmp_path / "result.json").write_text(finished.stdout)  # what is printed is a result like any other
    assert results.read(tmp_path).verdict == "MATCH"
