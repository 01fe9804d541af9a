"""How dense code is: branches in ten lines of functions.

    python -m tests.meta.density parity parity/compare

A reader follows code line by line and has to unfold each decision on the way. A branch is an `if`, a loop, an
`except`, a `case`, a conditional expression, a chain of `and` or `or`, and each `for` of a comprehension. The lines
are those of functions and methods, without docstrings, blank lines and comments.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path

STATEMENTS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case, ast.BoolOp)
FOLDED = (ast.comprehension, ast.IfExp)
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass
class Density:
    """Counts of some files; `folded` branches sit in comprehensions and conditional expressions."""

    lines: int = 0
    branches: int = 0
    folded: int = 0

    @property
    def in_ten_lines(self) -> float:
        """Branches in ten lines."""
        return 10 * self.branches / self.lines if self.lines else 0.0

    @property
    def share_folded(self) -> float:
        """The share of branches that sit in comprehensions and conditional expressions."""
        return self.folded / self.branches if self.branches else 0.0


def measure(*places: Path) -> Density:
    """Count files and, of folders, every Python file below."""
    total = Density()
    for place in places:
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        for file in files:
            add(total, file.read_text(encoding="utf-8"))
    return total


def add(total: Density, text: str) -> None:
    """Count one file's text."""
    lines: set[int] = set()
    seen: set[ast.AST] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines |= lines_of(node)
            seen.update(ast.walk(node))
    total.lines += len(lines & code_lines(text))
    for node in seen:
        folded = isinstance(node, FOLDED)
        total.branches += folded or isinstance(node, STATEMENTS)
        total.folded += folded


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[int]:
    """Return the numbers of a function's lines, without its docstring."""
    lines = set(range(function.lineno, (function.end_lineno or function.lineno) + 1))
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return lines


def code_lines(text: str) -> set[int]:
    """Return the numbers of the lines that hold code."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            found.update(range(token.start[0], token.end[0] + 1))
    return found


if __name__ == "__main__":
    for name in sys.argv[1:]:
        counted = measure(Path(name))
        told = f"{counted.in_ten_lines:5.2f} in {counted.lines} lines, {counted.share_folded:.0%} folded"
        sys.stdout.write(f"{name:30} {told}\n")
