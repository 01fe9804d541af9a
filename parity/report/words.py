r"""Numbers and foreign text as a person reads them, the same on the terminal, in the report and in pytest.

>>> number(0.031), ratio(41.3), visible("a\nb")
('3.1e-02', '41x', 'a\\nb')
>>> apart(1.2043, 1.2353), apart(1.00000001, 1.00000002)
(('1.2043', '1.2353'), ('1.00000001', '1.00000002'))
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from parity.result import Number

__all__ = [
    "FORMATS",
    "NOTHING",
    "apart",
    "as_float",
    "compact",
    "count",
    "largest",
    "number",
    "plain",
    "ratio",
    "visible",
]

NOTHING: Final = "\N{EN DASH}"
_EXACT_DIGITS: Final = 17


def visible(text: str) -> str:
    """Return `text` on one line: whatever is not printable is written as an escape."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def as_float(value: Number | None) -> float | None:
    """Return a stored number as a float: "nan", "inf" and "-inf" become themselves, None stays."""
    return None if value is None else float(value)


def largest(values: Iterable[Number | None]) -> float | None:
    """Return the largest of several stored numbers; what is no number is larger than any. None where there is none.

    >>> largest([1.0, "nan", None, 2.0]), largest([]), largest(["inf", 1.0])
    (nan, None, inf)
    """
    found = [float(value) for value in values if value is not None]
    return math.nan if any(map(math.isnan, found)) else max(found, default=None)


def number(value: Number | None, digits: int = 2) -> str:
    """Return a measured distance: `3.1e-02`, `0`, `inf`, or a dash when it was not measured."""
    found = as_float(value)
    if found is None:
        return NOTHING
    if not math.isfinite(found):
        return str(found)
    return "0" if found == 0 else f"{found:.{digits - 1}e}"


def plain(value: object) -> str:
    """Return any value of a result as text: floats short, lists joined, booleans as yes and no."""
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{visible(str(key))} {plain(item)}" for key, item in value.items())
    return visible(str(value))


def ratio(value: Number | None, limit: float | None = None) -> str:
    """Return a multiple: `41x`, `2.4x`; never rounded onto `limit` unless it equals it."""
    found = as_float(value)
    if found is None:
        return NOTHING
    if not math.isfinite(found):
        return f"{found}x"
    digits = 2
    while digits < _EXACT_DIGITS and limit is not None and found != limit and float(f"{found:.{digits}g}") == limit:
        digits += 1
    text = f"{found:.{digits}g}"
    magnitude = abs(found)
    if 100 <= magnitude < 1e4:  # noqa: PLR2004 - plain digits where they stay readable
        text = f"{found:.0f}"
    return f"{text}x"


def apart(reference: Number | str, candidate: Number | str) -> tuple[str, str]:
    """Return both values with as many digits as it takes to tell them apart."""
    if not isinstance(reference, float | int) or not isinstance(candidate, float | int):
        return visible(str(reference)), visible(str(candidate))
    if isinstance(reference, int) and isinstance(candidate, int):
        return str(reference), str(candidate)
    for digits in range(5, _EXACT_DIGITS + 1):
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
    if found is None or not math.isfinite(found):
        return "" if found is None else str(found)
    plain_text, (mantissa, _, power) = f"{found:.3g}", f"{found:.2e}".partition("e")
    short = f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    return min(plain_text.removesuffix(".0"), short, key=len)


def count(amount: int, noun: str, plural: str | None = None) -> str:
    """Return `1 pair`, `12,000 pairs`."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def _digits(value: Number | None) -> str:
    """Return a number that is near one: `0.999987`."""
    return NOTHING if value is None else f"{float(value):.6g}"


def _amount(value: Number | None) -> str:
    """Return a count: `12,000`."""
    return NOTHING if value is None else f"{value:,}"


FORMATS: Final[dict[str, Callable[[Number | None], str]]] = {
    "number": number,
    "digits": _digits,
    "ratio": ratio,
    "count": _amount,
}
"""How a measure of `parity.result` is written, by its format."""
