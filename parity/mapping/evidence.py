"""How much speaks for pairing two units: log odds from weights, values, shapes, calls and names, as matrices.

Every kind of evidence is a matrix `[reference units, candidate units]` of natural log odds; their sum decides.

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

from parity.mapping.units import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from parity.mapping.units import Unit
    from parity.trace import WeightDigests

__all__ = ["Evidence", "distance", "distances", "name_similarity", "parameter_of", "weigh"]

_BASE: Final = -2.0
_EQUAL, _SOME, _SIZES, _OTHER = 12.0, 4.0, -1.0, -12.0
_VALUE_LEAST, _VALUE_MOST = -3.0, 8.0
_SAME_SHAPE, _SAME_SIZE, _OTHER_SIZE = 1.5, 0.5, -4.0
_OTHER_CALLS: Final = -4.0
_NAMES: Final = 4.0
_CLOSEST: Final = 1e-8
_WORD = re.compile(r"[A-Za-z]+|\d+")


@dataclass(frozen=True, kw_only=True)
class Evidence:
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
) -> Evidence:
    """Return the evidence for every pair; without `prints` values say nothing, without `names` names do not."""
    sizes = [np.array([math.prod(unit.shape) for unit in units]) for units in (reference, candidate)]
    same_size = sizes[0][:, None] == sizes[1][None, :]
    shapes = {shape: number for number, shape in enumerate({unit.shape for unit in (*reference, *candidate)})}
    first, second = (np.array([shapes[unit.shape] for unit in units]) for units in (reference, candidate))
    shape = np.where(same_size, _SAME_SIZE, _OTHER_SIZE)
    shape[first[:, None] == second[None, :]] = _SAME_SHAPE
    counts = [np.array([len(unit.occurrences) for unit in units]) for units in (reference, candidate)]
    calls = np.where(counts[0][:, None] == counts[1][None, :], 0.0, _OTHER_CALLS)
    weights = _weights(reference, candidate)
    if prints is None:
        distance, layout = np.full(same_size.shape, np.nan), np.zeros(same_size.shape, int)
    else:
        distance, layout = distances(*prints, sizes)
    similar = name_similarity(_paths(reference), _paths(candidate)) if names else np.zeros(same_size.shape)
    with np.errstate(invalid="ignore"):
        value = np.clip(-2.0 * np.log10(np.maximum(distance, _CLOSEST)) - 1.0, _VALUE_LEAST, _VALUE_MOST)
    total = _BASE + weights + np.nan_to_num(value, nan=0.0) + shape + calls + _NAMES * similar
    return Evidence(total=total, weights=weights, distance=distance, layout=layout, names=similar, same_size=same_size)


def _paths(units: Iterable[Unit]) -> list[str]:
    """Return the paths."""
    return [unit.path for unit in units]


def parameter_of(wanted: WeightDigests, parameters: Mapping[str, WeightDigests], part: str = "") -> tuple[str, str]:
    """Return (name, layout) of the parameter that holds the wanted one's values; empty where none does.

    `layout` is the reference's layout that the candidate's parameter is, `part` the share of a fused one.
    """
    by_value = {value: key for key, value in reversed(wanted.digests.items())}
    for name, other in parameters.items():
        for key, value in other.digests.items():
            if key.partition("/")[0] == (part or "identity") and value in by_value:
                return name, by_value[value].partition("/")[0]
    return "", ""


def _weights(reference: Sequence[Unit], candidate: Sequence[Unit]) -> np.ndarray:
    """Return the log odds of the weights."""
    found = np.zeros((len(reference), len(candidate)))
    if not (any(unit.weights for unit in reference) and any(unit.weights for unit in candidate)):
        return found
    theirs = _parameter_sizes(candidate)
    ours = _parameter_sizes(reference)
    kinds = {sizes: number for number, sizes in enumerate({*ours, *theirs})}
    first, second = (np.array([kinds[each] for each in sizes]) for sizes in (ours, theirs))
    found[:] = np.where(first[:, None] == second[None, :], _SIZES, _OTHER)
    found[np.ix_([not each for each in ours], [not each for each in theirs])] = 0.0
    holders = _holders(candidate)
    for row, unit in enumerate(reference):
        hits: Counter[int] = Counter()
        for digests in unit.weights.values():
            hits.update({column for value in set(digests.digests.values()) for column in holders.get(value, ())})
        for column, count in hits.items():
            every = count >= len(unit.weights) and first[row] == second[column]
            found[row, column] = _EQUAL if every else max(found[row, column], _SOME)
    return found


def _parameter_sizes(units: Iterable[Unit]) -> list[tuple[int, ...]]:
    """Return the sizes of each unit's parameters, in ascending order."""
    return [
        tuple(sorted(math.prod(each.shape) // (unit.part or (0, 1))[1] for each in unit.weights.values()))
        for unit in units
    ]


def _holders(units: Iterable[Unit]) -> dict[str, set[int]]:
    """Return digest -> the units that hold it: of a part, the digests of that part."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for column, unit in enumerate(units):
        layout = "identity" if unit.part is None else "part{}of{}".format(*unit.part)
        for digests in unit.weights.values():
            for key, value in digests.digests.items():
                if key.partition("/")[0] == layout:
                    found[value].add(column)
    return found


def distances(first: np.ndarray, second: np.ndarray, sizes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the relative distance of the fingerprints in the candidate's best layout, and which that is.

    Both are `[reference units, candidate units]`; the distance is NaN for tensors of different size.
    """
    best = np.full((len(first), len(second)), np.nan)
    layout = np.zeros(best.shape, int)
    for size in np.intersect1d(sizes[0], sizes[1]):
        rows, columns = (np.flatnonzero(each == size) for each in sizes)
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
    squares = [np.einsum("ij,ij->i", each, each) for each in (first, second)]
    larger = np.maximum(squares[0][:, None], squares[1][None, :])
    far = squares[0][:, None] + squares[1][None, :] - 2.0 * first @ second.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(larger == 0.0, 0.0, np.sqrt(np.maximum(far, 0.0) / larger))


def name_similarity(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Return the cosine of the paths' words and neighbouring words, weighted by how rare they are.

    >>> name_similarity(["unet.attn1.to_q"], ["model.attn1.to_q", "model.attn1.to_k"])[0].argmax()
    0
    """
    words = [[_words(path) for path in paths] for paths in (first, second)]
    known = [Counter(word for path in side for word in set(path)) for side in words]
    shared = {word: number for number, word in enumerate(known[0].keys() & known[1].keys())}
    total = len(first) + len(second)
    vectors = []
    for side in words:
        matrix = np.zeros((len(side), len(shared)))
        lengths = np.full(len(side), 1e-12)
        for row, path in enumerate(side):
            for word, count in Counter(path).items():
                weight = count * math.log1p(total / (known[0][word] + known[1][word]))
                lengths[row] += weight**2
                if word in shared:
                    matrix[row, shared[word]] = weight
        vectors.append(matrix / np.sqrt(lengths)[:, None])
    similarity: np.ndarray = vectors[0] @ vectors[1].T
    return similarity


def _words(path: str) -> list[str]:
    """Return a path's words, and each pair of neighbours."""
    words = [word.lower() for word in _WORD.findall(path)]
    return [*words, *("/".join(pair) for pair in itertools.pairwise(words))]
