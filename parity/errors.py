"""Every error that the harness raises on purpose.

One root, `ParityError`. A leaf also inherits the builtin that fits, so callers may catch either. The
command line maps the two families to exit codes: `InputError` (what the user gave cannot be used) is 2,
every other `ParityError` (the tool or a child process failed) is 3.

A message states the fact, both values and the address, and after a semicolon what to do next. Names and values in it come
from anywhere; `one_line` makes of it what a terminal may be given.
"""

from __future__ import annotations

from difflib import get_close_matches
from heapq import nlargest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AddressError",
    "AlignmentError",
    "CaseError",
    "ChildError",
    "ChildInputError",
    "FrameworkMissingError",
    "InputError",
    "OutputError",
    "ParityError",
    "RepairError",
    "ToleranceError",
    "TraceError",
    "WeightsError",
    "nearest",
    "one_line",
    "visible",
]

_COMPARED: Final = 1000
_LONGEST_WORD: Final = 200
_LONGEST_LINE: Final = 2000


class ParityError(Exception):
    """Root of all errors raised on purpose."""


class InputError(ParityError, ValueError):
    """Something given by the user cannot be used; exit code 2."""


class AddressError(InputError):
    """A text is not an address, or no record has it."""


class CaseError(InputError):
    """A case file has an unknown key, a wrong value or names something that is not there."""


class TraceError(InputError):
    """A trace is damaged, incomplete, foreign or not a trace."""


class WeightsError(InputError):
    """A checkpoint lacks tensors, has surplus ones, or holds wrong shapes."""


class AlignmentError(InputError):
    """The candidate's alignment table names something that one of the sides does not have."""


class ToleranceError(InputError):
    """A tolerance rule is malformed or matches no pair."""


class RepairError(InputError):
    """A repair names a parameter, an attribute or an edit that the candidate does not have."""


class OutputError(InputError, OSError):
    """A file or a folder cannot be written, or another process writes there."""


class FrameworkMissingError(InputError, ImportError):
    """A framework needed for one side is not installed."""


class ChildError(ParityError, RuntimeError):
    """A child process of the harness failed; exit code 3."""


class ChildInputError(ChildError, InputError):
    """A child process could not use its input, which it has said itself; exit code 2."""


def visible(text: str) -> str:
    """Return `text` on one line: whatever is not printable is written as an escape, and what is too long loses its middle."""
    text = _cut(text, _LONGEST_LINE)
    if text.isprintable():
        return text
    return "".join(map(_printable, text))


def _printable(letter: str) -> str:
    """Return a letter, or the escape that Python writes for it."""
    return letter if letter.isprintable() else repr(letter)[1:-1]


def one_line(message: object) -> str:
    r"""Return a message on one line, without a control character, and with what is too long cut in its middle.

    >>> one_line("a\nname of \x1b[31m")
    'a\\nname of \\x1b[31m'
    >>> len(one_line("x" * 1000 + " is not there"))
    213
    """
    # Ten times what is kept is looked at, so that a name of a gigabyte is no gigabyte of words.
    words = _cut(str(message), 10 * _LONGEST_LINE).split(" ")
    return _cut(" ".join(_cut(visible(word), _LONGEST_WORD) for word in words), _LONGEST_LINE)


def _cut(text: str, most: int) -> str:
    """Return both ends of a text that is too long."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[: most - half - 1]}…{text[-half:]}"


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` for the closest of `choices`, or nothing."""
    # Comparing takes a time that grows with the square of the length, and a trace has half a million addresses.
    lengths = range(len(name) // 3, min(3 * len(name) + 1, _LONGEST_WORD))
    possible = [choice for choice in choices if len(choice) in lengths]
    if len(possible) > _COMPARED:
        possible = nlargest(_COMPARED, possible, key=lambda choice: _shared(name, choice))
    close = get_close_matches(name[:_LONGEST_WORD], possible, n=1, cutoff=0.5)
    if not close:
        return ""
    return f", did you mean {close[0]!r}?"


def _shared(first: str, second: str) -> int:
    """Return how many letters two names begin with in common."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))
