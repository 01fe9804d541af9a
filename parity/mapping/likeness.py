"""How much speaks for pairing two units: log odds from weights, values, shapes, calls and names, as matrices.

Each is a matrix `[reference units, candidate units]` of natural log odds; their sum decides.

weights
    +12 where all of a module's parameters are found on the other side by digest: as they are, transposed, rounded, or as
    a part of a fused one; +4 where only some are, -1 where only their sizes agree, -12 where those differ. Nothing
    where a side tells no weights.
values
    From the relative distance d of the fingerprints, -2 log10(d) - 1 between -3 and 8: 8 for rounding, 0 for a third.
shapes
    +1.5 for the same, +0.5 for the same number of elements, -4 for another one.
calls
    -4 where the number of calls differs.
names
    Up to +4, by the words that two paths share, rare ones counting more.

A base of -2 makes a pair that nothing speaks for less likely than none.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from parity.mapping.units import LAYOUTS, digests_in, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from parity.mapping.units import Unit
    from parity.trace import WeightDigests

__all__ = ["Likeness", "distance", "distances", "name_similarity", "parameter_of", "weigh"]

_BASE: Final = -2.0
_EQUAL, _SOME, _SIZES, _OTHER = 12.0, 4.0, -1.0, -12.0
_VALUE_LEAST, _VALUE_MOST = -3.0, 8.0
_SAME_SHAPE, _SAME_SIZE, _OTHER_SIZE = 1.5, 0.5, -4.0
_OTHER_CALLS: Final = -4.0
_NAMES: Final = 4.0
_CLOSEST: Final = 1e-8
_WORD = re.compile(r"[A-Za-z]+|\d+")


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """The matrices `[reference units, candidate units]`, and what they sum to.

    Attributes:
        total: Log odds.
        weights: Log odds of the weights.
        distance: Relative distance of the fingerprints in the best layout; NaN where they cannot be compared.
        layout: Index into `LAYOUTS` of that layout.
        names: Similarity of the names, 0 to 1.
        same_size: Whether the outputs have equally many elements.
    """

    total: np.ndarray
    weights: np.ndarray
    distance: np.ndarray
    layout: np.ndarray
    names: np.ndarray
    same_size: np.ndarray


def weigh(
    reference: Sequence[Unit], candidate: Sequence[Unit], prints: tuple[np.ndarray, np.ndarray] | None, *, names: bool
) -> Likeness:
    """Return what speaks for every pair; without `prints` values say nothing, without `names` names do not."""
    same_size = _agree(_size, reference, candidate)
    shape = np.where(same_size, _SAME_SIZE, _OTHER_SIZE)
    shape[_agree(lambda unit: unit.shape, reference, candidate)] = _SAME_SHAPE
    calls = np.where(_agree(lambda unit: len(unit.occurrences), reference, candidate), 0.0, _OTHER_CALLS)
    weights = _weights(reference, candidate)
    apart = np.full(same_size.shape, np.nan)
    layout = np.zeros(same_size.shape, int)
    if prints is not None:
        apart, layout = distances(*prints, [_sizes(reference), _sizes(candidate)])
    similar = np.zeros(same_size.shape)
    if names:
        similar = name_similarity(_paths(reference), _paths(candidate))
    total = _BASE + weights + _values(apart) + shape + calls + _NAMES * similar
    return Likeness(
        total=total,
        weights=weights,
        distance=apart,
        layout=layout,
        names=similar,
        same_size=same_size,
    )


def _agree(of: Callable[[Unit], Hashable], reference: Iterable[Unit], candidate: Iterable[Unit]) -> np.ndarray:
    """Return for every pair whether both units have the same of something."""
    numbers: dict[Hashable, int] = {}
    sides = []
    for units in (reference, candidate):
        side = [numbers.setdefault(of(unit), len(numbers)) for unit in units]
        sides.append(np.array(side, int))
    same: np.ndarray = sides[0][:, None] == sides[1][None, :]
    return same


def _size(unit: Unit) -> int:
    """Return how many elements the first output has."""
    return math.prod(unit.shape)


def _sizes(units: Iterable[Unit]) -> np.ndarray:
    """Return how many elements each unit's first output has."""
    return np.array(list(map(_size, units)))


def _paths(units: Iterable[Unit]) -> list[str]:
    """Return the paths."""
    return [unit.path for unit in units]


def _values(apart: np.ndarray) -> np.ndarray:
    """Return the log odds of relative distances of fingerprints; nothing where they cannot be compared."""
    with np.errstate(invalid="ignore"):
        odds = -2.0 * np.log10(np.maximum(apart, _CLOSEST)) - 1.0
    known: np.ndarray = np.nan_to_num(np.clip(odds, _VALUE_LEAST, _VALUE_MOST), nan=0.0)
    return known


def parameter_of(wanted: WeightDigests, parameters: Mapping[str, WeightDigests], layout: str) -> tuple[str, str]:
    """Return (name, layout) of the parameter that holds the wanted one's values; empty where none does.

    `layout` is that of the candidate's digests to look at, the returned one the reference's that its parameter is.
    """
    # A value that several layouts have is the first one's: a matrix that equals its transpose lies as it is.
    layouts = {value: layout_of(key) for key, value in reversed(wanted.digests.items())}
    for name, other in parameters.items():
        held = filter(layouts.__contains__, digests_in(layout, other))
        value = next(held, None)
        if value is not None:
            return name, layouts[value]
    return "", ""


def _weights(reference: Sequence[Unit], candidate: Sequence[Unit]) -> np.ndarray:
    """Return the log odds of the weights."""
    owned, other_owned = _counts(reference), _counts(candidate)
    same_sizes = _agree(_parameter_sizes, reference, candidate)
    if not (owned.any() and other_owned.any()):  # one side tells no weights
        return np.zeros(same_sizes.shape)
    shared = _shared(reference, candidate)
    some = shared > 0
    every = some & same_sizes & (shared >= owned[:, None])
    found = np.where(same_sizes, _SIZES, _OTHER)
    found[np.logical_and.outer(owned == 0, other_owned == 0)] = 0.0
    found[some] = np.maximum(found[some], _SOME)
    found[every] = _EQUAL
    return found


def _counts(units: Iterable[Unit]) -> np.ndarray:
    """Return how many parameters each unit has."""
    return np.array([len(unit.weights) for unit in units], int)


def _parameter_sizes(unit: Unit) -> tuple[float, ...]:
    """Return the sizes of a unit's parameters, in ascending order; of a part, those of its share."""
    return unit.parameter_sizes(unit.part.count)


def _shared(reference: Sequence[Unit], candidate: Sequence[Unit]) -> np.ndarray:
    """Return for every pair how many parameters of the reference's unit the candidate's holds in some layout."""
    found = np.zeros((len(reference), len(candidate)), int)
    holders = _holders(candidate)
    for row, unit in enumerate(reference):
        for each in unit.weights.values():
            columns: set[int] = set()
            for value in each.digests.values():
                columns |= holders.get(value, set())
            found[row, list(columns)] += 1
    return found


def _holders(units: Iterable[Unit]) -> dict[str, set[int]]:
    """Return digest -> the units that hold it: of a part, the digests of that part."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for column, unit in enumerate(units):
        for each in unit.weights.values():
            for value in digests_in(unit.part.layout, each):
                found[value].add(column)
    return found


def distances(first: np.ndarray, second: np.ndarray, sizes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the relative distance of the fingerprints in the candidate's best layout, and which that is.

    Both are `[reference units, candidate units]`; the distance is NaN for tensors of different size.
    """
    best = np.full((len(first), len(second)), np.nan)
    layout = np.zeros(best.shape, int)
    for size in np.intersect1d(sizes[0], sizes[1]):
        rows = np.flatnonzero(sizes[0] == size)
        columns = np.flatnonzero(sizes[1] == size)
        mine = np.nan_to_num(first[rows, 0])
        for number in range(len(LAYOUTS)):
            far = _relative(mine, second[columns, number])
            place = np.ix_(rows, columns)
            # A layout must be clearly nearer than the tensor as it lies: equal ones are no transposition.
            better = np.isnan(best[place]) | (far < best[place] / 2)
            best[place] = np.where(better, far, best[place])
            layout[place] = np.where(better, number, layout[place])
    return best, layout


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the relative distance of two fingerprints as the tensors lie."""
    return float(_relative(np.nan_to_num(first[None, 0]), second[None, 0])[0, 0])


def _relative(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return |a - b| / max(|a|, |b|) for all rows of two matrices, NaN where b is."""
    first_squares = _squares(first)[:, None]
    second_squares = _squares(second)[None, :]
    larger = np.maximum(first_squares, second_squares)
    far = first_squares + second_squares - 2.0 * first @ second.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(larger == 0.0, 0.0, np.sqrt(np.maximum(far, 0.0) / larger))


def _squares(rows: np.ndarray) -> np.ndarray:
    """Return each row's sum of squares."""
    squares: np.ndarray = np.einsum("ij,ij->i", rows, rows)
    return squares


def name_similarity(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Return the cosine of the paths' words and neighbouring words, weighted by how rare they are.

    >>> name_similarity(["unet.attn1.to_q"], ["model.attn1.to_q", "model.attn1.to_k"])[0].argmax()
    0
    """
    mine = list(map(_words, first))
    theirs = list(map(_words, second))
    paths_with = _paths_with(mine), _paths_with(theirs)
    shared = {word: number for number, word in enumerate(paths_with[0].keys() & paths_with[1].keys())}
    total = len(first) + len(second)
    rarity = {word: math.log1p(total / count) for word, count in (paths_with[0] + paths_with[1]).items()}
    similarity: np.ndarray = _vectors(mine, shared, rarity) @ _vectors(theirs, shared, rarity).T
    return similarity


def _paths_with(paths: Iterable[list[str]]) -> Counter[str]:
    """Return in how many paths each word is."""
    return Counter(itertools.chain.from_iterable(map(set, paths)))


def _vectors(paths: Sequence[list[str]], shared: Mapping[str, int], rarity: Mapping[str, float]) -> np.ndarray:
    """Return `[paths, shared words]`: each path's weights of words, over their root of squares with all its words."""
    found = np.zeros((len(paths), len(shared)))
    squares = np.full(len(paths), 1e-12)
    for row, words in enumerate(paths):
        for word, count in Counter(words).items():
            weight = count * rarity[word]
            squares[row] += weight**2
            if word in shared:
                found[row, shared[word]] = weight
    vectors: np.ndarray = found / np.sqrt(squares)[:, None]
    return vectors


def _words(path: str) -> list[str]:
    """Return a path's words, and each pair of neighbours."""
    words: list[str] = list(map(str.lower, _WORD.findall(path)))
    return [*words, *map("/".join, itertools.pairwise(words))]
