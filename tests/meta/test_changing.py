"""docs/changing.md does what it says: each recipe is carried out in a copy of the tree, in as few files as it promises."""

from __future__ import annotations

import pytest

from tests.meta.recipes import DOCUMENT, Block, copy_tree, read

RECIPES = read(DOCUMENT.read_text(encoding="utf-8"))
MOST_FILES = {
    "A cause": 3, "A metric": 3, "A sampler": 2, "A column": 1, "A format": 1, "A framework": 1, "A pipeline": 1,
    "A stage": 1,
}  # fmt: skip


def test_every_recipe_has_a_promise():
    assert set(RECIPES) == set(MOST_FILES)


@pytest.mark.parametrize("title", MOST_FILES)
def test_a_recipe_touches_few_files(title):
    assert 0 < len(RECIPES[title].touched()) <= MOST_FILES[title]


@pytest.mark.parametrize("title", MOST_FILES)
def test_a_recipe_works_as_it_stands(title, tmp_path):
    finished = RECIPES[title].carry_out(copy_tree(tmp_path))
    assert finished
    for command in finished:
        assert command.returncode == 0, command.stdout + command.stderr


def test_a_cause_without_its_row_is_none(tmp_path):
    recipe = RECIPES["A cause"]
    blocks = [block for block in recipe.blocks if block.path != "parity/diagnose/kinds.py"]
    (command,) = recipe.carry_out(copy_tree(tmp_path), blocks)
    assert command.returncode == 1, command.stdout
    assert "test_diagnosis.py::test_a_fault_is_named_located_and_proven[a clamp]" in command.stdout
    assert "test_kinds.py::test_every_cause_has_a_page" in command.stdout


def test_lines_that_are_not_there_or_there_twice_are_refused(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\ny = 2\nx = 1\n")
    Block("diff", "a.py", " y = 2\n+z = 3\n").write(tmp_path)
    assert (tmp_path / "a.py").read_text() == "x = 1\ny = 2\nz = 3\nx = 1\n"
    for line in ("x = 1", "w = 4"):
        with pytest.raises(ValueError, match="and not once"):
            Block("diff", "a.py", f"-{line}\n+u = 5\n").write(tmp_path)
