"""What lies under the sides and was not read keeps the whole from a match, and is named wherever a result is shown."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from parity import result as results
from parity.compare import compare, judge
from parity.compare.several import join
from parity.report import html
from parity.trace import Trace
from tests.conftest import run_parity

X = np.ones((2, 3), np.float32)


@pytest.fixture
def sides(tmp_path):
    """Two folders of the same tensor."""
    for side in "ab":
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "x.npy", X)
    return tmp_path / "a", tmp_path / "b"


def compared(a, b, **options):
    """Compare two folders."""
    return compare(Trace.open(a), [Trace.open(b)], **options)


def test_a_file_that_both_sides_have_byte_for_byte_cannot_make_a_difference(sides):
    a, b = sides
    for side in sides:
        (side / "config.json").write_bytes(b"{}" * 1_000_000)
    result = compared(a, b)
    assert (result.verdict, result.coverage.unread) == ("MATCH", {})
    assert result.coverage.notes == ["not read, but equal byte for byte on all sides: 1, such as config.json"]
    (b / "config.json").write_bytes(b"{}" * 999_999 + b"[]")
    result = compared(a, b)
    assert result.verdict == "INCOMPLETE"
    assert result.coverage.unread == {
        f"{a}/config.json": "is of no known format", f"{b}/config.json": "is of no known format",
    }  # fmt: skip


def test_a_link_is_never_equal_to_what_it_points_at(sides, tmp_path):
    a, b = sides
    (tmp_path / "y.bin").write_bytes(b"1")
    for side in sides:
        (side / "y.raw").symlink_to(tmp_path / "y.bin")
    assert compared(a, b).verdict == "INCOMPLETE"


def test_a_part_of_an_archive_that_was_not_read_is_no_match(sides):
    a, b = sides
    for side, text in zip(sides, ("one", "two"), strict=True):
        np.savez(side / "y.npz", z=X, words=np.array([text]))
    result = compared(a, b)
    assert result.verdict == "INCOMPLETE"
    assert list(result.coverage.unread) == [f"{a}/y.npz: words.npy", f"{b}/y.npz: words.npy"]


def test_a_file_is_excluded_by_its_name_with_a_reason(sides):
    a, b = sides
    (b / "notes.pkl").write_bytes(b"x")
    result = compared(a, b, excludes=[{"address": r"notes\.pkl", "reason": "excluded by the case"}])
    assert (result.verdict, result.coverage.unread) == ("MATCH", {})
    assert result.coverage.excluded == {"notes.pkl": "excluded by the case"}


def test_a_result_stays_incomplete_when_it_is_saved_and_judged_again_and_joined(sides, tmp_path):
    a, b = sides
    (b / "y.pkl").write_bytes(b"x")
    results.write(compared(a, b), tmp_path / "result.json")
    again = judge(results.read(tmp_path), [])
    assert (again.verdict, list(again.coverage.unread)) == ("INCOMPLETE", [f"{b}/y.pkl"])
    shutil.copytree(a, tmp_path / "whole")
    whole = join({"one": again, "other": compared(a, tmp_path / "whole")})
    assert (whole.verdict, list(whole.coverage.unread)) == ("INCOMPLETE", [f"{b}/y.pkl"])


def test_the_terminal_names_ten_and_the_pages_too(sides, tmp_path):
    a, b = sides
    for number in range(12):
        (b / f"y{number:02d}.pkl").write_bytes(b"x")
    finished = run_parity(tmp_path, "compare", a, b, "--out", tmp_path / "out")
    assert finished.code == 1
    assert finished.stdout.startswith(f"INCOMPLETE: 12 files not read, such as {b}/y00.pkl")
    told = finished.stdout.partition("\nnot read\n")[2].splitlines()
    assert told[:11] == [*(f"  {b}/y{number:02d}.pkl is of no known format" for number in range(10)), "  2 more"]
    assert f"{b}/y09.pkl is of no known format" in (tmp_path / "out" / "report.html").read_text()
    assert f"not read: {b}/y11.pkl" in (tmp_path / "out" / "junit.xml").read_text()
    assert len(json.loads((tmp_path / "out" / "result.json").read_text())["coverage"]["unread"]) == 12


def test_names_with_markup_or_control_characters_stay_what_they_are(sides):
    a, b = sides
    (b / "<b>\x1b[31m.pkl").write_bytes(b"x")
    result = compared(a, b)
    assert "<b>" not in html.page(result).partition('class="alarm"')[2].partition("</ul>")[0]
    assert "\x1b" not in html.page(result)


def test_a_tolerance_file_excludes_a_file_or_an_address(sides, tmp_path):
    a, b = sides
    (b / "made.pkl").write_bytes(b"x")
    np.save(b / "y.npy", X)
    file = tmp_path / "rules.toml"
    tables = "[[exclude]]\naddress = 'made[.]pkl'\nreason = 'how it was made'\n[[exclude]]\naddress = 'y:output'\nreason = 'new'\n"
    file.write_text(tables)
    assert run_parity(tmp_path, "compare", a, b).code == 1
    finished = run_parity(tmp_path, "compare", a, b, "--tolerances", file)
    assert finished.code == 0, finished.stdout
    assert "excluded by the case: y:output, made.pkl" in finished.stdout
    file.write_text(tables.replace("made", "mad"))
    finished = run_parity(tmp_path, "compare", a, b, "--tolerances", file)
    assert (finished.code, "matches no address" in finished.stderr) == (2, True)


def test_commands_on_one_side_name_what_they_do_not_read(sides, tmp_path):
    _, b = sides
    (b / "y.pkl").write_bytes(b"x")
    (b / "README.md").write_text("a note")
    line = "not read: y.pkl is of no known format"
    shown = run_parity(tmp_path, "show", b).stdout
    assert line in shown
    assert "passed over, since no tensor can be in such files: README.md" in shown
    assert json.loads(run_parity(tmp_path, "show", b, "--json").stdout)["unread"] == {"y.pkl": "is of no known format"}
    assert line in run_parity(tmp_path, "verify", b).stderr
    assert line in run_parity(tmp_path, "pack", b, "--only", ".*", "--out", tmp_path / "packed").stderr


@pytest.mark.parametrize("amount", [1, 3, 5])
def test_the_note_on_equal_files_names_three(sides, amount):
    for side in sides:
        for number in range(amount):
            (side / f"c{number}.json").write_bytes(b"{}")
    (note,) = compared(*sides).coverage.notes
    names = ", ".join(f"c{number}.json" for number in range(min(amount, 3)))
    assert note == f"not read, but equal byte for byte on all sides: {amount}, such as {names}"


def test_of_several_candidates_each_says_what_it_did_not_read(sides, tmp_path):
    a, b = sides
    (tmp_path / "c").mkdir()
    np.save(tmp_path / "c" / "x.npy", X)
    (b / "y.pkl").write_bytes(b"x")
    (tmp_path / "c" / "README.md").write_text("a note")
    finished = run_parity(tmp_path, "compare", a, b, tmp_path / "c", "--out", tmp_path / "out")
    assert finished.code == 1, finished.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    for told in (f"{b}/y.pkl is of no known format", "passed over, since no tensor can be in such files: README.md"):
        assert told in finished.stdout
        assert told in page
