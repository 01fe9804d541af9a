"""A second look at pairs that fail or come near their limit: place, ulp, and the grid of a half type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from parity.compare.exactly import locate_exact
from parity.compare.floor import model_floor, ulp
from parity.compare.judge import limits_of, plain
from parity.compare.limits import GRID_MIN_REL, GRID_MIN_SIZE, MODEL_ULPS, MOST_ULPS, NEAR
from parity.compare.pairing import coarser
from parity.compare.place import locate
from parity.compare.ulp import has_ulps, largest_ulps, some_beyond_ulps
from parity.compare.work import THREADED, each, tensors
from parity.result import Worst, number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.compare.plan import Job
    from parity.compare.rules import RuleBook
    from parity.compare.tensor import Array, Tensor
    from parity.result import Pair

__all__ = ["examine_all", "on_half_grid"]

_SAMPLE: Final = 256
_STRETCH: Final = 1 << 16
_HALF_EXPONENT: Final = np.uint16(0x7C00)
_SECOND: Final = frozenset({"cosine", "max_ulp"})
_HALF_MASK: Final = {"float16": np.uint16(0x7), "float32": np.uint32(0x1FFF), "float64": np.uint64((1 << 42) - 1)}
_WORD: Final = {"float16": np.uint16, "float32": np.uint32, "float64": np.uint64}


def examine_all(work: Iterable[tuple[Pair, Job]], threads: int, book: RuleBook) -> None:
    """Look again at every pair that needs it, several at once; a rule on cosine or ulp needs it too."""
    needy = []
    for pair, job in work:
        asked = bool(book) and _asks_more(pair, book)
        if asked or _needs(pair):
            needy.append((pair, job, asked or pair.size <= MOST_ULPS))
    large = [item for item in needy if item[0].size >= THREADED]
    for item in needy:
        if item[0].size < THREADED:
            _examine(item)
    for _ in each(_examine, large, threads):
        pass


def _needs(pair: Pair) -> bool:
    """Tell whether a pair with numbers fails or comes near its limit."""
    if not pair.ground or pair.error_max is None:
        return False
    if pair.ground == "exact":
        return bool(pair.outside)
    rms_limit, max_limit = limits_of(pair)
    near = plain(pair.error_rms) <= NEAR * rms_limit and plain(pair.error_max) <= NEAR * max_limit
    return not near or bool(pair.hard)


def _asks_more(pair: Pair, book: RuleBook) -> bool:
    """Tell whether the pair's rule looks at a number that only a second look gives."""
    found = book.find(pair) if pair.ground and pair.error_max is not None else None
    return found is not None and not _SECOND.isdisjoint(found[1].names)


def _examine(item: tuple[Pair, Job, bool]) -> None:
    """Fill in where the error of a pair sits; the last item says whether to count ulp."""
    pair, job, with_ulps = item
    exact, candidate, own = tensors(job)
    if pair.ground == "exact":
        index, first, second, words = locate_exact(exact, candidate)
        pair.worst, pair.detail = Worst(index=index, reference=_shown(first), candidate=_shown(second)), words
        return
    rms_limit, max_limit = limits_of(pair)
    only_rms = plain(pair.error_rms) > rms_limit and plain(pair.error_max) <= max_limit
    cosine = None if pair.cosine is None else plain(pair.cosine)
    place = locate(exact, candidate, rms_limit if only_rms else max_limit, cosine, plain(pair.error_max))
    pair.worst = Worst(index=place.at, reference=_shown(place.reference), candidate=_shown(place.candidate))
    pair.cosine, pair.outside = number(place.cosine), place.outside
    if place.outside and _only_large_elements(pair, exact, candidate, place.reference):
        pair.floor_max = model_floor(
            coarser(exact.dtype, candidate.dtype), plain(pair.scale), plain(pair.error_max)
        ).max
        pair.outside = 0
    elif place.words:
        pair.detail = f"{pair.detail}; {place.words}" if pair.detail else place.words
    if with_ulps and has_ulps(candidate.dtype):
        pair.max_ulp = number(largest_ulps(exact, candidate))
    if pair.dtype in _WORD and _is_rounded(pair, candidate, own or exact):
        pair.flags.append("half-precision-grid")
        pair.hard = pair.hard or "half-precision grid"


def _only_large_elements(pair: Pair, exact: Tensor, candidate: Tensor, worst: complex) -> bool:
    """Tell whether every element beyond the modelled limit is off by a few ulp of its own; the worst one first."""
    if pair.ground != "model" or pair.hard or isinstance(worst, complex):
        return False
    name, limit = coarser(exact.dtype, candidate.dtype), limits_of(pair)[1]
    if plain(pair.error_max) > max(limit, MODEL_ULPS * ulp(name, worst)):
        return False
    return not some_beyond_ulps(exact, candidate, limit, name, MODEL_ULPS)


def _shown(value: complex) -> float | str:
    """Return a number of a tensor as a result can hold it."""
    return str(value) if isinstance(value, complex) else number(float(value)) or 0.0


def _is_rounded(pair: Pair, candidate: Tensor, reference: Tensor) -> bool:
    """Tell whether the candidate's values all are numbers of a half type, the reference's are not, and it shows."""
    if candidate.dtype not in _WORD or reference.dtype not in _WORD:
        return False
    if candidate.dtype == "float16":
        shows = pair.size >= GRID_MIN_SIZE
    else:
        shows = plain(pair.error_max) >= GRID_MIN_REL * plain(pair.scale)
    return shows and on_half_grid(candidate) and not on_half_grid(reference)


def on_half_grid(tensor: Tensor) -> bool:
    """Tell whether every value has no more mantissa bits than a narrower half type: float16, or for float16 bfloat16.

    A first look at a few elements settles most tensors.
    """
    words = np.ascontiguousarray(tensor.array).reshape(-1).view(_WORD[tensor.dtype])
    starts = (0, *range(_SAMPLE, words.size, _STRETCH))
    ends = (min(_SAMPLE, words.size), *(min(start + _STRETCH, words.size) for start in starts[1:]))
    return all(_is_coarse(words[start:end], tensor.dtype) for start, end in zip(starts, ends, strict=True))


def _is_coarse(words: Array, name: str) -> bool:
    """Tell whether the low bits of all words are zero; float16's denormals have no bits to spare and do not count."""
    if name == "float16":
        words = words[(words & _HALF_EXPONENT) != 0]
    return not (words & _HALF_MASK[name]).any()
