"""Recipes of docs/changing.md: a section's blocks are written into a copy of the tree, and its commands run there.

A block of code names its file in a comment on its first line. A file that is there gets the text at its end; another is
made. A `diff` shows lines as they are (` `), as they shall be (`+`) and as they shall not (`-`). A block `sh` holds commands.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DOCUMENT = ROOT / "docs" / "changing.md"
HEADING = re.compile(r"^## (?P<title>.+)$", re.MULTILINE)
FENCED = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"(?:#|//|<!--) (?P<path>[\w./-]+)(?: -->)?\n")
TREE = ("parity", "torch_refs", "mindone_sdxl", "tests", "docs", "pyproject.toml")


class Block(NamedTuple):
    """Text for one file."""

    language: str
    path: str
    text: str

    def write(self, tree: Path) -> None:
        """Put the text into its file in a copy of the tree."""
        file = tree / self.path
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._changed(before), encoding="utf-8")

    def _changed(self, before: str) -> str:
        """Return what the file holds with the block."""
        if self.language != "diff":
            return before + self.text
        lines = self.text.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        if before.count(old) != 1:
            message = f"{self.path} holds these lines {before.count(old)} times, and not once:\n{old}"
            raise ValueError(message)
        return before.replace(old, new)


@dataclass(frozen=True)
class Recipe:
    """One section: what it changes, and the commands that prove it."""

    title: str
    blocks: tuple[Block, ...]
    commands: tuple[str, ...]

    def touched(self) -> set[str]:
        """Return the files that it changes, tests left out."""
        return {block.path for block in self.blocks if not block.path.startswith("tests/")}

    def carry_out(self, tree: Path, blocks: Iterable[Block] | None = None) -> list[subprocess.CompletedProcess[str]]:
        """Write the blocks (all, or these) into a copy of the tree and run the commands there."""
        for block in self.blocks if blocks is None else blocks:
            block.write(tree)
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        return [
            subprocess.run(
                [sys.executable, *shlex.split(command)[1:]], cwd=tree, env=environment, capture_output=True, text=True,
                check=False,
            )
            for command in self.commands
        ]  # fmt: skip


def read(document: str) -> dict[str, Recipe]:
    """Return the recipes of a document by title."""
    # A block may hold a page with headings of its own.
    without_blocks = FENCED.sub(lambda fenced: "." * len(fenced[0]), document)
    headings = list(HEADING.finditer(without_blocks))
    ends = [*(heading.start() for heading in headings[1:]), len(document)]
    return {
        heading["title"]: _recipe(heading["title"], document[heading.end() : end])
        for heading, end in zip(headings, ends, strict=True)
    }


def _recipe(title: str, text: str) -> Recipe:
    """Read one section."""
    blocks, commands = [], []
    for fenced in FENCED.finditer(text):
        name = NAMED.match(fenced["text"])
        if fenced["language"] == "sh":
            commands += fenced["text"].splitlines()
        elif name is not None:
            blocks.append(Block(fenced["language"], name["path"], fenced["text"][name.end() :]))
    return Recipe(title, tuple(blocks), tuple(commands))


def copy_tree(folder: Path, names: Iterable[str] = TREE) -> Path:
    """Copy these folders and files of the tree."""
    for name in names:
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(place, folder / name)
    return folder
