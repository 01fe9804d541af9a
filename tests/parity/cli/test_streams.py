"""What becomes of stdout and stderr changes no verdict; a stdout that takes not all of it is an error of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.parity.compare.traces import candidate, reference

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """A reference and a candidate that matches it, as words of a shell."""
    folder = tmp_path_factory.mktemp("sides")
    recorded = reference(folder / "reference")
    candidate(folder / "candidate", recorded)
    return f"{folder}/reference {folder}/candidate"


def code_of(command, sides):
    """The exit code of `parity compare`, to whose words `command` adds where its streams go, and what stderr got."""
    script = f"{sys.executable} -m parity compare {sides} {command}"
    done = subprocess.run(["/bin/bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "streams",
    [
        "--json | true; exit ${PIPESTATUS[0]}",
        "| head -1; exit ${PIPESTATUS[0]}",
        ">&-",
        ">&- 2>&-",
        ">&- 2>&- <&-",
        "2>/dev/full",
        "2> >(true)",
    ],
)
def test_a_match_stays_one_whoever_listens(sides, streams):
    code, said = code_of(streams, sides)
    assert code == 0
    assert not [line for line in said.splitlines() if not line.startswith("[compare]")]


@pytest.mark.parametrize("more", ["", "--json"])
def test_a_result_that_stdout_does_not_take_is_no_match(sides, more):
    code, said = code_of(f"{more} >/dev/full", sides)
    assert code == 2
    (error,) = (line for line in said.splitlines() if not line.startswith("[compare]"))
    assert error == "error: stdout cannot be written: No space left on device; give it another place"


def test_what_an_encoding_lacks_is_written_by_its_number(tmp_path):
    script = f"PYTHONIOENCODING=ascii {sys.executable} -m parity show 'nöne\udcff'"
    done = subprocess.run(
        ["/bin/bash", "-c", script.encode(errors="surrogateescape")], cwd=tmp_path, capture_output=True, check=False,
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert b"n\\xf6ne\\udcff is not a folder" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_module_that_closes_the_streams_takes_neither_error_nor_exit_code_with_it(tmp_path):
    (tmp_path / "closing.py").write_text("import sys\nsys.stdout.close()\nsys.stderr.close()\nreference = None\n")
    (tmp_path / "case.toml").write_text('schema = 1\n[model]\nfolder = "."\n')
    script = [sys.executable, "-m", "parity", "record", "case.toml", "--reference", "closing:reference", "--out", "out"]
    path = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    done = subprocess.run(script, cwd=tmp_path, env=path, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith("error: the reference closing:reference is of type NoneType")
