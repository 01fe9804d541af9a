"""`parity selftest` and `parity calibrate`, as a user calls them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from parity.cli import app
from parity.cli.checking import selftest
from parity.compare import compare, load_tolerances
from parity.compare.limits import MODEL
from tests.parity.compare.traces import Run, candidate, reference

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_selftest_prints_the_score_beside_the_peers() -> None:
    done = CliRunner().invoke(app, ["selftest", "--seed", "11"])
    assert done.exit_code == 0, done.output
    row = next(line for line in done.stdout.splitlines() if "parity" in line)
    assert [word for word in row.split() if word.isdigit()] == ["0", "0", "0", "0"]
    assert "numpy allclose 1e-4" in done.stdout
    assert "seed 11" in done.stdout


def test_selftest_as_json_names_what_each_tool_got_wrong() -> None:
    done = CliRunner().invoke(app, ["selftest", "--json"])
    assert done.exit_code == 0
    score = json.loads(done.stdout)
    assert (score["tool"], score["false_passes"]) == ("parity", [])
    assert len(score["peers"][0]["false_passes"]) >= 8


def test_selftest_says_no_when_the_judge_is_blind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(MODEL, "float32", (1.0, 1.0))
    assert selftest(7, json=False) == 1
    assert "false passes: " in capsys.readouterr().out


def test_calibrate_writes_a_file_that_loads_and_matches(tmp_path: Path) -> None:
    trace = reference(tmp_path / "r")
    other = candidate(tmp_path / "c", trace)
    file = tmp_path / "made" / "tolerances.toml"
    done = CliRunner().invoke(app, ["calibrate", str(tmp_path / "r"), str(tmp_path / "c"), "--out", str(file)])
    assert done.exit_code == 0, done.output
    assert compare(trace, [other], tolerances=load_tolerances(file)).verdict == "MATCH"


def test_calibrate_prints_the_file_and_says_what_no_rule_excuses(tmp_path: Path) -> None:
    def plant(name: str, tensors: Run) -> None:
        if name == "layers-float32":
            del tensors["unet.act@step=0:output"]
            tensors["unet.conv_in@step=1:output"] *= 1.001

    candidate(tmp_path / "c", reference(tmp_path / "r"), plant)
    done = CliRunner().invoke(app, ["calibrate", str(tmp_path / "r"), str(tmp_path / "c")])
    assert done.exit_code == 1
    assert "[[tolerance]]" in done.stdout
    assert "no rule excuses unet.act@step=0:output: MISSING" in done.stderr
    assert "match under these rules: 1;" in done.stderr
