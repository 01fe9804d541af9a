"""The system behind `parity.adapters.cells.CellCandidate`: cells with the reference's names, hooked and replayed.

Import it only in the process of a candidate.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import mindspore as ms

from parity.adapters.parameters import in_recorded_type
from parity.components import WHOLE
from parity.digests import layouts
from parity.errors import RepairError
from parity.frameworks import mindspore_
from parity.frameworks.mindspore_system_ import MindSporeSystem, cells_of
from parity.frameworks.mindspore_wide_ import compose_batch_norms
from parity.replay import Parameter
from parity.taps import rebuild
from parity.trace.contents import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from parity.adapters.cells import CellCandidate
    from parity.repair import AttributeEdit, Edit, WeightEdit
    from parity.replay import Given, Reporter, Request
    from parity.trace.schema import Row

__all__ = ["CellSystem"]

_ATTRIBUTES = ("eps", "num_groups", "approximate")


class CellSystem(MindSporeSystem):
    """One loaded program in one type."""

    integers = None

    def __init__(self, candidate: CellCandidate, request: Request) -> None:
        """Load the program and cast its parameters."""
        mindspore_.start(request.device)
        self.candidate = candidate
        self.pipeline = candidate.pipeline(request)
        self.parts = candidate.parts(self.pipeline)
        for cell in self.parts.values():
            cell.set_train(mode=False)
            for parameter in cell.get_parameters():
                if parameter.dtype in {ms.float64, ms.float32, ms.float16, ms.bfloat16}:
                    parameter.set_dtype(getattr(ms, request.dtype))
        super().__init__(cells_of(self.parts), request.dtype, request.manifest)
        if request.dtype == "float64":
            compose_batch_norms(self.cells.values())

    def weights(self) -> Iterator[Parameter]:
        """Yield every parameter under the reference's name."""
        for address, native, parameter in self._parameters():
            array = in_recorded_type(parameter.asnumpy(), self.manifest, address)
            yield Parameter(address=address, native=native, array=array)

    def attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """Return path -> the attributes that the reference reports and the cell has."""
        found = {}
        for path, reported in self.manifest.attributes.items():
            cell = self.cells.get(path)
            values = {name: getattr(cell, name) for name in reported if hasattr(cell, name)}
            if values:
                found[path] = values
        return found

    def native(self, value: Any, dtype: Any = None) -> Any:
        """Return all arrays inside `value` as tensors: floats in the system's type, integers as they are."""
        if isinstance(value, dict):
            return {key: self.native(each, dtype) for key, each in value.items()}
        if isinstance(value, tuple):
            return tuple(self.native(each, dtype) for each in value)
        return super().native(value, dtype)

    def free(self, given: Given, reporter: Reporter) -> None:
        """Run the program on the reference's inputs."""
        handles = self._stepping(reporter)
        try:
            result = self._generate(given.inputs(WHOLE, None, None))
        finally:
            for handle in handles:
                handle.remove()
        reporter.function(WHOLE, _ports(result))

    def steps(self, given: Given, reporter: Reporter) -> None:
        """Run each part of which something is wanted from what the reference gave to it."""
        for path, step, call in given.calls.order:
            if path in self.parts and reporter.wants(step):
                reporter.step(step)
                self._call(path, given.inputs(path, step, call))
        reporter.step(None)

    def layer(
        self, rows: Sequence[Row], inputs: Mapping[str, Any], given: Given, step: int | None
    ) -> Mapping[str, Any]:
        """Run one cell, or the program as a whole, on recorded inputs."""
        del given, step
        if rows[0].function:
            return _ports(self._generate(inputs))
        arrays = mindspore_.arrays(self._call(rows[0].native, inputs))
        return {row.port: arrays[row.take] for row in rows if row.take in arrays}

    def edit_weight(self, edit: WeightEdit) -> None:
        """Change the layout of one parameter.

        Raises:
            RepairError: there is no such parameter, or it has no such layout.
        """
        found = {address: parameter for address, _, parameter in self._parameters()}
        parameter = found.get(edit.address)
        if parameter is None:
            raise self._refusal(edit)
        edited = layouts(parameter.asnumpy()).get(edit.change)
        if edited is None or edited.shape != parameter.shape:
            raise self._refusal(edit)
        parameter.set_data(mindspore_.tensor(edited))

    def edit_attribute(self, edit: AttributeEdit) -> None:
        """Set an attribute of a cell.

        Raises:
            RepairError: there is no such cell or attribute.
        """
        cell = self.cells.get(edit.path)
        if not hasattr(cell, edit.name):
            raise self._refusal(edit)
        setattr(cell, edit.name, edit.value)

    def _refusal(self, edit: Edit) -> RepairError:
        """Return the error of an edit that names nothing here."""
        message = f"{self.candidate.name} cannot apply {edit}; it has no such attribute, parameter or layout"
        return RepairError(message)

    def _parameters(self) -> Iterator[tuple[str, str, ms.Parameter]]:
        """Yield the reference's address, the cell's own name, and the parameter."""
        for path, cell in self.cells.items():
            for name, parameter in cell.parameters_and_names(expand=False):
                yield f"{path}:{NAMES.get(name, name)}", f"{path}.{name}", parameter

    def _generate(self, inputs: Mapping[str, Any]) -> Any:
        """Run the program on inputs by the reference's keys."""
        nested = self.native(rebuild(inputs))
        return self.candidate.run(self.pipeline, **nested)

    def _call(self, native: str, inputs: Mapping[str, Any]) -> Any:
        """Call a cell: by the names of `construct` where it has them all, else in the order in which they were given."""
        cell, nested = self.cells[native], self.native(rebuild(inputs))
        names = list(inspect.signature(cell.construct).parameters)
        if not set(nested) <= set(names):
            return cell(*nested.values())
        # A cell takes its arguments by position: what was not given before the last one that was is None.
        last = max(map(names.index, nested), default=-1)
        return cell(*map(nested.get, names[: last + 1]))

    def _stepping(self, reporter: Reporter) -> list[Any]:
        """Tell the reporter where a call of the loop's part begins and ends."""
        loop, count = self.candidate.loop, iter(range(1 << 30))
        if loop is None:
            return []

        def begins(_cell: Any, _inputs: Any) -> None:
            reporter.step(next(count))

        def ended(_cell: Any, _inputs: Any, _output: Any) -> None:
            reporter.step(None)

        cell = self.parts[loop]
        return [cell.register_forward_pre_hook(begins), cell.register_forward_hook(ended)]


def _ports(result: Any) -> dict[str, np.ndarray]:
    """Return the arrays of the program's result by port."""
    found = {}
    for key, array in mindspore_.arrays(result).items():
        found[f"output.{key}".removesuffix(".")] = array
    return found
