"""The tool that asks whether the tests would notice: which changes it makes, and that it tells caught from survived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import FunctionType

import pytest

from tests.conftest import ROOT
from tests.meta.mutants.changes import changes_of
from tests.meta.mutants.trial import forked


def changed(source):
    """Return what each change of a module says, without its place."""
    return [str(change).partition(": ")[2] for change in changes_of("m.py", source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a <= b", ["a <= b  ->  a < b", "a <= b  ->  a > b"]),
        ("a is not b", ["a is not b  ->  a is b"]),
        ("a and b", ["a and b  ->  b", "a and b  ->  a", "a and b  ->  a or b"]),
        ("not a", ["not a  ->  a"]),
        ("a + b", ["a + b  ->  a - b"]),
        ("3", ["3  ->  4", "3  ->  2"]),
        ("0.5", ["0.5  ->  1.0", "0.5  ->  0.25"]),
        ("True", ["True  ->  False"]),
        ("'word'", ["'word'  ->  ''", "'word'  ->  'word_'"]),
        ("f(a, b, c=d)", ["f(a, b, c=d)  ->  f(b, a, c=d)", "f(a, b, c=d)  ->  f(a, b)"]),
        ("max(a)", ["max  ->  min"]),
        ("sorted(a)", ["sorted(a)  ->  list(a)"]),
        ("a[b:]", ["b:  ->  :"]),
        ("[a for a in b if c]", ["for a in b if c  ->  for a in b if not c", "for a in b if c  ->  for a in b"]),
        ("b if a else c", ["b if a else c  ->  b if not a else c"]),
        ("expected, candidate", ["expected  ->  candidate", "candidate  ->  expected"]),
    ],
)
def test_an_expression_is_changed_in_each_way_that_a_hand_slips(source, expected):
    assert [each for each in changed(f"x = {source}") if each in expected] == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f() -> bool:\n    return a", ["return a  ->  return not a"]),
        ("def f() -> float:\n    return a", ["return a  ->  return a + 1"]),
        ("def f() -> list[int]:\n    return a", ["return a  ->  return []"]),
        ("def f(a=1):\n    call(a)", ["1  ->  2", "1  ->  0", "call(a)  ->  pass"]),
        ("if a:\n    b()", ["if a: b()  ->  pass", "if a: b()  ->  if not a: b()", "b()  ->  pass"]),
        ("a += 1", ["a += 1  ->  pass", "a += 1  ->  a -= 1", "1  ->  2", "1  ->  0"]),
        ("for a in b:\n    continue", ["continue  ->  pass"]),
        ("raise a", ["raise a  ->  pass"]),
    ],
)
def test_a_statement_is_changed_or_left_out(source, expected):
    assert changed(source) == expected


def test_what_no_run_depends_on_is_left_alone():
    source = '''
"""A docstring."""
from a import b
__all__ = ["b"]
if TYPE_CHECKING:
    from a import c
def f(a: Literal["x"]) -> Literal["y"]:
    """Another."""
    raise ValueError(f"{a!r} is no number", "a sentence for a person")
'''
    assert len(changed(source)) == 2
    assert changed(source)[0].endswith("  ->  pass")
    assert changed(source)[1].startswith("ValueError(")  # its arguments exchanged


def test_a_change_is_compiled_and_leaves_the_next_one_alone():
    changes = changes_of("m.py", "x = 1 < 2\ny = 3\n")
    found = []
    for change in changes:
        names = {}
        FunctionType(change.compiled(), names)()
        found.append((names["x"], names["y"]))
    assert found == [(True, 3), (False, 3), (False, 3), (True, 3), (True, 3), (False, 3), (True, 4), (True, 2)]


def test_a_process_that_never_ends_is_ended_by_its_time_on_the_processor():
    def endless():
        while True:
            pass

    before = time.process_time()
    assert forked(endless, cpu_s=0) == -signal.SIGXCPU
    assert time.process_time() - before < 1  # the child's time is not this process's


def test_a_process_that_waits_for_ever_is_ended_by_the_clock():
    assert forked(lambda: time.sleep(3600), cpu_s=10, clock_s=0.1) == -signal.SIGKILL


@pytest.mark.parametrize("code", [0, 1, 5])
def test_the_code_of_a_process_is_told(code):
    assert forked(lambda: code, cpu_s=10) == code


TRY = """
from tests.meta.mutants.changes import changes_of
from tests.meta.mutants.trial import forked, load, run_tests
file = "parity/dtypes.py"
source = open(file).read()
lines = source.splitlines()
changes = [change for change in changes_of(file, source) if "2.0 ** -_MANTISSA_BITS[name]" in lines[change.line - 1]]
load(["numpy", "hypothesis"])
for change in (None, *changes[:2]):
    changed = change and (file, change.compiled())
    code = forked(lambda: run_tests(["tests/parity/test_dtypes.py"], changed), cpu_s=60)
    print(code, change)
"""


def test_the_tests_of_a_module_pass_as_it_is_and_notice_each_change_of_a_line():
    finished = subprocess.run([sys.executable, "-c", TRY], cwd=ROOT, capture_output=True, text=True, check=True)
    first, *others = finished.stdout.splitlines()
    assert first == "0 None"
    assert len(others) == 2
    assert [each for each in others if not each.startswith("1 ")] == []


def test_who_executes_a_line_is_told_with_what_a_fixture_executed_for_it(tmp_path):
    pytest.importorskip("coverage")
    (tmp_path / "product").mkdir()
    (tmp_path / "product" / "__init__.py").touch()
    (tmp_path / "product" / "part.py").write_text(
        "def double(x):\n    return 2 * x\n\n\ndef half(x):\n    return x / 2\n"
    )
    (tmp_path / "test_part.py").write_text(WATCHED)
    code = (
        "import json; from pathlib import Path; from tests.meta.mutants.sight import Sight, watch\n"
        "watched = watch(Path.cwd(), ['product'], ['-q', '-p', 'no:cacheprovider', 'test_part.py'])\n"
        "for line in (1, 2, 6): print(json.dumps(sorted(Sight(watched).of('product/part.py', line))))"
    )
    path = os.pathsep.join([str(ROOT), *sys.path])
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    by_line = [json.loads(line) for line in finished.stdout.splitlines()[-3:]]
    one, two, three = (f"test_part.py::test_{name}" for name in ("one", "two", "three"))
    assert by_line == [sorted([one, two, three]), sorted([one, two]), [three]]


WATCHED = """
import pytest
from product.part import double, half

@pytest.fixture(scope="module")
def doubled():
    return double(2)

def test_one(doubled):
    assert doubled == 4

def test_two(doubled):
    assert doubled > 3

def test_three():
    assert half(2) == 1
"""
