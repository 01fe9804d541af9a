r"""Numbers and foreign text as a person reads them, the same on the terminal, in the report and in pytest.

>>> number(0.031), ratio(41.3), visible("a\nb")
('3.1e-02', '41x', 'a\\nb')
>>> apart(1.2043, 1.2353), apart(1.00000001, 1.00000002)
(('1.2043', '1.2353'), ('1.00000001', '1.00000002'))
>>> joined("port", after("in ", "float32"), after("as ", ""), some(1200, "pairs"), some(0, "gaps"))
'port, in float32, 1,200 pairs'
"""

from __future__ import annotations

import math
from functools import singledispatch
from typing import TYPE_CHECKING, Any, Final

from parity.errors import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from parity.result import Cause, Number

__all__ = [
    "FORMATS",
    "NOTHING",
    "SURE",
    "after",
    "apart",
    "as_float",
    "as_table",
    "compact",
    "count",
    "joined",
    "largest",
    "number",
    "plain",
    "ratio",
    "some",
    "some_of",
    "sure",
    "visible",
]

NOTHING: Final = "\N{EN DASH}"
SURE: Final = {True: "confirmed", False: "not confirmed"}
_EXACT_DIGITS: Final = 17
_FIRST_DIGITS: Final = 5
_WHOLE: Final = (100, 1e4)
"""Multiples that are written without a point and without a power."""


def sure(cause: Cause) -> str:
    """Return how sure a cause is, or that it is none of the candidate's."""
    if cause.is_about_reference:
        return "about the reference"
    return SURE[cause.confirmed]


def joined(*parts: str, by: str = ", ") -> str:
    """Return on one line the parts that say anything."""
    return by.join(filter(None, parts))


def after(name: str, text: str) -> str:
    """Return a text after its name, or nothing without a text, as a part for `joined`."""
    return f"{name}{text}" if text else ""


def count(amount: int, noun: str, plural: str = "{}s") -> str:
    """Return `1 pair`, `12,000 pairs`; `plural` is a word, or what becomes of the noun."""
    words = noun if amount == 1 else plural.format(noun)
    return f"{amount:,} {words}"


def some(amount: int, what: str) -> str:
    """Return `12,000 without effect`, or nothing for none, as a part for `joined`."""
    return f"{amount:,} {what}" if amount else ""


def some_of(amount: int, noun: str, what: str) -> str:
    """Return `12 pairs differ`, or nothing for none, as a part for `joined`."""
    if not amount:
        return ""
    return f"{count(amount, noun)} {what}"


def as_table(value: Any) -> dict[str, Any]:
    """Return a table of a result; an empty one where a result that was edited by hand holds something else."""
    if not isinstance(value, dict):
        return {}
    return value


def as_float(value: Number | None) -> float | None:
    """Return a stored number as a float: "nan", "inf" and "-inf" become themselves, None stays."""
    if value is None:
        return None
    return float(value)


def largest(values: Iterable[Number | None]) -> float | None:
    """Return the largest of several stored numbers; what is no number is larger than any. None where there is none.

    >>> largest([1.0, "nan", None, 2.0]), largest([]), largest(["inf", 1.0])
    (nan, None, inf)
    """
    found = [float(value) for value in values if value is not None]
    return max(found, key=lambda value: (math.isnan(value), value), default=None)


def number(value: Number | None, nothing: str = NOTHING) -> str:
    """Return a measured distance: `3.1e-02`, `0`, `inf`, or `nothing` when it was not measured."""
    found = as_float(value)
    if found is None:
        return nothing
    if found == 0:
        return "0"
    return f"{found:.1e}"


@singledispatch
def plain(value: object) -> str:
    """Return any value of a result as text: floats short, lists joined, booleans as yes and no."""
    return visible(str(value))


plain.register(type(None), lambda _: "not measured")
plain.register(bool, {True: "yes", False: "no"}.__getitem__)
plain.register(float, "{:.4g}".format)


@plain.register(list)
@plain.register(tuple)
def _plain_list(value: list[Any] | tuple[Any, ...]) -> str:
    """Return the items, each as text."""
    return ", ".join(map(plain, value))


@plain.register
def _plain_table(value: dict) -> str:
    """Return the items, each behind its key."""
    return "; ".join(f"{visible(str(key))} {plain(item)}" for key, item in value.items())


def ratio(value: Number | None, limit: float | None = None) -> str:
    """Return a multiple: `41x`, `2.4x`; never rounded onto `limit` unless it equals it."""
    found = as_float(value)
    if found is None:
        return NOTHING
    lowest, highest = _WHOLE
    if lowest <= abs(found) < highest:
        return f"{found:.0f}x"
    digits = 2
    while digits < _EXACT_DIGITS and found != limit and float(f"{found:.{digits}g}") == limit:
        digits += 1
    return f"{found:.{digits}g}x"


def apart(reference: Number | str, candidate: Number | str) -> tuple[str, str]:
    """Return both values with as many digits as it takes to tell them apart."""
    kinds = {type(reference), type(candidate)}
    if str in kinds:
        return visible(str(reference)), visible(str(candidate))
    if kinds <= {int, bool}:
        return str(reference), str(candidate)
    for digits in range(_FIRST_DIGITS, _EXACT_DIGITS + 1):
        texts = f"{reference:#.{digits}g}", f"{candidate:#.{digits}g}"
        if texts[0] != texts[1]:
            return texts
    return f"{reference!r}", f"{candidate!r}"


def compact(value: Number | None) -> str:
    """Return the shortest text of three significant digits, as the page stores numbers; nothing for None.

    >>> compact(1.2345e-7), compact(0.5), compact("nan"), compact(None)
    ('1.23e-7', '0.5', 'nan', '')
    """
    found = as_float(value)
    if found is None:
        return ""
    if not math.isfinite(found):
        return str(found)
    mantissa, _, power = f"{found:.2e}".partition("e")
    short = f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    return min(f"{found:.3g}", short, key=len)


def _digits(value: Number | None) -> str:
    """Return a number that is near one: `0.999987`."""
    if value is None:
        return NOTHING
    return f"{float(value):.6g}"


def _amount(value: Number | None) -> str:
    """Return a count: `12,000`."""
    if value is None:
        return NOTHING
    return f"{value:,}"


FORMATS: Final[dict[str, Callable[[Number | None], str]]] = {
    "number": number,
    "digits": _digits,
    "ratio": ratio,
    "count": _amount,
}
"""How a measure of `parity.result` is written, by its format."""
