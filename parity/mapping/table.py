"""The mapping as data, and as a TOML file that a person edits.

    [[pair]]
    path = "unet.conv_in"
    native = "model.diffusion_model.input_blocks.0.0"
    confidence = 1.0
    evidence = "weight equal, bias equal; values differ by 3.1e-07; …"

A pair below the threshold is not judged until a person adds `accepted = true`; whoever corrects `native` or
`transform` accepts it in the same way. A pair without `native` has no counterpart. `[not_compared]` gives what nobody
needs to compare, `PATH` or `PATH:PORT`, one reason of the closed list in `parity.align`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from parity import reading
from parity.align import REASONS
from parity.errors import AlignmentError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["THRESHOLD", "Counterpart", "Mapping", "encode", "read"]

THRESHOLD: Final = 0.9
"""Confidence from which an output is judged without a person's word."""

_HEAD: Final = """\
# {title}
# In order of execution. A pair below the threshold is not judged until it says accepted = true.
"""


class Counterpart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One output of a module of the reference and its counterpart, the fields in the order of the file.

    Attributes:
        path: The reference's path.
        port: Its output port.
        call: Which of its calls within a step; None for all.
        native: The candidate's path; empty where there is none.
        take: The candidate's output port.
        native_call: Which of the native calls within a step; None for all.
        transform: Layout transform from the candidate's output to the reference's.
        confidence: 0 to 1.
        accepted: A person has confirmed it.
        weights: The reference's parameter -> the candidate's, followed by its layout where it is another one.
        evidence: What speaks for it.
    """

    path: str
    port: str = "output"
    call: int | None = None
    native: str
    take: str = "output"
    native_call: int | None = None
    transform: str | None = None
    confidence: float
    accepted: bool = False
    weights: dict[str, str] = {}
    evidence: str = ""

    @property
    def output(self) -> str:
        """The reference's output, `PATH:PORT`."""
        return f"{self.path}:{self.port}"


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole mapping, in the order of execution; `candidate_only` are native paths that stand for nothing in the reference."""

    counterparts: list[Counterpart] = msgspec.field(name="pair")
    schema: int = 1
    threshold: float = THRESHOLD
    not_compared: dict[str, str] = {}
    candidate_only: list[str] = []

    def judged(self, each: Counterpart) -> bool:
        """Tell whether an output is judged by its counterpart."""
        return bool(each.native) and (each.accepted or each.confidence >= self.threshold)


def encode(mapping: Mapping, title: str) -> str:
    """Return the mapping as TOML; `title` is its first comment."""
    lines = [_HEAD.format(title=title)]
    lines += [f"schema = {mapping.schema}", f"threshold = {mapping.threshold}"]
    lines += ["", "[not_compared]"]
    lines += _entries(mapping.not_compared)
    for each in mapping.counterparts:
        lines += ["", "[[pair]]"]
        fields: dict[str, Any] = msgspec.to_builtins(each)
        lines += [f"{name} = {_value(value)}" for name, value in fields.items()]
    if mapping.candidate_only:
        lines += ["", "# Of the candidate, these stand for nothing in the reference:"]
        lines += [f"# {path}" for path in mapping.candidate_only]
    return "\n".join(lines) + "\n"


def _entries(table: dict[str, str]) -> list[str]:
    """Return the lines of a table whose keys are paths or names of parameters, which TOML wants quoted."""
    return [f"{_value(key)} = {_value(value)}" for key, value in table.items()]


def _value(value: object) -> str:
    """Return a TOML value; strings, numbers and booleans are written as in JSON, but for one character."""
    if isinstance(value, dict):
        return f"{{ {', '.join(_entries(value))} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read(path: Path) -> Mapping:
    """Read a mapping.

    Raises:
        AlignmentError: it is not there, is no mapping, pairs something twice, or gives an unknown reason.
    """
    try:
        mapping = msgspec.convert(reading.toml(path, reading.MAPPING_BYTES), Mapping)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; `parity map REFERENCE CANDIDATE --out {path}` writes one"
        raise AlignmentError(message) from error
    except ValueError as error:
        message = f"{path} is no mapping: {error}"
        raise AlignmentError(message) from error
    _check(mapping, path)
    return mapping


def _check(mapping: Mapping, path: Path) -> None:
    """Refuse what cannot be meant.

    Raises:
        AlignmentError: an output occurs twice, a number is out of range, or a reason is not of the list.
    """
    if not 0.0 <= mapping.threshold <= 1.0:
        message = f"{path}: threshold is {mapping.threshold}; it is a confidence, 0 to 1"
        raise AlignmentError(message)
    _check_counterparts(mapping, path)
    for name, reason in mapping.not_compared.items():
        if reason not in REASONS:
            message = f"{path}: {name}: {reason!r} is no reason for not comparing; the list is {', '.join(REASONS)}"
            raise AlignmentError(message)


def _check_counterparts(mapping: Mapping, path: Path) -> None:
    """Refuse two counterparts of one call, and what is no confidence.

    Raises:
        AlignmentError: there is one.
    """
    paired: set[tuple[str, int | None]] = set()
    for each in mapping.counterparts:
        # One of all calls and one of a single call would both say what that call is.
        if not paired.isdisjoint({(each.output, each.call), (each.output, None)}):
            message = f"{path}: {each.output} has two pairs for one call; remove one"
            raise AlignmentError(message)
        paired.add((each.output, each.call))
        if not 0.0 <= each.confidence <= 1.0:
            message = f"{path}: {each.path} has confidence {each.confidence}; it is 0 to 1"
            raise AlignmentError(message)
