"""Which tests execute which line: written down once by coverage.py, and again for files of tests that changed.

Of a module that changed since, a test is taken to see every line that saw one.
A line that runs while a fixture is set up is seen by every test that asks for the fixture, not only by the first. Lines that
run while a module is imported are seen by every test that executes some line of it.
"""

from __future__ import annotations

import hashlib
import math
import sys
from itertools import accumulate
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import coverage
import msgspec
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Sight", "Watched", "digest", "watch"]


class Watched(msgspec.Struct, kw_only=True):
    """What is known of the tests of some files.

    Attributes:
        digests: Of every file that was executed or collected, when it was.
        seconds: The time on the processor that each test took that passed; one that does not pass notices nothing.
        lines: By file and line, the tests that execute it; under line 0 those of which no more is known than the file.
        loaded: The modules of others that the tests load.
    """

    digests: dict[str, str] = {}
    seconds: dict[str, float] = {}
    lines: dict[str, dict[int, list[str]]] = {}
    loaded: list[str] = []

    def forget_lines(self, file: str) -> None:
        """Keep of a file only which tests execute some line of it."""
        self.lines[file] = {0: sorted(set().union(*self.lines.get(file, {}).values()))}

    def replace(self, stale: Iterable[str], later: Watched) -> None:
        """Put what was watched later in place of what was known of some files of tests."""
        gone = {test for test in self.seconds if test.partition("::")[0] in set(stale)}
        self.seconds = {test: seconds for test, seconds in self.seconds.items() if test not in gone} | later.seconds
        for file, seen in later.lines.items():
            if self.digests.get(file) != later.digests.get(file):
                self.forget_lines(file)
            mine = self.lines[file]
            for line, tests in seen.items():
                mine[line] = sorted({*mine.get(line, ()), *tests})
        for mine in self.lines.values():
            for line, tests in mine.items():
                mine[line] = [test for test in tests if test in self.seconds]
        self.digests |= later.digests
        self.loaded = sorted({*self.loaded, *later.loaded})


def digest(path: Path) -> str:
    """Return what tells two states of a file apart."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


class _Watcher:
    """A plugin of pytest that tells coverage.py which test, or which fixture, is at work."""

    def __init__(self, measured: coverage.Coverage) -> None:
        """Keep the measurement."""
        self.measured = measured
        self.seconds: dict[str, float] = {}
        self.fixtures: dict[str, Sequence[str]] = {}
        self.failed: set[str] = set()
        self._at_work: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Note what one test executes, and its time."""
        started = process_time()
        self.fixtures[item.nodeid] = list(getattr(item, "fixturenames", []))
        self._begin(item.nodeid)
        done = yield
        self._end()
        self.seconds[item.nodeid] = process_time() - started
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that did not pass."""
        if not report.passed:
            self.failed.add(report.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef) -> Iterator[object]:
        """Note what a fixture executes."""
        self._begin(f"fixture {fixturedef.argname}")
        try:
            return (yield)
        finally:
            self._end()

    def _begin(self, name: str) -> None:
        """Let lines count for a name."""
        self._at_work.append(name)
        self.measured.switch_context(name)

    def _end(self) -> None:
        """Let them count for the name before."""
        self._at_work.pop()
        self.measured.switch_context(self._at_work[-1] if self._at_work else "")


def watch(root: Path, packages: Sequence[str], arguments: Sequence[str]) -> Watched:
    """Run tests and note what each executes of the packages. This process is of no further use."""
    measured = coverage.Coverage(data_file=None, include=[f"{root}/{name}/*" for name in packages], config_file=False)
    watcher = _Watcher(measured)
    before = set(sys.modules)
    measured.start()
    pytest.main([*arguments], plugins=[watcher])
    measured.stop()
    passed = {test: seconds for test, seconds in watcher.seconds.items() if test not in watcher.failed}
    by_fixture: dict[str, list[str]] = {}
    for test, names in watcher.fixtures.items():
        for name in names:
            by_fixture.setdefault(f"fixture {name}", []).append(test)
    data = measured.get_data()
    lines: dict[str, dict[int, list[str]]] = {}
    for file in sorted(data.measured_files()):
        seen = lines.setdefault(Path(file).relative_to(root).as_posix(), {})
        for line, contexts in data.contexts_by_lineno(file).items():
            tests = {test for name in contexts for test in by_fixture.get(name, [name] if name else [])}
            seen[line] = sorted(tests & passed.keys())
    files = {*lines, *(test.partition("::")[0] for test in watcher.seconds)}
    return Watched(
        digests={file: digest(root / file) for file in files if (root / file).exists()},
        seconds=passed,
        lines=lines,
        loaded=sorted(name for name in set(sys.modules) - before if _is_of_others(name, root)),
    )


def _is_of_others(name: str, root: Path) -> bool:
    """Tell whether a loaded module is neither the project's nor one of its tests'."""
    file = getattr(sys.modules[name], "__file__", None)
    return file is not None and "." not in name and not Path(file).is_relative_to(root)


class Sight:
    """What is known of the tests, and what a change in a line concerns."""

    def __init__(self, watched: Watched) -> None:
        """Index what was watched."""
        self._watched = watched

    def of(self, file: str, line: int, most_s: float = math.inf) -> list[str]:
        """Return the tests that can see a line: the file's own first, then its folder's, the quickest first.

        Beyond `most_s` seconds of them together the rest is left out.
        """
        seen = self._watched.lines.get(file, {})
        tests = {*seen.get(line, ()), *seen.get(0, ())} or set().union(*seen.values()) or self._of_folder(file)
        ranked = sorted(tests, key=lambda test: (_distance(test, file), self.seconds(test)))
        spent = list(accumulate(map(self.seconds, ranked)))
        return [test for test, until in zip(ranked, spent, strict=True) if until <= most_s]

    def _of_folder(self, file: str) -> set[str]:
        """Return the tests of a folder's modules: who sees the constants of a module that does nothing."""
        folder = f"{Path(file).parent.as_posix()}/"
        inside = [seen for name, seen in self._watched.lines.items() if name.startswith(folder)]
        return set().union(*(tests for seen in inside for tests in seen.values()))

    def seconds(self, test: str) -> float:
        """Return the time of a test."""
        return self._watched.seconds.get(test, 0.0)

    def time_of(self, tests: Iterable[str]) -> float:
        """Return the time of some tests."""
        return sum(map(self.seconds, tests))


def _distance(test: str, file: str) -> int:
    """Return how near a test is to a module: 0 in the file of its name, 1 in its folder's files, 2 elsewhere."""
    path = Path(file)
    folder = f"tests/{path.parent.as_posix()}/"
    if test.startswith(f"{folder}test_{path.stem.rstrip('_')}.py::"):
        return 0
    return 1 if test.startswith(folder) else 2
