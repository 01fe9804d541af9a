"""`parity record --estimate`, as a user calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from parity.cli import app
from parity.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

CASE = """
schema = 1
[model]
folder = "weights"
[prompt]
positive = ["a"]
[sampling]
steps = 3
"""


def estimated(folder: Path, *options: str):
    (folder / "weights").mkdir()
    (folder / "case.toml").write_text(CASE)
    arguments = ["record", str(folder / "case.toml"), "--out", str(folder / "a" / "trace"), "--estimate", *options]
    return CliRunner().invoke(app, [*arguments, "--reference", "tests.parity.numpy_reference:reference"])


def test_an_estimate_names_every_run_and_the_room_there_is_and_writes_nothing(tmp_path: Path) -> None:
    done = estimated(tmp_path)
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["float32", "float64", "forced", "steps", "all"]
    assert f"are free in {tmp_path}" in done.stdout
    assert not (tmp_path / "a").exists()


def test_a_step_that_the_case_does_not_have_is_refused(tmp_path: Path) -> None:
    done = estimated(tmp_path, "--steps", "0,3")
    assert isinstance(done.exception, InputError)
    assert "--steps 3 is not in the case; its steps are 0 to 2" in str(done.exception)


@pytest.mark.parametrize(("options", "runs"), [(["--dtype", "float32"], ["float32", "all"])])
def test_a_type_without_a_twin_has_one_run(tmp_path: Path, options: list[str], runs: list[str]) -> None:
    done = estimated(tmp_path, *options)
    assert [line.split()[0] for line in done.stdout.splitlines()] == runs
