"""Somebody's own adapter does what it likes: one line of error with their file and line, exit code 2, and nothing is lost."""

from __future__ import annotations

import itertools
import sys

import pytest

from parity import cli, points
from parity.case import load
from parity.record import record
from parity.trace import Trace

from . import numpy_program

COUNTER = itertools.count()
REFERENCE = """
from tests.parity import numpy_program

class Reference:
    name = "own"
    sections = numpy_program.reference.sections

    def load(self, resolved, **options):
        {load}

reference = Reference()
"""
CANDIDATE = """
from tests.parity import numpy_candidate

class Candidate:
    name = "own"

    def alignment(self, request):
        {alignment}

    def build(self, request):
        {build}

candidate = Candidate()
"""
WHOLE = "return numpy_candidate.candidate.alignment(request)"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write somebody's module and return its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(source):
        name = f"own{next(COUNTER)}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def ran(monkeypatch, capsys, *arguments):
    """Return exit code, data and errors of a command."""
    monkeypatch.setattr(sys, "argv", ["parity", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out, err = capsys.readouterr()
    return left.value.code, out, [line for line in err.splitlines() if not line.startswith("[")]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("1 / 0", "line 1, in <module>: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", "line 1, in <module>: SystemExit: 0"),
        ("raise SystemExit", "line 1, in <module>: SystemExit"),
        ("class Own(BaseException): pass\nraise Own('why')", "Own: why"),
        ("def f(): f()\nf()", "line 1, in f: RecursionError"),
        ("def f(:", "line 1, in <module>: SyntaxError: invalid syntax"),
        ("x = 1", "cannot be loaded: module "),
        ("reference = 3", "is of type int and no adapter; give an object with name, sections, load"),
        ("class reference: name, sections, load = 'a', (), 1", "is the class reference and no adapter"),
        ("raise AttributeError('\\x1b[31m\\n' + 'x' * 10000)", r"AttributeError: \x1b[31m\n"),
        ("print('rubbish'); raise ValueError('two\\nlines')", r"ValueError: two\nlines"),
        ("class E(Exception):\n def __str__(self): raise SystemExit(0)\nraise E", "<exception str() failed>"),
        ("import no_such_framework", "needs no_such_framework, which is not installed"),
    ],
)
def test_a_reference_that_cannot_be_imported(tmp_path, monkeypatch, capsys, own, source, words):
    case, name = numpy_program.write(tmp_path), own(source)
    arguments = ["record", case, "--reference", f"{name}:reference", "--out", tmp_path / "trace"]
    code, out, said = ran(monkeypatch, capsys, *arguments)
    said = [line for line in said if line != "rubbish"]
    assert (code, out, len(said)) == (2, "", 1)
    assert said[0].startswith(f"error: the reference {name}:reference ")
    assert words in said[0]
    assert said[0].isprintable()
    assert len(said[0]) < 3000
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("load", "words"),
    [
        ("raise ValueError('no weights')", "in load: ValueError: no weights"),
        ("raise SystemExit(0)", "in load: SystemExit: 0"),
        ("return None", "it was given what it cannot use: AttributeError: 'NoneType' object has no attribute"),
        ("return load", "in load: NameError"),
    ],
)
def test_a_reference_that_cannot_load(tmp_path, monkeypatch, capsys, own, load, words):
    case, name = numpy_program.write(tmp_path), own(REFERENCE.format(load=load))
    arguments = ["record", case, "--reference", f"{name}:reference", "--out", tmp_path / "trace"]
    code, out, said = ran(monkeypatch, capsys, *arguments)
    assert (code, out, len(said)) == (2, "", 1)
    assert words in said[0]


def test_what_was_recorded_before_an_adapter_fails_can_be_read(tmp_path, monkeypatch, capsys, own):
    load = """system = numpy_program.reference.load(resolved, **options)
        def failing(*arguments):
            raise SystemExit(0)
        system.twin = failing
        return system"""
    case, name = numpy_program.write(tmp_path), own(REFERENCE.format(load=load))
    arguments = ["record", case, "--reference", f"{name}:reference", "--out", tmp_path / "trace"]
    code, _, said = ran(monkeypatch, capsys, *arguments)
    hint, error = said
    assert code == 2
    assert hint.endswith("is not complete; the same command with --resume goes on from what is")
    assert error.startswith("error: ")
    assert "in failing: SystemExit: 0" in error
    kept = Trace.open(tmp_path / "trace", allow_incomplete=True)
    assert len(kept.run("float32")) > 0


@pytest.mark.parametrize(
    ("alignment", "build", "words"),
    [
        ("return None", "pass", "given what it cannot use: TypeError: cannot unpack non-iterable NoneType"),
        ("raise SystemExit(0)", "pass", "in alignment: SystemExit: 0"),
        ("return [3], {}", "pass", "given what it cannot use: AttributeError: 'int' object"),
        (WHOLE, "return 1 / 0", "in build: ZeroDivisionError"),
        (WHOLE, "print('rubbish'); raise SystemExit(1)", "in build: SystemExit: 1"),
        (WHOLE, "pass", "given what it cannot use: AttributeError: 'NoneType' object"),
    ],
)
def test_a_candidate_that_fails(program, tmp_path, monkeypatch, capsys, own, alignment, build, words):
    name = own(CANDIDATE.format(alignment=alignment, build=build))
    arguments = ["replay", program.folder, "--candidate", f"{name}:candidate", "--out", tmp_path / "out"]
    code, out, said = ran(monkeypatch, capsys, *arguments)
    said = [line for line in said if line != "rubbish"]
    assert (code, out, len(said)) == (2, "", 1)
    assert words in said[0]


def test_every_call_is_shown_where_it_is_asked_for(tmp_path, monkeypatch, capsys, own):
    monkeypatch.setenv("PARITY_TRACEBACK", "1")
    case, name = numpy_program.write(tmp_path), own("1 / 0")
    arguments = ["record", case, "--reference", f"{name}:reference", "--out", tmp_path / "trace"]
    code, _, said = ran(monkeypatch, capsys, *arguments)
    assert code == 2
    assert "    1 / 0" in said
    assert said[-1].startswith("error: ")


def test_who_ends_the_process_is_not_taken_for_an_adapter(monkeypatch, capsys):
    """What leaves is a function of ours, though a line of theirs has called it."""
    monkeypatch.setattr(sys, "argv", ["parity", "nothing"])
    with pytest.raises(SystemExit), points.guarded("the fault theirs.py"):
        cli.main()
    assert capsys.readouterr().err.startswith("error: No such command")


def test_a_recording_in_ones_own_adapter_is_a_recording(tmp_path, own):
    case, name = (
        numpy_program.write(tmp_path),
        own(REFERENCE.format(load="return numpy_program.reference.load(resolved, **options)")),
    )
    trace = record(load(case), points.find("reference", f"{name}:reference"), tmp_path / "trace")
    assert trace.manifest.name == "own"
