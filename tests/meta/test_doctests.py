"""The examples in the core's docstrings give what they show."""

import doctest
import importlib
from types import ModuleType

import pytest

from tests.conftest import ROOT

FRAMEWORKS = ("parity/frameworks", "parity/adapters")


def modules_with_examples():
    """The core's modules that show an example and need no framework, by name."""
    found = []
    for file in sorted((ROOT / "parity").rglob("*.py")):
        path = file.relative_to(ROOT).with_suffix("").as_posix()
        if not path.startswith(FRAMEWORKS) and ">>> " in file.read_text(encoding="utf-8"):
            found.append(path.removesuffix("/__init__").replace("/", "."))
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_give_what_they_show(name):
    told = doctest.testmod(importlib.import_module(name))
    assert told.attempted > 0
    assert told.failed == 0


def test_an_example_that_gives_something_else_fails(capsys):
    wrong = ModuleType("wrong", ">>> 1 + 1\n3\n")
    assert doctest.testmod(wrong) == (1, 1)
    assert "Got:\n    2" in capsys.readouterr().out
