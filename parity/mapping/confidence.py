"""From likeness to a choice: one counterpart for each unit of the reference, and how sure that is.

1. The posterior by content: the smaller of a pair's share in its row and in its column, "none" counting as one.
2. The posterior by order (`order`): its share in all alignments that keep the order of execution. Where only the order
   tells two pairs apart it counts for at most 0.85, which is below the threshold: order alone is no proof.
3. The one-to-one assignment that maximises the better of both; its confidence is lowered by what else the unit, or its
   counterpart, could be, and halved where names argue for the exchange of two pairs that break the order.

Units whose outputs are identical in every call, such as a dropout and its input, do not compete: either is as good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from parity.mapping.order import posterior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.mapping.likeness import Likeness
    from parity.mapping.units import Unit

__all__ = ["ORDER_ALONE", "Choice", "choose"]

ORDER_ALONE: Final = 0.85
"""The most that the order of execution counts for by itself."""

_SURE: Final = 0.5
_LEAST: Final = 0.01
_NAMES_ARGUE: Final = 0.2


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Row -> column of the chosen pairs, their confidences by row, and both posteriors of all pairs."""

    columns: dict[int, int]
    confidence: np.ndarray
    content: np.ndarray
    order: np.ndarray


def choose(likeness: Likeness, mine: Sequence[Unit], theirs: Sequence[Unit]) -> Choice:
    """Return the choice for the units of the reference (rows) among those of the candidate (columns)."""
    odds = likeness.total
    classes = _classes(mine), _classes(theirs)
    in_row, in_column = _share(odds, axis=1), _share(odds, axis=0)
    pooled = np.minimum(_pooled(in_row.T, classes[1]).T, _pooled(in_column, classes[0]))
    content = np.minimum(pooled, 1.0)
    order = posterior(odds)
    # Within a class of identical outputs content does not tell which: names and order choose, nothing is lost.
    score = np.maximum(content, ORDER_ALONE * order) + 1e-3 * (np.minimum(in_row, in_column) + order)
    rows, assigned = linear_sum_assignment(-score)
    chosen: dict[int, int] = dict(zip(rows.tolist(), assigned.tolist(), strict=True))
    confidence = _confidences(score, chosen, classes)
    _lower_exchanged(confidence, chosen, likeness)
    columns = {row: column for row, column in chosen.items() if confidence[row] >= _LEAST}
    return Choice(
        columns=columns,
        confidence=np.round(confidence, 3),
        content=content,
        order=order,
    )


def _share(odds: np.ndarray, axis: int) -> np.ndarray:
    """Return each pair's share along an axis, "none" having odds of one."""
    peak = np.maximum(odds.max(axis=axis, keepdims=True), 0.0)
    weight = np.exp(odds - peak)
    whole = weight.sum(axis=axis, keepdims=True) + np.exp(-peak)
    share: np.ndarray = weight / whole
    return share


def _classes(units: Sequence[Unit]) -> np.ndarray:
    """Return a number for each unit: equal for units without parameters whose outputs are identical in every call."""
    numbers: dict[tuple[object, ...], int] = {}
    found = []
    for position, unit in enumerate(units):
        marks = unit.marks(unit.port)
        key: tuple[object, ...] = marks
        if unit.weights or not marks:
            key = (position,)
        found.append(numbers.setdefault(key, len(numbers)))
    return np.array(found)


def _pooled(shares: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return each row replaced by the sum of the rows of its class."""
    sums = np.zeros((int(classes.max(initial=-1)) + 1, shares.shape[1]))
    np.add.at(sums, classes, shares)
    pooled: np.ndarray = sums[classes]
    return pooled


def _confidences(score: np.ndarray, chosen: dict[int, int], classes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the confidence of each row's choice: its score, lowered by the best rival in its row and column."""
    found = np.zeros(len(score))
    for row, column in chosen.items():
        in_row = score[row, classes[1] != classes[1][column]]
        in_column = score[classes[0] != classes[0][row], column]
        rival = max(in_row.max(initial=0.0), in_column.max(initial=0.0))
        found[row] = min(score[row, column], 1.0) * (1.0 - min(rival, 1.0))
    return found


def _lower_exchanged(confidence: np.ndarray, chosen: dict[int, int], likeness: Likeness) -> None:
    """Halve the confidence of two pairs that break the order, could be exchanged, and whose names argue for it."""
    rows = np.array([row for row in chosen if confidence[row] > _SURE], int)
    columns = np.array([chosen[row] for row in rows], int)
    crossed = (columns[:, None] - columns[None, :]) * (rows[:, None] - rows[None, :]) < 0
    fits, names = likeness.same_size[np.ix_(rows, columns)], likeness.names[np.ix_(rows, columns)]
    own = np.diag(names)
    argued = crossed & fits & fits.T & (names + names.T > own[:, None] + own[None, :] + _NAMES_ARGUE)
    confidence[rows[argued.any(axis=1)]] *= 0.5
