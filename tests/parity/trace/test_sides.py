"""What cannot be compared is refused: one trace in two places, sides that are exchanged, a result in a trace's place."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from parity.cli import app
from parity.compare import compare
from parity.errors import InputError, TraceError
from parity.replay import Options, replay
from parity.trace import Trace
from parity.trace.sides import check_reference, check_sides
from tests.parity.compare.traces import candidate, reference


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A reference's and a candidate's trace, and a result of comparing them."""
    monkeypatch.chdir(tmp_path)
    candidate(tmp_path / "cand", reference(tmp_path / "ref"))
    assert run("compare", "ref", "cand", "--out", "result").exit_code == 0
    return tmp_path


def run(*arguments):
    """Run the command line."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def refused(*arguments):
    """Return what a command is refused with."""
    done = run(*arguments)
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


@pytest.mark.parametrize("link", ["", "symbolic"])
def test_a_trace_is_not_compared_with_itself(folders, link):
    name = "ref"
    if link:
        (folders / "link").symlink_to(folders / "ref")
        name = "link"
    told = refused("compare", "ref", name)
    assert told.startswith("ref is given twice" if not link else "ref and link are the same")
    assert refused("compare", "ref", "cand", "cand").startswith("cand is given twice")


@pytest.mark.parametrize("link", [os.link, os.symlink, None])
def test_a_file_is_not_compared_with_itself_by_any_name(tmp_path, link):
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    other = tmp_path / "a.npz"
    if link is not None:
        other = tmp_path / "b.npz"
        link(tmp_path / "a.npz", other)
    with pytest.raises(TraceError, match="compared with itself"):
        compare(Trace.open(tmp_path / "a.npz"), [Trace.open(other)])


@pytest.mark.parametrize("command", ["compare", "map", "calibrate"])
def test_exchanged_sides_are_one_error_with_the_command_in_the_right_order(folders, command):
    told = refused(command, "cand", "ref")
    assert told == f"cand is the trace of a candidate, and the reference's comes first; `parity {command} ref cand`"


def test_candidates_alone_want_a_reference(folders):
    shutil.copytree("cand", "again")
    assert refused("compare", "cand", "again").endswith("`parity compare REFERENCE cand again`")


def test_a_candidates_trace_is_not_replayed(folders):
    with pytest.raises(TraceError, match=r"cand is the trace of a candidate; `parity replay` takes the reference's"):
        replay(folders / "cand", None, folders / "out", Options(), lambda *_: None)
    assert not (folders / "out").exists()


def test_what_is_in_its_place_is_not_refused(folders):
    ref, cand = Trace.open("ref"), Trace.open("cand")
    check_sides(ref, [cand])
    check_reference(ref, "replay")


@pytest.mark.parametrize("sides", [("ref", "result"), ("result", "cand"), ("ref", "result/result.json")])
def test_a_result_is_no_trace(folders, sides):
    told = refused("compare", *sides)
    given = next(each for each in sides if "result" in each)
    assert told.startswith(f"{given} is the result of a comparison and no trace; `parity show {given}`")


@pytest.mark.parametrize("command", ["report", "diagnose", "explain"])
def test_a_trace_is_no_result(folders, command):
    assert refused(command, "ref") == (
        "ref is a trace and no result; run `parity compare ref TRACE2 --out DIR`, and give DIR"
    )
