"""A planted fault is a Python file with a function for the checkpoint, for the model, or for both."""

from __future__ import annotations

import os

import pytest

from parity.adapters.plants import Plant
from parity.errors import InputError


def test_a_file_changes_what_it_has_a_function_for(tmp_path):
    (tmp_path / "fault.py").write_text("def checkpoint(state):\n    state['a'] = 2\n")
    plant, state, root = Plant.of(tmp_path / "fault.py"), {"a": 1}, []
    plant.checkpoint(state)
    plant.model(root)
    assert (state, root, plant.changes_checkpoint) == ({"a": 2}, [], True)


def test_without_a_file_nothing_is_changed(tmp_path):
    (tmp_path / "model.py").write_text("def model(root):\n    root.append(1)\n")
    for file, root in ((None, []), (tmp_path / "model.py", [1])):
        plant, state, changed = Plant.of(file), {"a": 1}, []
        plant.checkpoint(state)
        plant.model(changed)
        assert (state, changed, plant.changes_checkpoint) == ({"a": 1}, root, False)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def model(root)\n    pass\n", r"fault\.py, line 1, in <module>: SyntaxError: expected ':'"),
        ("\n\n1 / 0\n", r"fault\.py, line 3, in <module>: ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)\n", r"fault\.py, line 1, in <module>: SystemExit: 0"),
        ("import sys\nsys.exit(0)\n", r"fault\.py, line 2, in <module>: SystemExit: 0"),
        ("class Own(BaseException): pass\nraise Own\n", r"fault\.py, line 2, in <module>: .*Own"),
        ("def f(): f()\nf()\n", r"fault\.py, line 1, in f: RecursionError"),
        ("x = 1\n", "has neither a function checkpoint nor model, so it changes nothing"),
        ("model = 3\n", "has neither a function checkpoint nor model"),
        ("\0", "null bytes"),
    ],
)
def test_a_file_that_is_no_fault_is_one_error_with_its_line(tmp_path, source, words):
    (tmp_path / "fault.py").write_text(source)
    with pytest.raises(InputError, match=words):
        Plant.of(tmp_path / "fault.py")


def test_a_function_that_fails_is_one_error_with_its_line(tmp_path):
    (tmp_path / "fault.py").write_text(
        "def model(root):\n    root.nothing\n\ndef checkpoint(state):\n    raise SystemExit\n"
    )
    plant = Plant.of(tmp_path / "fault.py")
    with pytest.raises(InputError, match=r"fault\.py, line 2, in model: AttributeError: 'int' object has no attribute"):
        plant.model(1)
    with pytest.raises(InputError, match=r"fault\.py, line 5, in checkpoint: SystemExit"):
        plant.checkpoint({})


def test_a_pipe_is_no_fault(tmp_path):
    os.mkfifo(tmp_path / "fault.py")
    with pytest.raises(InputError, match="it is a pipe, and no regular file; give a Python file"):
        Plant.of(tmp_path / "fault.py")
