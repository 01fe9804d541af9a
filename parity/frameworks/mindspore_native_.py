"""Recording any MindSpore cell under its own names, for `parity map`.

    from parity.frameworks.mindspore_native_ import record_cell

    with record_cell(model, "native", reference=Trace.open("reference"), dtype="float32", loop="unet") as run:
        generate(model, latents, noise)     # the recorded ones: init_latent.npy, init_noise_scheduler.npy

Every cell's outputs are written, and digests of its parameters. A cell that the run calls many times keeps its calls
apart; `loop` names the cell of which each call is one step of the sampler. What is no cell (the sampler's step,
guidance) can be handed over: `run.function("scheduler.step", {"output": array})`.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity import provenance
from parity.errors import InputError, nearest
from parity.frameworks import mindspore_
from parity.mapping.native import native_trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import mindspore as ms
    import numpy as np

    from parity.mapping.native import NativeRun
    from parity.trace import Trace

__all__ = ["record_cell"]


@contextmanager
def record_cell(
    cell: ms.nn.Cell | dict[str, ms.nn.Cell],
    out: str | Path,
    *,
    reference: Trace,
    dtype: str,
    loop: str | None = None,
    name: str = "native",
) -> Iterator[NativeRun]:
    """Write what the cells below `cell` return while the block runs, as a candidate's trace without an alignment.

    Args:
        cell: The root, whose own name is `root`; or the cells to record by their names, an adapter's `cells`.
        out: The folder to write.
        reference: The recorded reference whose random numbers the run is given.
        dtype: The type that the cell computes in.
        loop: The path of a cell of which each call is one step; None where the caller says `run.step(N)`.
        name: What the candidate is called.

    Raises:
        InputError: `loop` is no cell.
        TraceError: `out` holds a trace already.
    """
    found = cell.items() if isinstance(cell, dict) else cell.cells_and_names()
    cells = {path or "root": each for path, each in found}
    if loop is not None and loop not in cells:
        message = f"there is no cell {loop!r}{nearest(loop, cells)}; loop names the cell that each step calls once"
        raise InputError(message)
    modules = {path: type(each).__name__ for path, each in cells.items()}
    described = provenance.describe(mindspore_.describe())
    with (
        native_trace(
            Path(out), reference, _weights(cells), name=name, dtype=dtype, modules=modules, provenance=described
        ) as run,
        mindspore_.observe(cells, list(cells), lambda path, _, output: _seen(run, path, output)),
    ):
        # Hooks run in the order of registration: the step ends after the loop's own output was seen.
        handles = [] if loop is None else _step_hooks(cells[loop], run)
        try:
            yield run
        finally:
            for handle in handles:
                handle.remove()


def _seen(run: NativeRun, path: str, output: Any) -> None:
    """Write one call."""
    run.cell(path, mindspore_.arrays(output))


def _weights(cells: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray, str]]:
    """Yield PATH:NAME, array and type of each cell's own parameters."""
    for path, cell in cells.items():
        for name, parameter in cell._params.items():  # noqa: SLF001 - parameters_and_names names shared ones only once
            if parameter is not None:
                array = parameter.asnumpy()
                yield f"{path}:{name}", array, str(array.dtype)


def _step_hooks(cell: Any, run: NativeRun) -> list[Any]:
    """Make each call of a cell a step of its own."""
    count = 0

    def begin(_cell: Any, _inputs: Any) -> None:
        nonlocal count
        run.step(count)
        count += 1

    def end(_cell: Any, _inputs: Any, _output: Any) -> None:
        run.step(None)

    return [cell.register_forward_pre_hook(begin), cell.register_forward_hook(end)]
