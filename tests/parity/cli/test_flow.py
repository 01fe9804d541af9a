"""A comparison writes all that it writes or nothing, and says before it begins when it cannot."""

from __future__ import annotations

import pytest

from parity import disk
from parity.cli import flow
from parity.errors import InputError, OutputError, TraceError
from tests.disks import files, room
from tests.parity.compare.traces import candidate, reference

GIVEN = {"tolerances": None, "jobs": 1}


@pytest.fixture
def sides(tmp_path):
    """The folders of a reference and of a candidate that matches it."""
    recorded = reference(tmp_path / "reference")
    return recorded.folder, [candidate(tmp_path / "candidate", recorded).folder]


def test_a_disk_that_fills_while_the_report_is_written_leaves_the_earlier_result(sides, tmp_path):
    out = tmp_path / "out"
    flow.compare(*sides, out=out, **GIVEN)
    before = files(out)
    assert before.keys() >= {"result.json", "report.html", "junit.xml", "images/candidate_0.png"}
    with room(200_000), pytest.raises(OutputError, match=r"report\.html cannot be written: File too large"):
        flow.compare(*sides, out=out, **GIVEN)
    assert files(out) == before


@pytest.mark.parametrize("name", ["reference/manifest.json", "reference/manifest.json/below", "n" * 300])
def test_a_place_that_takes_no_result_is_refused_before_anything_is_read(sides, tmp_path, name):
    before = files(tmp_path)
    with pytest.raises(OutputError):
        flow.compare(tmp_path / "none", [tmp_path / "none"], out=tmp_path / name, **GIVEN)
    assert files(tmp_path) == before


def test_a_full_disk_is_said_before_anything_is_read_and_a_refused_comparison_leaves_no_folder(sides, tmp_path):
    arguments = (tmp_path / "none", [tmp_path / "none"])
    with room(100), pytest.raises(OutputError, match="File too large"):
        flow.compare(*arguments, out=tmp_path / "out", **GIVEN)
    with pytest.raises(TraceError, match="none is not a folder"):
        flow.compare(*arguments, out=tmp_path / "out", **GIVEN)
    assert not (tmp_path / "out").exists()


def test_a_result_without_pictures_leaves_none_of_the_earlier_one_and_nothing_else_is_removed(sides, tmp_path):
    out = tmp_path / "out"
    result = flow.compare(*sides, out=out, **GIVEN)
    for name in ("images/mine.png", "several/images/candidate_7.png", "several/notes.txt"):
        disk.write(out / name, b"x")
    result.images = {}
    flow.write(result, out)
    assert files(out).keys() == {"result.json", "report.html", "junit.xml", "images/mine.png", "several/notes.txt"}


@pytest.mark.parametrize("name", ["result.json", "report.html", "junit.xml"])
def test_files_of_these_names_that_no_comparison_wrote_are_not_replaced(tmp_path, name):
    disk.write(tmp_path / "out" / name, b'{"mine": true}')
    with pytest.raises(InputError, match=f"out holds a {name} that would be replaced and is no result that is whole"):
        flow.compare(tmp_path / "none", [tmp_path / "none"], out=tmp_path / "out", **GIVEN)
    assert files(tmp_path) == {f"out/{name}": b'{"mine": true}'}


@pytest.mark.parametrize("inside", ["", "float32", "result/new"])
def test_no_result_is_written_into_a_side(sides, tmp_path, inside):
    trace, others = sides
    (tmp_path / "link").symlink_to(trace)
    before = files(trace)
    for out in (trace / inside, tmp_path / "link" / inside):
        with pytest.raises(
            InputError, match=r"is of .*reference, which is compared, and a result is none of its files"
        ):
            flow.compare(trace, others, out=out, **GIVEN)
        with pytest.raises(
            InputError, match=r"is of .*reference, which is compared, and a result is none of its files"
        ):
            flow.compare(others[0], [trace], out=out, **GIVEN)
    assert files(trace) == before
    assert not (trace / "result").exists()


def test_no_result_is_written_into_another_trace(sides, tmp_path):
    trace, others = sides
    before = files(trace)
    with pytest.raises(InputError, match="reference is a trace, and a result is none of its files"):
        flow.compare(tmp_path / "none", others, out=trace, **GIVEN)
    assert files(trace) == before


def test_of_two_that_write_one_folder_the_second_is_refused_and_the_first_is_whole(sides, tmp_path):
    with disk.claimed(tmp_path / "out"):
        with pytest.raises(OutputError, match="out is being written by another process"):
            flow.compare(*sides, out=tmp_path / "out", **GIVEN)
        disk.write(tmp_path / "out" / "result.json", b"the first one's")
    assert files(tmp_path / "out") == {"result.json": b"the first one's"}
