"""Any torch program as a reference: its modules are hooked, its twin is a copy in float64.

A subclass of `ModuleReference` says five things: how the program is loaded, which modules are its parts, their stages,
what a run is given, and how it runs. The program itself stays as it is. What is recorded:

    text_encoder:input.input, text_encoder:output, …     every module of every part, by the part's name and its path
    unet.fc1@step=2:output                               inside the part `loop`, whose every call is one step
    pipeline:input.noise, pipeline:output                what the run was given, and what it returned

`stages` gives each part its place in the order of stages. Whatever a run draws must come in as an input, so that twin
and candidate are given the same.

Limits: what happens outside modules is seen at `pipeline` alone; a part whose forward makes float32 numbers by itself
has an island in its twin, which is found and marked, not lifted.
"""

from __future__ import annotations

import copy
import itertools
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch

from parity.components import UNDECLARED, WHOLE, Components
from parity.errors import CaseError, nearest
from parity.frameworks.torch_ import (
    TYPES,
    Snapshots,
    buffers_of,
    flatten,
    observed,
    rebuild,
    to_numpy,
    watched,
    weights_of,
)
from parity.frameworks.torch_calls_ import argument, call_module, recorded_calls
from parity.frameworks.torch_floors_ import floors
from parity.frameworks.torch_islands_ import IslandFinder
from parity.frameworks.torch_policy_ import device_of, exact_float32, policy, provenance
from parity.record import Outcome
from parity.trace import digest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import numpy as np

    from parity.case import Case, Resolved
    from parity.record import Progress
    from parity.taps import Call, Taps
    from parity.trace import Island, RunReader

__all__ = ["ModuleReference", "ModuleSystem"]

_ATTRIBUTES = ("eps", "num_groups", "approximate")


class ModuleReference:
    """Base of a reference: a torch program made of modules."""

    name: ClassVar[str]
    stages: ClassVar[Mapping[str, str]] = {}  # part -> its stage, one of parity.address.STAGES
    loop: ClassVar[str | None] = None  # the part whose every call is one step
    sections: ClassVar[Collection[str]] = ()  # of a case, whose defaults the program uses; others hold what is set

    def pipeline(self, resolved: Resolved) -> Any:
        """Load the program, its parameters in float32."""
        raise NotImplementedError

    def parts(self, pipeline: Any) -> Mapping[str, torch.nn.Module]:
        """Return component -> module of everything that computes."""
        raise NotImplementedError

    def inputs(self, case: Case) -> Mapping[str, Any]:
        """Return what the case's run is given: tensors, among them all that is drawn, and plain values."""
        raise NotImplementedError

    def run(self, pipeline: Any, **inputs: Any) -> Any:
        """Run the program once and return its result."""
        raise NotImplementedError

    def load(self, resolved: Resolved, *, device: str, dtype: str, source: Path | None = None) -> ModuleSystem:
        """Return the system that `parity record` drives.

        Raises:
            CaseError: `loop` is none of the parts.
            InputError: there is no such device.
        """
        del source  # a subclass that needs a checkout takes it and calls this
        place, pipeline = device_of(device), self.pipeline(resolved)
        parts = self.parts(pipeline)
        if self.loop is not None and self.loop not in parts:
            message = f"loop is {self.loop!r}{nearest(self.loop, parts)}; the parts are {', '.join(parts)}"
            raise CaseError(message)
        for module in parts.values():
            module.to(device=place, dtype=TYPES[dtype]).eval()
        return ModuleSystem(self, pipeline, resolved.case, dtype, place)


class _PartCall(NamedTuple):
    """One call of a part as the working run made it, widened."""

    part: str
    step: int | None
    positional: tuple[Any, ...]
    keywords: dict[str, Any]


class ModuleSystem:
    """A loaded program and the runs of one case."""

    def __init__(self, reference: ModuleReference, pipeline: Any, case: Case, dtype: str, device: torch.device) -> None:
        """Wrap a program whose modules are in the type `dtype`."""
        self._reference, self._pipeline, self._case = reference, pipeline, case
        self._dtype, self._device = dtype, device
        self._inputs = dict(reference.inputs(case))
        self._called: list[_PartCall] = []
        self._widened: Any = None

    @property
    def components(self) -> Components:
        """The parts and their stages; the program as a whole comes last of all, unless the reference puts it elsewhere.

        A part that is named as one of Stable Diffusion XL's is in that one's stage, unless the reference says otherwise.
        """
        parts = self._reference.parts(self._pipeline)
        named = {part: UNDECLARED.stages[part] for part in parts if part in UNDECLARED.stages}
        return Components(stages={WHOLE: "image", **named, **self._reference.stages})

    def modules(self) -> dict[str, str]:
        """Return path -> class name of every module, and of the program."""
        found = {path: type(module).__name__ for path, module in self._modules(self._pipeline).items()}
        return found | {WHOLE: type(self._pipeline).__name__}

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return path -> the attributes that both frameworks' layers have."""
        found = {}
        for path, module in self._modules(self._pipeline).items():
            values = {name: getattr(module, name) for name in _ATTRIBUTES if hasattr(module, name)}
            if values:
                found[path] = values
        return found

    def weights(self) -> Iterator[tuple[str, np.ndarray, str]]:
        """Yield (address, array, type) of every parameter, and of floating buffers that are saved with them."""
        return weights_of(self._modules(self._pipeline))

    def buffers(self) -> Iterator[tuple[str, np.ndarray, str]]:
        """Yield the same of every other buffer."""
        return buffers_of(self._modules(self._pipeline))

    def provenance(self) -> dict[str, Any]:
        """Return what the numbers depend on."""
        with exact_float32():
            return provenance(self._device)

    def floors(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return torch's own error of each operator in the working type."""
        with exact_float32():
            return floors(self._dtype, self._device)

    def policy(self) -> str:
        """Return the precision in force while recording."""
        with exact_float32():
            return policy(self._dtype, self._device)

    def run(self, taps: Taps | None, progress: Progress) -> Outcome:
        """Run the case in the working type; report to `taps`, or with None to nobody, no hook in place."""
        progress(0, 1)
        inputs = _cast(self._inputs, TYPES[self._dtype], self._device)
        with exact_float32():
            if taps is None:
                result = self._generate(self._pipeline, inputs)
            else:
                self._called = []
                with self._reported(self._pipeline, taps, keep=True):
                    result = self._observed(self._pipeline, inputs, taps)
        progress(1, 1)
        finals = {port: digest(*to_numpy(leaf)) for port, leaf in _tensors(result)}
        return Outcome(finals=finals, latents=None, noise=None)

    def twin(self, taps: Taps, progress: Progress) -> list[Island]:
        """Run the case in float64 on the same inputs; return the islands."""
        twin = self._twin
        finder = IslandFinder(taps)
        progress(0, 1)
        with finder, self._reported(twin, taps):
            self._observed(twin, self._wide_inputs(), taps)
        progress(1, 1)
        return finder.islands

    def steps(self, taps: Taps, progress: Progress) -> None:
        """Run each part of the twin from what the working run gave to it."""
        parts = self._reference.parts(self._twin)
        with torch.no_grad(), self._reported(self._twin, taps, stepping=False):
            for done, call in enumerate(self._called):
                taps.step = call.step
                parts[call.part](*call.positional, **call.keywords)
                progress(done + 1, len(self._called))
        taps.step = None

    def forced(self, recorded: RunReader, skipped: Collection[Call], taps: Taps, progress: Progress) -> None:
        """Apply each module of the twin, and the program as a whole, to the inputs that `recorded` has of it."""
        calls = recorded_calls(recorded, skipped)
        for done, (call, inputs) in enumerate(calls.items()):
            arguments = {each.port.removeprefix("input."): argument(recorded, str(each)) for each in inputs}
            for port, leaf in _tensors(self._applied(call.path, rebuild(arguments))):
                address = replace(call, port=port)
                if address in recorded:
                    taps.repeat(address, *to_numpy(leaf))
            progress(done + 1, len(calls))

    def _applied(self, path: str, arguments: dict[str, Any]) -> Any:
        """Return what a module of the twin, or the whole of it, makes of these arguments."""
        if path == WHOLE:
            return self._generate(self._twin, arguments)
        with torch.no_grad():
            return call_module(self._modules(self._twin)[path], arguments)

    @property
    def _twin(self) -> Any:
        """The program in float64, made when it is first needed."""
        if self._widened is None:
            self._widened = copy.deepcopy(self._pipeline)
            for module in self._reference.parts(self._widened).values():
                module.to(device="cpu", dtype=torch.float64)
        return self._widened

    def _wide_inputs(self) -> dict[str, Any]:
        """Return the run's inputs as the working run got them, widened."""
        rounded = _cast(self._inputs, TYPES[self._dtype], "cpu")
        return _cast(rounded, torch.float64, "cpu")

    def _modules(self, pipeline: Any) -> dict[str, torch.nn.Module]:
        """Return every module by its path."""
        found: dict[str, torch.nn.Module] = {}
        for part, root in self._reference.parts(pipeline).items():
            found.update(root.named_modules(prefix=part))
        return found

    def _generate(self, pipeline: Any, inputs: Mapping[str, Any]) -> Any:
        """Run the program without gradients."""
        with torch.no_grad():
            return self._reference.run(pipeline, **inputs)

    def _observed(self, pipeline: Any, inputs: Mapping[str, Any], taps: Taps) -> Any:
        """Run the program and report it as a whole."""
        with observed(WHOLE, inputs, taps, Snapshots()) as seen:
            result = seen.outputs[""] = self._generate(pipeline, inputs)
        return result

    @contextmanager
    def _reported(self, pipeline: Any, taps: Taps, *, keep: bool = False, stepping: bool = True) -> Iterator[None]:
        """Report every module's call; count steps, and keep what the parts are given, as asked."""
        parts, numbers = self._reference.parts(pipeline), itertools.count()

        def begins(part: str, positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            if stepping and part == self._reference.loop:
                taps.step = next(numbers)
            if keep:
                given = _cast((positional, keywords), torch.float64, "cpu")
                self._called.append(_PartCall(part, taps.step, *given))

        def ended(part: str) -> None:
            if stepping and part == self._reference.loop:
                taps.step = None

        with ExitStack() as stack:
            for part, module in parts.items():
                before = module.register_forward_pre_hook(
                    lambda _, positional, keywords, part=part: begins(part, positional, keywords), with_kwargs=True
                )
                stack.callback(before.remove)
            stack.enter_context(watched(self._modules(pipeline), taps, Snapshots()))
            for part, module in parts.items():
                after = module.register_forward_hook(lambda *_, part=part: ended(part))
                stack.callback(after.remove)
            yield


def _cast(value: Any, dtype: torch.dtype, device: Any) -> Any:
    """Return copies of all tensors inside `value` on a device, floating ones in a type."""
    if isinstance(value, torch.Tensor):
        kind = dtype if value.is_floating_point() else value.dtype
        return value.detach().to(device=device, dtype=kind, copy=True)
    if isinstance(value, dict):
        return {key: _cast(each, dtype, device) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_cast(each, dtype, device) for each in value)
    return value


def _tensors(result: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (port, tensor) of what a call returned."""
    return ((port, leaf) for port, leaf in flatten(result, "output") if isinstance(leaf, torch.Tensor))
