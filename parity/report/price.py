"""What a divergence costs the user, as tables: the final latents and the image of the free runs.

`Result.price` nests place, type, and who is held against whom; after a diagnosis `repaired` holds the same
again for the repaired candidate. Any depth is read: the innermost tables of numbers become lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from parity.report.words import as_float, plain, visible

if TYPE_CHECKING:
    from parity.result import Result

__all__ = ["PriceLine", "PriceTable", "price", "told"]

_WHO: Final = {
    "candidate": "candidate, from float64",
    "reference": "reference, from float64",
    "between": "candidate, from reference",
}
_MEASURES: Final = {"max_over_largest": "of the largest value", "rel_l2": "rel_l2", "max_abs": "max_abs"}
_RELATIVE: Final = "max_over_largest"


class PriceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison: who is held against whom, and its measures by name, as text."""

    who: str
    measures: dict[str, str]


class PriceTable(msgspec.Struct, frozen=True, kw_only=True):
    """The comparisons at one place in one type.

    `note` says where the place is; `within` tells whether the relative difference keeps the place's limit,
    None where it has none.
    """

    what: str
    note: str
    lines: list[PriceLine]
    within: bool | None = None

    @property
    def shortest(self) -> tuple[str, str, str]:
        """The number that stands for the table: its value, the measure's name, and who."""
        line = next((line for line in self.lines if line.who == _WHO["between"]), self.lines[0])
        name, value = next(iter(line.measures.items()), ("", ""))
        return value, name, line.who


def price(result: Result) -> list[PriceTable]:
    """Return the tables of the price in the order of the result."""
    return [table for name, value in result.price.items() for table in _tables(_spaced(name), value)]


def told(table: PriceTable) -> str:
    """Return a table in one sentence."""
    lines = []
    for line in table.lines:
        measures = ", ".join(
            f"{value} {name}" if name.startswith("of ") else f"{name} {value}" for name, value in line.measures.items()
        )
        lines.append(f"{line.who}: {measures}" if line.who else measures)
    verdict = {True: " (within its limit)", False: " (beyond its limit)", None: ""}[table.within]
    return f"{table.what}{verdict}: {'; '.join(lines)}"


def _tables(what: str, value: object) -> list[PriceTable]:
    """Return the tables under one name."""
    if not isinstance(value, dict):
        return [PriceTable(what=what, note="", lines=[PriceLine(who="", measures={"value": _text(value)})])]
    inner = {key: item for key, item in value.items() if isinstance(item, dict)}
    plain_items = {key: item for key, item in value.items() if key not in inner}
    if any(isinstance(item, dict) for table in inner.values() for item in table.values()):
        return [table for key, item in inner.items() for table in _tables(f"{what}, {_spaced(key)}", item)]
    if not inner:
        return [_table(what, {"": plain_items}, {})]
    return [_table(what, inner, plain_items)]


def _table(what: str, inner: dict[str, dict[str, Any]], around: dict[str, Any]) -> PriceTable:
    """Return one table; what stands around its lines becomes the note."""
    lines = [
        PriceLine(
            who=_WHO.get(key, _spaced(key)),
            measures={_MEASURES.get(name, _spaced(name)): _text(item) for name, item in measures.items()},
        )
        for key, measures in inner.items()
    ]
    lines += [
        PriceLine(who=_WHO[key], measures={_MEASURES[_RELATIVE]: "not measured"})
        for key, item in around.items()
        if item is None and key in _WHO
    ]
    note = ", ".join(
        visible(item) if key == "address" else f"{_spaced(key)} {_text(item)}"
        for key, item in around.items()
        if item is not None
    )
    return PriceTable(what=what, note=note, lines=lines, within=_within(inner, around))


def _within(inner: dict[str, dict[str, Any]], around: dict[str, Any]) -> bool | None:
    """Tell whether the difference from the reference keeps the limit that stands beside it."""
    held = inner.get("between") or inner.get("candidate") or {}
    relative, limit = held.get(_RELATIVE), around.get("limit")
    if relative is None or not isinstance(limit, float):
        return None
    return bool((as_float(relative) or 0.0) <= limit)


def _text(value: object) -> str:
    """Return a number of the price: two digits where it is small, four where it is of common size."""
    if isinstance(value, float):
        return f"{value:.2g}" if value and abs(value) < 1e-3 else f"{value:.4g}"  # noqa: PLR2004 - readable digits
    return plain(value)


def _spaced(name: object) -> str:
    """Return a key as words."""
    return visible(str(name)).replace("_", " ")
