"""Draws changes of modules from a seed, runs the tests that can see each, and prints those that no test notices."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pytest

from tests.meta.mutants.changes import changes_of
from tests.meta.mutants.sight import Sight, Watched, digest, watch
from tests.meta.mutants.trial import AT_FIRST, NOT_DONE, forked, load, run_tests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.meta.mutants.changes import Change

ROOT: Final = Path(__file__).parents[3]
TESTS: Final = {
    "parity": ("tests/parity", "tests/meta/test_doctests.py"),
    "mindone_sdxl": ("tests/mindone_sdxl",),
}
"""The tests that may see a package, its child processes aside; of the core those that need no framework."""
WITHOUT_FRAMEWORKS: Final = "not torch and not mindspore and not full"
_FRAMEWORKS: Final = {"torch", "mindspore", "diffusers", "transformers"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, try and tell; return how many changes no test noticed."""
    asked = _parser().parse_args(arguments)
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    files = sorted({file for place in asked.modules for file in _files(place)})
    package = files[0].partition("/")[0]
    tests = asked.tests or TESTS[package]
    watched = _watched(package, files, tests, Path(asked.seen))
    load(name for name in watched.loaded if name not in _FRAMEWORKS)
    drawn = _drawn(files, asked.seed, asked.count)
    sight = Sight(watched)
    _refuse_what_fails_anyway(drawn, sight)
    survived = _tried(drawn, sight, asked.most_s)
    _tell(drawn, survived, asked.seed)
    return len(survived)


def _parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s mutants --", description=__doc__)
    parser.add_argument("modules", nargs="+", metavar="MODULE", help="files or folders of one package, parity/compare")
    parser.add_argument("--seed", type=int, default=0, help="which changes are drawn (default 0)")
    parser.add_argument("--count", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--tests", nargs="+", metavar="PLACE", help="the tests to run (default: those of the package)")
    parser.add_argument(
        "--most-s", type=float, default=30, help="seconds of tests for one change, the quickest first (default 30)"
    )
    parser.add_argument(
        "--seen", default=str(ROOT / ".nox" / "seen.json"), help="where it is kept which test executes which line"
    )
    return parser


def _files(place: str) -> list[str]:
    """Return the modules at a place, by their path in the repository."""
    path = ROOT / place
    found = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    if not all(file.is_file() for file in found):
        message = f"there is no {place}; name a file or a folder of the repository"
        raise SystemExit(message)
    return [file.relative_to(ROOT).as_posix() for file in found]


def _watched(package: str, files: Sequence[str], tests: Sequence[str], kept: Path) -> Watched:
    """Return what is known of the tests; those in files that are not as they were, or new, are run once more."""
    kept = kept.with_stem(f"{kept.stem}-{package}")
    watched = msgspec.json.decode(kept.read_bytes(), type=Watched) if kept.exists() else Watched()
    stale = [file for file in _test_files(tests) if watched.digests.get(file) != digest(ROOT / file)]
    if stale:
        _say(f"running {len(stale)} files of tests once, to see which lines each test executes")
        watched.replace(stale, _watch(package, stale, kept))
        kept.write_bytes(msgspec.json.encode(watched))
    for file in files:
        if watched.digests.get(file) != digest(ROOT / file):
            watched.forget_lines(file)
    return watched


def _test_files(tests: Sequence[str]) -> list[str]:
    """Return the files of tests at some places."""
    places = [ROOT / place for place in tests]
    found = [file for place in places for file in (sorted(place.rglob("test_*.py")) if place.is_dir() else [place])]
    return [file.relative_to(ROOT).as_posix() for file in found]


def _watch(package: str, tests: Sequence[str], kept: Path) -> Watched:
    """Run tests in a process of their own and return what was seen."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    later = kept.with_suffix(".new")
    chosen = [*tests, "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    if package == "parity":
        chosen += ["-m", WITHOUT_FRAMEWORKS]

    def record() -> int:
        watched = watch(ROOT, [package], chosen)
        # A file without a test that is run here has been watched too.
        watched.digests |= {file: digest(ROOT / file) for file in tests}
        later.write_bytes(msgspec.json.encode(watched))
        return 0

    forked(record, cpu_s=3600, clock_s=7200, quiet=False)
    return msgspec.json.decode(later.read_bytes(), type=Watched)


def _drawn(files: Sequence[str], seed: int, count: int) -> list[Change]:
    """Return some changes of some modules, each change equally likely."""
    every = [change for file in files for change in changes_of(file, (ROOT / file).read_text(encoding="utf-8"))]
    chosen = np.random.default_rng(seed).choice(len(every), min(count, len(every)), replace=False)
    return [every[place] for place in chosen]


def _refuse_what_fails_anyway(drawn: Sequence[Change], sight: Sight) -> None:
    """End if tests cannot be run where nothing is changed: they would seem to notice everything.

    A test that does not pass anyway is not among those that see a line.
    """
    tests = [test for change in drawn[:1] for test in sight.of(change.file, change.line)[:AT_FIRST]]
    if forked(lambda: run_tests(tests, None), cpu_s=60 + 5 * sight.time_of(tests)):
        message = f"the tests fail without any change; see: python -m pytest {' '.join(sorted({test.partition('::')[0] for test in tests}))}"
        raise SystemExit(message)


def _tried(drawn: Sequence[Change], sight: Sight, most_s: float) -> list[Change]:
    """Return the changes that no test notices, and say each as it is found."""
    survived = []
    for number, change in enumerate(drawn, 1):
        tests = sight.of(change.file, change.line, most_s)
        if _survives(change, tests, cpu_s=20 + 3 * sight.time_of(tests)):
            survived.append(change)
            _say(f"SURVIVED {change}  [{len(tests)} tests]")
        if number % 20 == 0:
            _say(f"{number} of {len(drawn)} tried, {len(survived)} survived")
    return survived


def _survives(change: Change, tests: Sequence[str], cpu_s: float) -> bool:
    """Tell whether tests pass with a change."""
    code = change.compiled()
    ended = forked(lambda: run_tests(tests, (change.file, code)), cpu_s=cpu_s, clock_s=20 * cpu_s)
    if ended == NOT_DONE:
        message = f"the tests could not be run with {change}"
        raise SystemExit(message)
    return ended in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


def _tell(drawn: Sequence[Change], survived: Sequence[Change], seed: int) -> None:
    """Print the figures by module."""
    of_all, of_survived = (Counter(change.file for change in each) for each in (drawn, survived))
    for file, count in sorted(of_all.items()):
        _say(f"{file:50} {count:4} drawn {count - of_survived[file]:4} caught")
    _say(f"seed {seed}: {len(drawn)} drawn, {len(drawn) - len(survived)} caught, {len(survived)} survived")


def _say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(min(main(), 100))
