"""The result of a comparison: numbers, their limits, and the verdict; `result.json` is this, encoded.

A measurement is not a verdict: every pair keeps its distances, so a saved result can be judged again
without the tensors. Non-finite numbers are written as "nan", "inf", "-inf"; null means not measured.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import msgspec

from parity.errors import InputError

__all__ = ["Cause", "Coverage", "FirstDivergence", "Pair", "Result", "Worst", "json_schema", "number", "read", "write"]

Verdict = Literal["MATCH", "MISMATCH", "INCOMPARABLE", "MISSING", "UNEXPECTED"]
Overall = Literal["MATCH", "MISMATCH", "INCOMPLETE"]
Question = Literal["audit", "semantics", "precision"]
PairMode = Literal["audit", "free", "steps", "layers"]
Flag = Literal[
    "contains",
    "inherited",
    "equivalent",
    "platform-precision",
    "island",
    "mixed-dtype",
    "half-precision-grid",
    "unbounded-depth",
]
Ground = Literal["", "exact", "float64", "floor", "model"]
Number = float | Literal["nan", "inf", "-inf"]


# gc=False, here, in Record and in what a comparison makes of each pair: there may be a hundred thousand of them, and none can refer to itself.
class Worst(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The element that differs most: its index and both values."""

    index: tuple[int, ...]
    reference: Number | str
    candidate: Number | str


class Pair(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One address on both sides under one question and mode.

    Attributes:
        order: Position in the reference's order of completion.
        basis: Why this limit: `exact`, `float64`, `floor`, `model`, or `case: REASON`.
        limit: The limit in words and numbers, as a person reads it.
        error_rms, error_max: E(cand) and M(cand): rms and largest |candidate - float64|.
        reference_rms, reference_max: E(ref) and M(ref), the reference's own error.
        floor_rms, floor_max: F and Fmax.
        ratio_to_floor: The larger of E(cand)/F and M(cand)/Fmax scaled to their limits' units of F.
        scale: rms of the exact reference.
        detail: Facts in words: where the error sits, ulp, what values are at fault.
        ground: What the basis is when no rule applies; empty for pairs that have no numbers.
        hard: A fault that no tolerance excuses (`narrower type`, `half-precision grid`, `not finite`).
        candidate: The label of its candidate in a result of several; empty where there is one.
    """

    address: str
    stage: str
    question: Question
    mode: PairMode
    verdict: Verdict
    dtype: str | None = None
    native: str | None = None
    order: int = 0
    shape: tuple[int, ...] = ()
    flags: list[Flag] = []
    basis: str = ""
    limit: str = ""
    max_abs: Number | None = None
    rel_l2: Number | None = None
    cosine: Number | None = None
    max_ulp: Number | None = None
    outside: int | None = None
    size: int = 0
    scale: Number | None = None
    error_rms: Number | None = None
    error_max: Number | None = None
    reference_rms: Number | None = None
    reference_max: Number | None = None
    floor_rms: Number | None = None
    floor_max: Number | None = None
    ratio_to_floor: Number | None = None
    worst: Worst | None = None
    detail: str = ""
    ground: Ground = ""
    hard: str = ""
    candidate: str = ""


class Cause(msgspec.Struct, kw_only=True):
    """A hypothesis about a divergence. `confirmed` when a replay with the repair removed it.

    Attributes:
        slug: Kind of cause; docs/causes/SLUG.md explains it.
        address: Where it sits; `others` are further places with the same cause.
        evidence: Facts with numbers, one sentence each.
        repair: The edit that a person makes, in words.
        edits: The same for the replayer (`parity.repair`).
        before, after: rel_l2 of the divergence without and with the repair.
        candidate: As in `Pair`.
    """

    slug: str
    address: str
    confirmed: bool
    confidence: float
    evidence: list[str]
    repair: str
    others: list[str] = []
    edits: list[dict[str, Any]] = []
    before: Number | None = None
    after: Number | None = None
    candidate: str = ""


class FirstDivergence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first address, in execution order, whose inputs match and whose output does not; `candidate` as in `Pair`."""

    address: str
    stage: str
    question: Question
    mode: PairMode
    dtype: str | None
    candidate: str = ""


class Coverage(msgspec.Struct, kw_only=True):
    """How much of the reference was compared, and why the rest was not.

    `paths` counts called module paths and named functions, `compared` those with at least one pair;
    `not_compared` maps every other path to a reason of the closed list, `unexplained` lists those without.
    `excluded` maps the addresses that the case excludes to its reasons.
    """

    paths: int
    compared: int
    parameter_owners: int
    parameter_owners_compared: int
    not_compared: dict[str, str] = {}
    unexplained: list[str] = []
    pairs: int = 0
    excluded: dict[str, str] = {}


class Result(msgspec.Struct, kw_only=True):
    """Everything that report, terminal and junit show.

    Of several candidates, `candidates` holds each one's own result by label, without pairs and causes: these
    stand in the whole, which has the gravest verdict (`parity.compare.several`).
    """

    schema: int = 1
    verdict: Overall
    counts: dict[str, int]
    first_divergence: FirstDivergence | None
    causes: list[Cause]
    pairs: list[Pair]
    coverage: Coverage
    platform: dict[str, Any]
    provenance: dict[str, Any]
    case: dict[str, Any]
    checks: dict[str, Any] = {}
    islands: list[dict[str, Any]] = []
    stages: dict[str, str] = {}
    price: dict[str, Any] = {}
    images: dict[str, str] = {}
    commands: dict[str, str] = {}
    traces: dict[str, str] = {}
    wall_s: dict[str, float] = {}
    candidates: dict[str, Result] = {}


def number(value: float | None) -> Number | None:
    """Return a JSON-safe number: non-finite ones as text."""
    if value is None or math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


def json_schema() -> bytes:
    """Return the JSON Schema of `result.json`; docs/result.schema.json is this."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "result.json of parity"}
    return msgspec.json.format(msgspec.json.encode(described | msgspec.json.schema(Result)), indent=1) + b"\n"


def write(result: Result, path: str | Path) -> None:
    """Write `result.json`."""
    Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))


def read(path: str | Path) -> Result:
    """Read a `result.json`, or the one in a folder.

    Raises:
        InputError: it is not there or is not a result.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "result.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except FileNotFoundError as error:
        message = f"{path} is not there; run `parity compare TRACE TRACE2 --out {path.parent}` first"
        raise InputError(message) from error
    except msgspec.MsgspecError as error:
        message = f"{path} is not a result: {error}"
        raise InputError(message) from error
