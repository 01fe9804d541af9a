"""One function for each tool: compare the pairs of a set by this tool's own means, at its own defaults.

A tool runs in its own interpreter, which may know neither parity nor the other tools, so everything is imported
where it is used.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from parity.result import Result

SIDES = ("reference", "candidate")
THREADS = 2


def _files(folder: Path) -> list[tuple[Path, Path]]:
    """Return the files of both sides."""
    names = sorted(path.name for path in (folder / "npy" / "reference").iterdir())
    return [(folder / "npy" / "reference" / name, folder / "npy" / "candidate" / name) for name in names]


def scan(folder: Path) -> Callable[[], None]:
    """The largest value of every file, in two threads: nothing can read the same bytes with numpy faster."""
    arrays = [np.load(path, mmap_mode="r") for pair in _files(folder) for path in pair]

    def run() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(np.max, arrays))

    return run


def allclose(folder: Path) -> Callable[[], None]:
    """numpy.allclose of every pair, loaded one at a time."""
    files = _files(folder)

    def run() -> None:
        for first, second in files:
            np.allclose(np.load(second), np.load(first), rtol=1e-4, atol=1e-4)

    return run


def parity(folder: Path) -> Callable[[], None]:
    """parity.compare of two opened traces, without a float64 twin: all distances, verdicts, a second look."""
    from parity.compare import compare
    from parity.trace import Trace

    _start_compiled()
    reference, candidate = (Trace.open(folder / "trace" / side) for side in SIDES)
    count = _count(folder)
    return lambda: _checked(compare(reference, [candidate], jobs=THREADS), count)


def _start_compiled() -> None:
    """Start numba, where it is installed: starting does not count, loading the code for each type does."""
    from parity.distance.fast import WORTH
    from parity.distance.measure import measure
    from parity.distance.tensor import Tensor

    some = Tensor(np.ones(WORTH), "float64")
    measure(some, some, compiled=True)


def parity_npy(folder: Path) -> Callable[[], None]:
    """The same of the plain folders, opening them included."""
    from parity.compare import compare
    from parity.trace import Trace

    _start_compiled()
    count = _count(folder)

    def run() -> None:
        reference, candidate = (Trace.open(folder / "npy" / side) for side in SIDES)
        _checked(compare(reference, [candidate], jobs=THREADS), count)

    return run


def _count(folder: Path) -> int | None:
    """Return how many pairs a set has; None for a type that `.npy` does not have."""
    return len(_files(folder)) if (folder / "npy").exists() else None


def _checked(result: Result, count: int | None) -> None:
    """Refuse a result that did not compare everything."""
    pairs = sum(pair.rel_l2 is not None for pair in result.pairs)
    if count is not None and pairs != count:
        message = f"parity measured {pairs} pairs of {count}"
        raise RuntimeError(message)


def troubleshooter(folder: Path) -> Callable[[], None]:
    """Troubleshooter's comparison of two folders; its default is one process for each core but one."""
    from troubleshooter.migrator import compare_npy_dir  # type: ignore[import-not-found]

    return lambda: compare_npy_dir(str(folder / "npy" / "reference"), str(folder / "npy" / "candidate"))


def msprobe(folder: Path) -> Callable[[], None]:
    """Msprobe's comparison of two MindSpore dumps."""
    from msprobe.core.common import file_utils  # type: ignore[import-not-found]
    from msprobe.mindspore.compare.ms_compare import ms_compare  # type: ignore[import-not-found]

    del file_utils

    def run() -> None:
        with tempfile.TemporaryDirectory() as out:
            given = {
                "npu_path": str(folder / "msprobe" / "candidate" / "dump.json"),
                "bench_path": str(folder / "msprobe" / "reference" / "dump.json"),
                "is_print_compare_log": False,
            }
            ms_compare(given, out)
            tables = list(Path(out).glob("*.csv"))
            rows = sum(1 for path in tables for _ in path.open()) - len(tables)
            if rows < len(_files(folder)):
                message = f"msprobe wrote {rows} rows for {len(_files(folder))} pairs"
                raise RuntimeError(message)

    return run


def polygraphy(folder: Path) -> Callable[[], None]:
    """Polygraphy's default comparison of two runs; the outputs are given as arrays, loaded one side after the other."""
    from polygraphy.comparator import Comparator, IterationResult, RunResults  # type: ignore[import-not-found]

    def run() -> None:
        files = _files(folder)
        results = RunResults()
        for side, name in enumerate(SIDES):
            outputs = {pair[side].stem: np.load(pair[side]) for pair in files}
            results.append((name, [IterationResult(outputs=outputs, runner_name=name)]))
        Comparator.compare_accuracy(results)

    return run


def reprod_log(folder: Path) -> Callable[[], None]:
    """reprod_log's comparison of two files that hold all arrays."""
    sys.modules.setdefault("paddle", _empty("paddle"))
    from reprod_log import ReprodDiffHelper  # type: ignore[import-not-found]

    def run() -> None:
        helper = ReprodDiffHelper()
        first, second = (helper.load_info(str(folder / f"reprod_{side}.npy")) for side in SIDES)
        helper.compare_info(first, second)
        with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
            helper.report(path=str(Path(out) / "diff.txt"))

    return run


def _empty(name: str) -> object:
    """Return a module with a class `nn.Layer`: reprod_log imports its framework even where it compares files only."""
    import types

    module = types.ModuleType(name)
    module.nn = types.SimpleNamespace(Layer=object)  # type: ignore[attr-defined]
    module.Tensor = object  # type: ignore[attr-defined]
    return module


TOOLS = {
    "scan": scan, "allclose": allclose, "parity": parity, "parity_npy": parity_npy, "troubleshooter": troubleshooter,
    "msprobe": msprobe, "polygraphy": polygraphy, "reprod_log": reprod_log,
}  # fmt: skip
