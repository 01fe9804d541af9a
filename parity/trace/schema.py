"""The data of a trace: a record, a run, and the manifest above them.

The manifest is `manifest.json`; records are lines of each run's `records.jsonl`. Both are plain JSON that
any language can write; docs/trace-format.md specifies them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from parity.address import is_output
from parity.choices import Mode, RunMode, Store
from parity.components import UNDECLARED, Components

__all__ = [
    "SCHEMA",
    "Checks",
    "Island",
    "Manifest",
    "Mode",
    "Record",
    "Row",
    "RunInfo",
    "RunMode",
    "Store",
    "WeightDigests",
]

SCHEMA = 1


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One tensor, or one value that is no tensor, with its address.

    A tensor has `shape`, `dtype` and `digest`; `shard` names the file that holds its bytes and `offset` where
    they start in it (None when empty or when only the store knows). A plain value has only `value`, with
    `kind` "value".
    """

    address: str
    stage: str
    kind: Literal["tensor", "value"] = "tensor"
    shape: tuple[int, ...] = ()
    dtype: str = ""
    digest: str = ""
    shard: str | None = None
    offset: int | None = None
    value: Any = None
    native: str | None = None
    island: str | None = None

    @property
    def is_output_tensor(self) -> bool:
        """Whether it is of a tensor that was returned."""
        return self.kind == "tensor" and is_output(self.address)

    @property
    def file(self) -> str:
        """The file that holds its bytes; empty where none does."""
        return self.shard or ""

    @property
    def name_in_file(self) -> str:
        """What it is called in a file of several, whose own name `native` begins with; empty where nothing is known of that."""
        return (self.native or "").removeprefix(f"{self.file}/")


class RunInfo(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One run of a trace; `mode` is `run`, `forced` or `steps` on the reference's side, else the replay mode.

    `only` is the pattern that a partial replay was restricted to; several, if a part was cut out of it, must all match. `records_digest` is the xxh3-128 of
    records.jsonl once the run is complete; empty is not checked.
    """

    mode: RunMode
    dtype: str
    only: str | tuple[str, ...] | None = None
    complete: bool = False
    records: int = 0
    bytes_recorded: int = 0
    bytes_stored: int = 0
    wall_s: float = 0.0
    records_digest: str = ""


class WeightDigests(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Digests of one parameter in the reference's name, layout and shape.

    Keys of `digests`: a layout (`identity`, `transpose`, `flip0`, `flip1`, …), then `/` and a rounding
    (`own`, `float16`, `bfloat16`). The candidate stores `identity/own` alone. `initial` is set by a candidate
    whose parameter was never loaded.
    """

    shape: tuple[int, ...]
    dtype: str
    digests: dict[str, str]
    native: str | None = None
    initial: bool = False


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One row of the alignment: a reference path, call and output port beside the candidate's.

    Attributes:
        path: The reference's path.
        port: The reference's output port that this row yields.
        call: The reference's call within (path, step), or None: the reference's call n is the native call n.
        native: The candidate's own path of a cell, or the name of a function of its adapter.
        native_call: Which call of the native cell within the step, where the reference's path has several
            native ones.
        function: True when `native` names a function and no cell.
        replay: The function of the adapter that replays the whole path from its inputs in mode layers, where
            the native cell itself does not take them (a block is several cells).
        kind: The kind of operator (`linear`, `conv`, `silu`, …), which selects the platform's floor; None for
            a composite.
        ports: Reference input keys in the order of the native cell's arguments.
        input: Layout transform of the first input, from the closed list in `parity.align`.
        output: Layout transform from the candidate's output to the reference's.
        take: Which part of the native output this row yields, where it has several ("0", "2"); "input.N" takes
            the cell's input N instead.
    """

    path: str
    native: str
    port: str = "output"
    call: int | None = None
    native_call: int | None = None
    function: bool = False
    replay: str | None = None
    kind: str | None = None
    ports: tuple[str, ...] = ()
    input: str | None = None
    output: str | None = None
    take: str = ""


class Island(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operator of the float64 run that returned or consumed a narrower floating tensor."""

    path: str
    operator: str
    dtype: str
    file: str
    function: str
    count: int = 1


class Checks(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the recorder proved about itself; None means not measured.

    `neutral`: outputs with and without hooks are bit-identical. `repeatable`: the run twice gives the same
    bytes; if not, `repeat_max_abs` holds each address's own difference, a lower bound of its floor.
    """

    neutral: bool | None = None
    repeatable: bool | None = None
    repeat_max_abs: dict[str, float] = {}


class Manifest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything about a trace that is not a tensor.

    `components` has the stage of each component, `functions` the modules that a named function runs: what the reference
    declares (parity.components).
    `injection` has the digest of each injection file (xxh3-128 of its bytes).
    `conditions` says what else must be the same for an interrupted trace to be continued, by name.
    `buffers` are tensors of the reference's modules that a candidate need not load, since it may make them itself: counters,
    position ids, tables.
    `status` is `replayable` once all that a replay needs is there, while the reference's other runs are recorded.
    `made` names what else lies in the folder: what a candidate made of the model when it was built, folders with `/` at the end.
    `refused` holds the edits (JSON) that a replay with repairs that are not strict left out, and why.
    `origin` is the digest of the trace that this one was packed from. `digest` is the file's own
    (parity.trace.manifest), empty in memory.
    """

    schema: int = SCHEMA
    side: Literal["reference", "candidate"]
    name: str
    status: Literal["recording", "replayable", "complete"] = "recording"
    case: dict[str, Any]
    case_digest: str
    injection: dict[str, str] = {}
    conditions: dict[str, str] = {}
    sources: dict[str, str] = {}
    provenance: dict[str, Any] = {}
    policy: str = ""
    store: Store = "hdf5"
    runs: dict[str, RunInfo] = {}
    weights: dict[str, WeightDigests] = {}
    buffers: dict[str, WeightDigests] = {}
    attributes: dict[str, dict[str, Any]] = {}
    modules: dict[str, str] = {}
    components: dict[str, str] | UnsetType = UNSET
    functions: dict[str, tuple[str, ...]] | UnsetType = UNSET
    alignment: list[Row] | None = None
    not_compared: dict[str, str] = {}
    islands: list[Island] = []
    checks: Checks = msgspec.field(default_factory=Checks)
    floors: dict[str, dict[str, dict[str, float]]] = {}
    reference_digest: str | None = None
    command: list[str] = []
    refused: dict[str, str] = {}
    made: tuple[str, ...] = ()
    wall_s: float = 0.0
    origin: str | None = None
    digest: str = ""

    @property
    def working(self) -> str:
        """The type of the case's working run; a case that names none was run in float32."""
        precision = self.case.get("precision") or {}
        return str(precision.get("dtype", "float32"))

    @property
    def program(self) -> Components:
        """What the program is made of."""
        if self.components is UNSET:
            return UNDECLARED
        functions = {} if self.functions is UNSET else self.functions
        return Components(stages=self.components, functions=functions)
