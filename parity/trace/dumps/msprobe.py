"""A dump of msprobe as a trace: `dump.json` beside `dump_tensor_data/`, of torch or of MindSpore.

dump.json lists calls in order of completion; each has inputs and outputs with the file of each tensor. A module's
or a cell's call is addressed by its path alone, so that the two frameworks' dumps meet at one address:

    Module.down.0.Linear.forward.1   ->  down.0@call=1:input.0, …:output, …:weight
    Cell.down.0.Dense.forward.1      ->  the same
    Functional.silu.4.backward       ->  Functional.silu.backward@call=4:output
    Module.a.Linear.parameters_grad.0 -> a:grad.weight

The number is msprobe's own and left out where a path has only the call 0; a single output is `output`, several
are `output.0`, `output.1`. `dump_path` itself opens too: `stepN` becomes the step. MindSpore's tensors are `.npy`
files, torch's are `.pt` files, which are read without unpickling.

Limits: one rank; a dump of statistics has no tensors; values that are neither tensor, number nor text are left out.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from parity.address import Address
from parity.errors import TraceError
from parity.trace.dumps.dump import Dump, stage_or_unet, unique
from parity.trace.dumps.plain import npy_record
from parity.trace.dumps.torch_file import read_layout
from parity.trace.names import natural, open_inside
from parity.trace.records import checked_size, plain_value
from parity.trace.schema import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FILE", "find_dumps", "read_msprobe"]

FILE: Final = "dump.json"
_TENSORS: Final = "dump_tensor_data"
_STEP = re.compile(r"step(?P<step>[0-9]{1,9})")
_PART = re.compile(r"(?:rank|proc)[0-9]*")
_MODULE = re.compile(
    r"(?:Module|Cell)\.(?P<path>.+)\.[^.]+\.(?P<way>forward|backward|parameters_grad)\.(?P<call>[0-9]{1,9})"
)
_FUNCTION = re.compile(r"(?P<path>.+)\.(?P<call>[0-9]{1,9})\.(?P<way>forward|backward)")
_VALUES: Final = frozenset({"bool", "int", "float", "str"})
_KEPT: Final = " /<>&+,;=()[]{}"


class _File(msgspec.Struct, frozen=True):
    """dump.json, as far as it is needed."""

    data: dict[str, Any]
    task: str = ""
    framework: str = ""


class _Call(NamedTuple):
    """One entry of dump.json."""

    path: str
    way: str
    number: int


def find_dumps(folder: Path) -> dict[int | None, str]:
    """Return step -> folder of its dump.json, relative to `folder`; the step is None where `folder` is one step's.

    Raises:
        TraceError: a step has the dumps of several ranks.
    """
    found: dict[int | None, list[str]] = defaultdict(list)
    if (folder / FILE).is_file():
        return {None: ""}
    for name, step in _steps(folder):
        inner = folder / name if name else folder
        for entry in sorted(inner.iterdir(), key=lambda entry: natural(entry.name)):
            if _PART.fullmatch(entry.name) and (entry / FILE).is_file():
                found[step].append(f"{name}/{entry.name}/".lstrip("/"))
    for parts in found.values():
        if len(parts) > 1:
            message = f"{folder} holds the dumps {', '.join(parts)}; a trace is of one rank, give its own folder"
            raise TraceError(message)
    return {step: parts[0] for step, parts in found.items()}


def _steps(folder: Path) -> Iterator[tuple[str, int | None]]:
    """Yield the folders of steps with their number, or the folder itself."""
    names = [entry.name for entry in folder.iterdir() if _STEP.fullmatch(entry.name) and entry.is_dir()]
    if not names:
        yield "", None
    for name in sorted(names, key=natural):
        yield name, int(name.removeprefix("step"))


def read_msprobe(folder: Path, dumps: dict[int | None, str]) -> Dump:
    """Make the records of the dumps that `find_dumps` found.

    Raises:
        TraceError: a file is damaged or lies elsewhere, or there is no tensor.
    """
    records: list[Record] = []
    framework = ""
    for step, part in dumps.items():
        content = _read(folder, f"{part}{FILE}")
        framework = content.framework
        try:
            records += _Reader(folder, part, step).records(content.data)
        except RecursionError as error:
            message = f"{folder / part / FILE} is no dump.json of msprobe: it is nested too deeply"
            raise TraceError(message) from error
    if not any(record.kind == "tensor" for record in records):
        message = f"{folder}: the dump has no tensors (task {content.task!r}); dump with task 'tensor'"
        raise TraceError(message)
    return Dump(folder, unique(records, folder), ordered=True, tool="msprobe", framework=framework)


def _read(folder: Path, name: str) -> _File:
    """Read dump.json."""
    with os.fdopen(open_inside(folder, name), "rb") as file:
        text = file.read()
    try:
        return msgspec.json.decode(text, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        message = f"{folder / name} is no dump.json of msprobe: {error}"
        raise TraceError(message) from error


def _parsed(name: str) -> _Call:
    """Return path, direction and number of an entry's name; a name of another form is a path by itself."""
    match = _MODULE.fullmatch(name) or _FUNCTION.fullmatch(name)
    if match is None:
        return _Call(quote(name, safe=_KEPT), "forward", 0)
    path = quote(match["path"], safe=_KEPT)
    return _Call(f"{path}.backward" if match["way"] == "backward" else path, match["way"], int(match["call"]))


class _Reader:
    """Makes the records of one dump.json."""

    def __init__(self, folder: Path, part: str, step: int | None) -> None:
        """Read files of `part` below `folder`."""
        self._folder, self._part, self._step = folder, part, step

    def records(self, data: dict[str, Any]) -> Iterator[Record]:
        """Yield the records of every call, in order."""
        calls = {name: _parsed(name) for name in data}
        numbered = {call.path for call in calls.values() if call.number}
        for name, call in calls.items():
            index = call.number if call.path in numbered else None
            for port, leaf in self._leaves(name, data[name], call.way):
                record = self._record(Address(path=call.path, step=self._step, call=index, port=port), leaf, call.way)
                if record is not None:
                    yield record

    def _leaves(self, name: str, entry: Any, way: str) -> Iterator[tuple[str, Any]]:
        """Yield port and description of everything in one entry."""
        if not isinstance(entry, dict):
            message = f"{self._folder / self._part / FILE}: {name!r} is {entry!r:.40}; expected an object"
            raise TraceError(message)
        for section, content in entry.items():
            if way == "parameters_grad":
                yield from _flat(content[0] if isinstance(content, list) and content else content, f"grad.{section}")
            elif section in {"input_args", "input_kwargs", "input"}:
                yield from _flat(content, "input")
            elif section == "output":
                single = isinstance(content, list) and len(content) == 1
                yield from _flat(content[0] if single else content, "output")
            elif section == "parameters" and isinstance(content, dict):
                for parameter, each in content.items():
                    yield from _flat(each, parameter)

    def _record(self, address: Address, leaf: Any, way: str) -> Record | None:
        """Return the record of one leaf; None where it was not saved or is no value of ours."""
        text = str(replace(address, port=quote(address.port, safe=_KEPT)))
        stage = stage_or_unet(address.path.removesuffix(".backward"))
        if way != "forward":
            stage = "gradients"
        elif not address.port.startswith(("input", "output")):
            stage = "weights"
        if leaf is None and address.port.startswith("input"):
            return Record(address=text, stage=stage, kind="value")
        if not isinstance(leaf, dict):
            return None
        file, value = leaf.get("data_name"), leaf.get("value")
        if isinstance(file, str) and file != "-1":
            return self._tensor(text, stage, file)
        if leaf.get("type") in _VALUES and type(value).__name__ in _VALUES:
            return Record(address=text, stage=stage, kind="value", value=plain_value(value))
        return None

    def _tensor(self, address: str, stage: str, file: str) -> Record:
        """Return the record of a tensor's file."""
        name = f"{self._part}{_TENSORS}/{file}"
        if not name.endswith(".pt"):
            return msgspec.structs.replace(npy_record(self._folder, name, address, stage), native=file)
        where = f"{self._folder / name}"
        with os.fdopen(open_inside(self._folder, name), "rb") as opened:
            dtype, shape, offset = read_layout(opened, where)
            size = os.fstat(opened.fileno()).st_size
        record = Record(address=address, stage=stage, shape=shape, dtype=dtype, shard=name, offset=offset, native=file)
        needed = checked_size(record, where)
        if offset + needed > size:
            message = f"{where} has {size} bytes; its shape {list(shape)} needs {offset + needed}"
            raise TraceError(message)
        return record if needed else msgspec.structs.replace(record, offset=None)


def _flat(content: Any, port: str) -> Iterator[tuple[str, Any]]:
    """Yield (port, description) of every leaf of nested lists and objects."""
    if isinstance(content, dict) and not isinstance(content.get("type"), str):
        for key, each in content.items():
            yield from _flat(each, f"{port}.{key}")
    elif isinstance(content, list):
        for index, each in enumerate(content):
            yield from _flat(each, f"{port}.{index}")
    else:
        yield port, content
