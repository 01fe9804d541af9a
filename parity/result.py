"""The result of a comparison: numbers, their limits, and the verdict; `result.json` is this, encoded.

A measurement is not a verdict: every pair keeps its distances, so a saved result can be judged again
without the tensors. Non-finite numbers are written as "nan", "inf", "-inf"; null means not measured. A file that is not
as it was written is not read: its last key is its seal (`parity.seals`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

import msgspec
from msgspec import UNSET, UnsetType

from parity import disk, reading, seals
from parity.address import STAGES
from parity.choices import Mode
from parity.components import UNDECLARED, Components
from parity.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MEASURES",
    "OF_REFERENCE",
    "Cause",
    "Coverage",
    "FirstDivergence",
    "Measure",
    "Pair",
    "Result",
    "Worst",
    "encode",
    "json_schema",
    "measured",
    "number",
    "ratio",
    "read",
    "write",
]

_SEAL: Final = "seal"

Verdict = Literal["MATCH", "MISMATCH", "INCOMPARABLE", "MISSING", "UNEXPECTED"]
Overall = Literal["MATCH", "MISMATCH", "INCOMPLETE"]
Question = Literal["audit", "semantics", "precision"]
PairMode = Literal["audit", Mode]
Flag = Literal[
    "contains",
    "inherited",
    "equivalent",
    "platform-precision",
    "platform-undecided",
    "island",
    "mixed-dtype",
    "half-precision-grid",
    "unbounded-depth",
    "reference-error",
    "twin-error",
]
OF_REFERENCE: Final[tuple[Flag, ...]] = ("reference-error", "twin-error")
"""Flags that say that a run of the reference is off: the working one, or one in float64; causes of these names too."""

Ground = Literal["", "exact", "float64", "floor", "model"]
Number = float | Literal["nan", "inf", "-inf"]


_BEYOND_DOUBT: Final = 1e30
"""An error, in the tensor's own unit or relative, that no rounding and no other way of computing leads to."""


# gc=False, here, in Record and in what a comparison makes of each pair: there may be a hundred thousand of them, and none can refer to itself.
class Worst(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The element that differs most: its index and both values."""

    index: tuple[int, ...]
    reference: Number | str
    candidate: Number | str

    @classmethod
    def of(cls, index: tuple[int, ...], reference: complex, candidate: complex) -> Self:
        """Make it of two numbers of tensors."""
        return cls(index=index, reference=_shown(reference), candidate=_shown(candidate))


def _shown(value: complex) -> Number | str:
    """Return a number of a tensor as a result can hold it."""
    if isinstance(value, complex):
        return str(value)
    return number(float(value)) or 0.0


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
        platform: Operators inside the module that err more on the candidate's platform than on the reference's, and how
            many times; of those that may be to blame for an excess, empty once a replay without them was judged.
        hard: A fault that no tolerance excuses (`narrower type`, `half-precision grid`, `not finite`).
        candidate: The label of its candidate in a result of several; empty where there is one.
        change: Of a weight that differs: what became of it, a kind of `parity.changes`.
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
    platform: dict[str, float] = {}
    candidate: str = ""
    change: str = ""


def number(value: float | None) -> Number | None:
    """Return a JSON-safe number: non-finite ones as text."""
    if value is None or math.isfinite(value):
        return value
    return cast("Number", str(float(value)))


def measured(value: Number | None) -> float:
    """Return a number of a result as a float; NaN when it was not measured."""
    return math.nan if value is None else float(value)


def ratio(part: float, whole: float) -> float:
    """Return `part / whole`: 0 for nothing of nothing, infinity for something of nothing."""
    if whole:
        return part / whole
    return math.inf if part else 0.0


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One number that is known of a pair; its row in `MEASURES` says all that others need to know of it.

    Attributes:
        name: What rules, columns and `result.json` call it.
        source: Which part of the comparison works it out: the first pass over a pair, the same pass over the
            reference's own tensor in its working type, the second look at what fails or comes near its limit, the
            floor, or the judge.
        taken: What the first pass calls it, where that is another name.
        of: Works it out of other numbers of a pair; None: it is an attribute of `Pair` under its own name.
        unruled: Why no rule may bound it; empty: a rule may.
        proposal: What `parity calibrate` makes of it: a `limit`, or a `substitute` where a limit is not finite.
        column: The head of its column in every table of pairs, on the page and in `parity show`; empty: it has none.
        page: Of which pairs the page holds it: all, those that fail by themselves, or none.
        format: How it is written.
        words: What the page's list of all numbers calls it, where that is not its name.
        lowest, highest: No pair has a number outside.
        worst: What a pair has that is wrong beyond doubt; None: it says nothing of an error.
    """

    name: str
    source: Literal["first pass", "working", "second look", "floor", "judge"]
    taken: str = ""
    of: Callable[[Pair], float] | None = None
    unruled: str = ""
    proposal: Literal["", "limit", "substitute"] = ""
    column: str = ""
    page: Literal["", "all", "failing"] = ""
    format: Literal["number", "digits", "ratio", "count"] = "number"
    words: str = ""
    lowest: float = 0.0
    highest: float = math.inf
    worst: float | None = _BEYOND_DOUBT

    def read(self, pair: Pair) -> Number | None:
        """Return it as `result.json` holds it, or None where it was not measured."""
        if self.of is not None:
            return number(self.of(pair))
        value: Number | None = getattr(pair, self.name)
        return value


def _max_rel(pair: Pair) -> float:
    """Return the largest difference relative to the rms of the reference."""
    return ratio(measured(pair.error_max), measured(pair.scale))


_SIZE_OF_ONE_SIDE: Final = "says how large one side is, not how far apart the two are"
_SEEN_BY_FLOOR: Final = "has the tensor's own unit; ratio_to_floor holds it against the floor"

MEASURES: Final = (
    Measure(name="rel_l2", source="first pass", column="rel_l2", page="all", proposal="limit"),
    Measure(name="max_abs", source="first pass", taken="error_max", column="max_abs", page="all", proposal="substitute"),
    Measure(name="max_rel", source="first pass", of=_max_rel, proposal="limit"),
    Measure(
        name="cosine", source="second look", page="failing", format="digits", lowest=-1.0, highest=1.0, worst=-0.999,
    ),
    Measure(name="max_ulp", source="second look", page="failing", worst=2.0**64),
    Measure(name="scale", source="first pass", unruled=_SIZE_OF_ONE_SIDE, page="all"),
    Measure(name="error_rms", source="first pass", unruled=_SEEN_BY_FLOOR, page="failing"),
    Measure(name="error_max", source="first pass", unruled="a rule says max_abs", page="failing"),
    Measure(name="reference_rms", source="working", taken="working_rms", unruled=_SEEN_BY_FLOOR, page="all"),
    Measure(name="reference_max", source="working", taken="working_max", unruled=_SEEN_BY_FLOOR, page="failing"),
    Measure(name="floor_rms", source="floor", unruled=_SEEN_BY_FLOOR, page="all"),
    Measure(name="floor_max", source="floor", unruled=_SEEN_BY_FLOOR, page="failing"),
    Measure(
        name="ratio_to_floor", source="judge", column="x floor", page="all", format="ratio", words="multiple of the floor",
    ),
    Measure(name="size", source="first pass", format="count", lowest=1.0, highest=2.0**63, worst=None),
    Measure(name="outside", source="second look", unruled="counts beyond the limit of the pair itself", format="count"),
)  # fmt: skip
"""All numbers that are known of a pair, in the order in which they are told."""


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

    @property
    def is_about_reference(self) -> bool:
        """Whether the reference is at fault, which no replay of the candidate confirms."""
        return self.slug in OF_REFERENCE


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
    `excluded` maps the addresses and files that the case excludes to its reasons. `unread` maps what lies under either
    side and was not read, by its path, to why, as what follows it in a sentence; `notes` are sentences about how the rest
    was read.
    """

    paths: int
    compared: int
    parameter_owners: int
    parameter_owners_compared: int
    not_compared: dict[str, str] = {}
    unexplained: list[str] = []
    pairs: int = 0
    excluded: dict[str, str] = {}
    unread: dict[str, str] = {}
    notes: list[str] = []

    @property
    def left_out(self) -> list[str]:
        """What was neither compared nor has a reason: it keeps the whole from a match."""
        return [*self.unexplained, *self.unread]


class Result(msgspec.Struct, kw_only=True):
    """Everything that report, terminal and junit show.

    Of several candidates, `candidates` holds each one's own result by label, without pairs and causes: these
    stand in the whole, which has the gravest verdict (`parity.compare.several`). `functions` is the manifest's.
    `seal` is of a written file alone.
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
    functions: dict[str, tuple[str, ...]] | UnsetType = UNSET
    checks: dict[str, Any] = {}
    islands: list[dict[str, Any]] = []
    stages: dict[str, str] = {}
    price: dict[str, Any] = {}
    images: dict[str, str] = {}
    commands: dict[str, str] = {}
    traces: dict[str, str] = {}
    wall_s: dict[str, float] = {}
    candidates: dict[str, Result] = {}
    seal: str | UnsetType = UNSET

    @property
    def is_of_weights(self) -> bool:
        """Whether files of weights were compared, and nothing that ran."""
        return self.checks.get("compared_as") == "weights"

    @property
    def program(self) -> Components:
        """What the program is made of, as far as a saved result is judged by it: what contains what."""
        if self.functions is UNSET:
            return UNDECLARED
        return Components(stages={}, functions=self.functions)


def json_schema() -> bytes:
    """Return the JSON Schema of `result.json`; docs/result.schema.json is this."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "result.json of parity"}
    return msgspec.json.format(msgspec.json.encode(described | msgspec.json.schema(Result)), indent=1) + b"\n"


def encode(result: Result) -> bytes:
    """Return a result as the bytes of its `result.json`, with its seal."""
    blank = msgspec.structs.replace(result, seal=seals.BLANK.decode())
    return seals.seal(msgspec.json.format(msgspec.json.encode(blank), indent=1) + b"\n", _SEAL)


def write(result: Result, path: str | Path) -> None:
    """Write `result.json`; OutputError where that fails."""
    disk.write(path, encode(result))


def read(path: str | Path) -> Result:
    """Read a `result.json`, or the one in a folder.

    Raises:
        InputError: it is not there, is not a result, or is not as it was written.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "result.json"
    try:
        data = reading.content(path, reading.RESULT_BYTES)
        result = _decoded(data)
    except FileNotFoundError as error:
        message = f"{path} is not there; run `parity compare TRACE TRACE2 --out {path.parent}` first"
        if (path.parent / "manifest.json").exists():
            message = f"{path.parent} is a trace and no result; run `parity compare {path.parent} TRACE2 --out DIR`, and give DIR"
        raise InputError(message) from error
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; give a folder with result.json"
        raise InputError(message) from error
    except ValueError as error:
        message = f"{path} is not a result: {error}"
        raise InputError(message) from error
    _check_seal(path, data, result)
    return result


def _check_seal(path: Path, data: bytes, result: Result) -> None:
    """Refuse a result that is not as it was written; in memory it has no seal."""
    written, result.seal = result.seal, UNSET
    computed = seals.digest_of(data, _SEAL)
    if not computed or written != computed:
        message = (
            f"{path} is damaged or was changed since it was written: its seal is {written or None!s:.40}; expected "
            f"{computed or 'one as its last key'}; compare the traces again"
        )
        raise InputError(message)


def _decoded(data: bytes) -> Result:
    """Return the result of a JSON text; ValueError where it is none."""
    result = reading.json(data, Result)
    for each in (result, *result.candidates.values()):
        free = [each.platform, each.provenance, each.case, each.checks, each.islands, each.price]
        reading.check_depth([*free, *(cause.edits for cause in each.causes)])
    for pair in result.pairs:
        if pair.stage not in STAGES or (pair.question == "audit") != (pair.mode == "audit"):
            message = (
                f"{pair.address!r} is of stage {pair.stage!r}, {pair.question} {pair.mode}, which no comparison writes"
            )
            raise ValueError(message)
    return result
