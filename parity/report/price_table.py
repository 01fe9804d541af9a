"""What a divergence costs the user, as tables: the final latents and the image of the free runs.

`Result.price` nests place, type, and who is held against whom; after a diagnosis `repaired` holds the same
again for the repaired candidate. Any depth is read: the innermost tables of numbers become lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from parity.report.words import as_float, joined, plain, visible

if TYPE_CHECKING:
    from parity.result import Result

__all__ = ["PriceLine", "PriceTable", "price_tables"]

_BETWEEN: Final = "candidate, from reference"
_WHO: Final = {"candidate": "candidate, from float64", "reference": "reference, from float64", "between": _BETWEEN}
_RELATIVE: Final = "max_over_largest"
_MEASURES: Final = {_RELATIVE: "of the largest value", "rel_l2": "rel_l2", "max_abs": "max_abs"}
_WITHIN: Final = {True: " (within its limit)", False: " (beyond its limit)", None: ""}
_EXACT: Final = "float64"
_SMALL: Final = 1e-3


class PriceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison: who is held against whom, and its measures by name, as text."""

    who: str
    measures: dict[str, str]

    @property
    def named(self) -> str:
        """The measures, each behind its name."""
        return ", ".join(map("{} {}".format, self.measures, self.measures.values()))

    @property
    def told(self) -> str:
        """The line in words."""
        measures = joined(*map(_measured, self.measures, self.measures.values()))
        return joined(self.who, measures, by=": ")


class PriceTable(msgspec.Struct, frozen=True, kw_only=True):
    """The comparisons at one place in one type.

    `names` are the place and, where it has one, the type; `note` says where the place is; `within` tells whether
    the relative difference keeps the place's limit, None where it has none.
    """

    names: tuple[str, ...]
    note: str
    lines: list[PriceLine]
    within: bool | None = None

    @property
    def what(self) -> str:
        """The names in one line."""
        return ", ".join(self.names)

    @property
    def exact(self) -> bool:
        """Whether the runs are in float64, where a difference is no matter of precision."""
        return self.names[-1] == _EXACT

    @property
    def shortest(self) -> tuple[str, str, str]:
        """The number that stands for the table: its value, the measure's name, and who."""
        lines = {line.who: line for line in self.lines}
        line = lines.get(_BETWEEN, self.lines[0])
        name, value = next(iter(line.measures.items()), ("", ""))
        return value, name, line.who

    @property
    def told(self) -> str:
        """The table in one sentence."""
        lines = "; ".join(line.told for line in self.lines)
        return f"{self.what}{_WITHIN[self.within]}: {lines}"


def price_tables(result: Result) -> list[PriceTable]:
    """Return the tables of the price in the order of the result."""
    return _below((), result.price)


def _below(names: tuple[str, ...], value: dict[str, Any]) -> list[PriceTable]:
    """Return the tables of all that is nested under some names."""
    found: list[PriceTable] = []
    for key, item in value.items():
        found += _tables((*names, _spaced(key)), item)
    return found


def _tables(names: tuple[str, ...], value: object) -> list[PriceTable]:
    """Return the tables of one value: of numbers, of tables of numbers, or of something deeper."""
    if not isinstance(value, dict):
        return [PriceTable(names=names, note="", lines=[PriceLine(who="", measures={"value": _text(value)})])]
    # A table of numbers, or tables of numbers side by side, end here; whatever is deeper becomes part of the name.
    nested = _nested(value)
    if not nested:
        return [_table(names, {"": value}, {})]
    if any(map(_nested, nested.values())):
        return _below(names, nested)
    return [_table(names, nested, {key: item for key, item in value.items() if key not in nested})]


def _nested(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return those items of a table that are tables."""
    return {key: item for key, item in table.items() if isinstance(item, dict)}


def _table(names: tuple[str, ...], nested: dict[str, dict[str, Any]], around: dict[str, Any]) -> PriceTable:
    """Return one table; what stands around its lines becomes the note."""
    lines = list(map(_line, nested, nested.values()))
    notes = []
    for key, item in around.items():
        if key == "address":
            notes.append(visible(item))
        elif item is not None:
            notes.append(f"{_spaced(key)} {_text(item)}")
        elif key in _WHO:
            lines.append(_line(key, {_RELATIVE: None}))
    return PriceTable(names=names, note=", ".join(notes), lines=lines, within=_within(nested, around))


def _line(key: str, measures: dict[str, Any]) -> PriceLine:
    """Return one comparison as text."""
    texts = {_MEASURES.get(name, _spaced(name)): _text(item) for name, item in measures.items()}
    return PriceLine(who=_WHO.get(key, _spaced(key)), measures=texts)


def _within(nested: dict[str, dict[str, Any]], around: dict[str, Any]) -> bool | None:
    """Tell whether the difference from the reference keeps the limit that stands beside it."""
    held = nested.get("between", nested.get("candidate", {}))
    relative, limit = as_float(held.get(_RELATIVE)), around.get("limit")
    if relative is None or not isinstance(limit, float):
        return None
    return relative <= limit


def _measured(name: str, value: str) -> str:
    """Return a measure with its name, which follows where it reads on, as in `0.2 of the largest value`."""
    return f"{value} {name}" if name.startswith("of ") else f"{name} {value}"


def _text(value: object) -> str:
    """Return a number of the price: two digits where it is small, four where it is of common size."""
    if not isinstance(value, float):
        return plain(value)
    digits = 2 if 0 < abs(value) < _SMALL else 4
    return f"{value:.{digits}g}"


def _spaced(name: object) -> str:
    """Return a key as words."""
    return visible(str(name)).replace("_", " ")
