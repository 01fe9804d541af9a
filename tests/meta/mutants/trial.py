"""Runs tests with a changed module, in a process forked from one that has loaded all but the project.

Loading numpy, scipy and the rest once saves most of the time of a trial. The forked process imports the project anew, the
changed module from the code that it was given; nothing is written where it could be taken for the module.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import CodeType, ModuleType

__all__ = ["AT_FIRST", "NOT_DONE", "forked", "load", "run_tests"]

OPTIONS: Final = (
    "-x",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
AT_FIRST: Final = 10
"""How many tests are run by themselves before the others; most changes are noticed by them."""
_SURVIVED: Final = 0
NOT_DONE: Final = 70
"""The code of a process whose work itself raised."""
_MEMORY: Final = 6 << 30


def load(names: Iterable[str]) -> None:
    """Import modules of others, where they are to be had."""
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)


def forked(work: Callable[[], int], *, cpu_s: float, clock_s: float = 3600, quiet: bool = True) -> int:
    """Do work in a forked process and return its code, or minus the signal that ended it.

    It ends after `cpu_s` seconds on the processor, and after `clock_s` by the clock if it waits for something.
    """
    child = os.fork()
    if child:
        return _awaited(child, time.monotonic() + clock_s)
    code = NOT_DONE
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s) + 1, int(cpu_s) + 2))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        if quiet:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
        code = work()
    finally:
        os._exit(code)


def _awaited(child: int, until: float) -> int:
    """Wait for a process, and end it and what it started when its time is over."""
    with suppress(PermissionError, ProcessLookupError):
        os.setpgid(child, child)  # whoever is first; so that it can be ended with all that it started
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def run_tests(tests: Sequence[str], changed: tuple[str, CodeType] | None) -> int:
    """Run tests, the first few by themselves; return 0 when all pass, changed or not. For a forked process alone."""
    if changed is not None:
        sys.meta_path.insert(0, _Changed(*changed))
    temporary = tempfile.mkdtemp(prefix="mutant-")
    try:
        for part in (tests[:AT_FIRST], tests[AT_FIRST:]):
            code = (
                int(pytest.main([*OPTIONS, f"--basetemp={temporary}/t", *part], plugins=[_InOrder(part)]))
                if part
                else 0
            )
            if code:
                return code
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return _SURVIVED


class _InOrder:
    """A plugin of pytest that runs tests in the order in which they were named."""

    def __init__(self, tests: Sequence[str]) -> None:
        """Keep the order."""
        self._places = {test: place for place, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put them in order."""
        items.sort(key=lambda item: self._places.get(item.nodeid, len(self._places)))


class _Changed:
    """A finder of one module, which gives the changed code for it."""

    def __init__(self, file: str, code: CodeType) -> None:
        """Keep the code."""
        self._name = Path(file).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        self._code = code

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> object:
        """Return where the module is, with its changed code."""
        if name != self._name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            code = self._code
            spec.loader.get_code = lambda _: code  # type: ignore[method-assign]
        return spec
