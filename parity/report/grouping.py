"""Pairs by what they share, and the orders in which a report tells: stages, then questions and replays.

>>> grouped(["ab", "c", "de"], key=len)
{2: ['ab', 'de'], 1: ['c']}
>>> in_order(["vae", "unet", "mine", "weights"])
['weights', 'unet', 'vae', 'mine']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from parity.address import STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from parity.result import FirstDivergence, Pair

__all__ = ["COLUMNS", "asked", "column_of", "dtype_of", "grouped", "in_order", "rank"]

_Item = TypeVar("_Item")
_Key = TypeVar("_Key")
Column = tuple[str, str]

COLUMNS: Final[tuple[Column, ...]] = (
    ("audit", "audit"), ("semantics", "layers"), ("semantics", "steps"), ("semantics", "free"),
    ("precision", "layers"), ("precision", "steps"), ("precision", "free"),
)  # fmt: skip
_RANK: Final = {column: place for place, column in enumerate(COLUMNS)}


def grouped(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    """Return the items of each key; keys in the order in which they first come."""
    found: dict[_Key, list[_Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def column_of(pair: Pair) -> Column:
    """Return the question and the replay of a pair."""
    return pair.question, pair.mode


def dtype_of(pair: Pair) -> str:
    """Return the type of a pair, empty where it has none, as most audits have."""
    return pair.dtype or ""


def asked(place: Pair | FirstDivergence) -> str:
    """Return the question and the replay of something in words; an audit has no replay."""
    return place.question if place.question == "audit" else f"{place.question}, {place.mode}"


def rank(column: Column) -> int:
    """Return the place of a question and replay in `COLUMNS`; what is not among them comes last."""
    return _RANK.get(column, len(_RANK))


def in_order(stages: Iterable[str]) -> list[str]:
    """Return stages in the order in which they run; those that the harness does not know come last, sorted."""
    names = set(stages)
    known = [stage for stage in STAGES if stage in names]
    return known + sorted(names.difference(known))
