"""What became of a tensor that differs from the one that it should equal.

`exact_change` finds what equality proves: the candidate is the reference's rounded, cut, transposed, flipped, rearranged,
or still at its initial value. `measured_change` says of the rest how the two are related: scaled, shifted, a few elements,
a small change of all, or nothing that is known.

>>> from parity.distance.tensor import Tensor
>>> weight = np.arange(16, dtype=np.float32).reshape(4, 4)
>>> exact_change(Tensor(weight, "float32"), Tensor(weight.T.copy(), "float32")).words
"equals the reference's transpose"
>>> measured_change(Tensor(weight, "float32"), Tensor(weight * np.float32(3), "float32")).words
"the reference's times 3"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np

from parity.changes.arrangement import arrangement, named, sampled
from parity.changes.rounding import are_rounder, rounded, rounding
from parity.digests import ROUNDINGS
from parity.distance.exact import is_exact, locate_exact, measure_exact
from parity.distance.measure import measure
from parity.distance.where import locate
from parity.dtypes import eps, is_coarser, is_float, widen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.distance.place import Place
    from parity.distance.tensor import Array, Tensor

__all__ = ["Change", "ChangeKind", "exact_change", "measured_change", "variant_of"]

ChangeKind = Literal[
    "stored type", "signs of zero", "initial", "rounded", "transposed", "flipped", "rearranged", "another tensor",
    "scaled", "elements", "update", "different",
]  # fmt: skip
"""What may become of a tensor; what is proven comes first."""

_FEW: Final = 0.25
"""A change of at most this share of the elements is one of elements, and not of the whole."""

_SMALL: Final = 0.1
"""A relative change up to this size leaves a tensor the one that it was."""

_ULPS: Final = 4
_LEAST: Final = 8
"""Elements from which a factor or a constant says anything."""

_INITIAL: Final = {0.0: "all zeros", 1.0: "all ones"}


class Change(msgspec.Struct, frozen=True):
    """What became of a tensor: its kind, words, and where it was measured how far apart the two are, and where most."""

    kind: ChangeKind
    words: str
    rel_l2: float | None = None
    place: Place | None = None


class _Floats(msgspec.Struct, frozen=True):
    """A pair of floating tensors in one type that holds both, and the spacing at 1 of the coarser one."""

    expected: Array
    candidate: Array
    eps: float

    @property
    def are_of_one_shape(self) -> bool:
        """Whether both have the same shape."""
        return self.expected.shape == self.candidate.shape

    def sampled(self) -> _Floats:
        """Return a few elements at the same flat places of both."""
        places = sampled(self.candidate.size)
        return _Floats(self.expected.reshape(-1)[places], self.candidate.reshape(-1)[places], self.eps)

    def wide(self) -> _Floats:
        """Return both in float64."""
        return _Floats(self.expected.astype(np.float64), self.candidate.astype(np.float64), self.eps)


def exact_change(expected: Tensor, candidate: Tensor) -> Change | None:
    """Return what became of a tensor where equality proves it, or None.

    Args:
        expected: What the candidate should be; any type and shape, with an element.
        candidate: What it is; of the same size, or nothing is proven.
    """
    if expected.array.size != candidate.array.size:
        return None
    with np.errstate(all="ignore"):
        return next(_proofs(expected, candidate), None)


def _proofs(expected: Tensor, candidate: Tensor) -> Iterator[Change]:
    """Yield what is proven, what says most first."""
    floats = _floats(expected, candidate)
    if expected.array.shape == candidate.array.shape and _are_same_values(expected, candidate, floats):
        yield _same_values(expected.dtype, candidate.dtype, floats)
    yield from _initial(candidate)
    if floats is not None:
        yield from _of_floats(floats, _stored(expected.dtype, candidate.dtype))
    elif expected.dtype == candidate.dtype:
        yield from _laid(expected.array, candidate.array)


def _floats(expected: Tensor, candidate: Tensor) -> _Floats | None:
    """Return both tensors in the narrowest type that holds both; None where one is no tensor of real floats."""
    types = {expected.dtype, candidate.dtype}
    if not all(map(is_float, types)):
        return None
    wide = "float64" if "float64" in types else "float32"
    return _Floats(
        widen(expected.array, expected.dtype, wide),
        widen(candidate.array, candidate.dtype, wide),
        max(map(eps, types)),
    )


def _are_same_values(expected: Tensor, candidate: Tensor, floats: _Floats | None) -> bool:
    """Tell whether two tensors of one shape have equal values."""
    if floats is not None:
        some = floats.sampled()
        return _equal(some.expected, some.candidate) and _equal(floats.expected, floats.candidate)
    if is_exact(expected.dtype, candidate.dtype):
        return locate_exact(expected, candidate).outside == 0
    return _equal(expected.array, candidate.array)


def _equal(first: Array, second: Array) -> bool:
    """Tell whether all values are equal, NaN to NaN."""
    return np.array_equal(first, second, equal_nan=True)


def _same_values(expected: str, candidate: str, floats: _Floats | None) -> Change:
    """Say how tensors of equal values differ."""
    stored = f"stored as {candidate}; the reference has {expected}"
    if expected == candidate:
        return Change("signs of zero", "equal but for signs of zeros or the bits of NaN")
    if floats is not None and _differ_in_zeros(floats):
        return Change("signs of zero", f"equal but for signs of zeros, {stored}")
    return Change("stored type", f"equal, but {stored}")


def _differ_in_zeros(floats: _Floats) -> bool:
    """Tell whether zeros of tensors of equal values have other signs; that of a NaN says nothing in another type."""
    zeros = floats.expected == 0
    signs = np.signbit(floats.expected[zeros]), np.signbit(floats.candidate[zeros])
    return not np.array_equal(*signs)


def _stored(expected: str, candidate: str) -> str:
    """Say in which type the candidate is stored, where that is a coarser one."""
    if not is_coarser(candidate, expected):
        return ""
    return f", stored as {candidate}"


def _initial(candidate: Tensor) -> Iterator[Change]:
    """All elements are one number."""
    flat = candidate.array.reshape(-1)
    some = flat[sampled(flat.size)]
    is_one_number = flat.size > 1 and np.all(some == flat[0]) and np.all(flat == flat[0])
    if is_one_number:
        value = flat[0]
        if is_float(candidate.dtype):
            value = widen(flat[:1], candidate.dtype, "float64")[0]
        yield Change("initial", _INITIAL.get(value, f"all {value}"))


def _of_floats(floats: _Floats, stored: str) -> Iterator[Change]:
    """Yield what is proven of floating tensors."""
    if floats.are_of_one_shape:
        yield from _rounded(floats, stored)
    yield from _laid(floats.expected, floats.candidate, stored)
    some = floats.sampled()
    if are_rounder(some.candidate, some.expected):
        for name in ROUNDINGS:
            yield from _laid(rounded(floats.expected, name), floats.candidate, f", rounded to {name}")


def _rounded(floats: _Floats, stored: str) -> Iterator[Change]:
    """One of the two is the other one rounded."""
    found = rounding(floats.expected, floats.candidate)
    if found:
        yield Change("rounded", f"the reference's value {found}{stored}")
    found = rounding(floats.candidate, floats.expected)
    if found:
        yield Change("rounded", f"the reference's is the candidate's value {found}")


def _laid(expected: Array, candidate: Array, more: str = "") -> Iterator[Change]:
    """The same elements lie in another order."""
    found = arrangement(_as_integers(expected), _as_integers(candidate))
    if found is not None:
        kind = "rounded" if found.kind == "identity" else found.kind
        yield Change(kind, f"equals the reference's {found.words}".rstrip() + more)


def _as_integers(array: Array) -> Array:
    """Return the bits of floats, which are equal only where they are the same; others as they are."""
    if array.dtype.kind != "f":
        return array
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").reshape(array.shape)


def measured_change(expected: Tensor, candidate: Tensor) -> Change:
    """Return how far apart two tensors are, and how; both of one shape, with an element, both real or both complex."""
    floats = _floats(expected, candidate)
    with np.errstate(all="ignore"):
        if is_exact(expected.dtype, candidate.dtype):
            return _of_integers(expected, candidate)
        return _measured(expected, candidate, "" if floats is None else _linear(floats))


def _of_integers(expected: Tensor, candidate: Tensor) -> Change:
    """Say where tensors differ of which one holds integers."""
    place = locate_exact(expected, candidate)
    if place.outside == expected.array.size == 1:
        return Change("elements", f"{place.candidate}; the reference has {place.reference}", place=place)
    kind: ChangeKind = "elements" if place.outside <= _FEW * expected.array.size else "different"
    return Change(kind, place.words, measure_exact(expected, candidate).rel_l2, place)


def _measured(expected: Tensor, candidate: Tensor, words: str) -> Change:
    """Say how far apart floating tensors are; `words` where it is known how they are related."""
    found = measure(expected, candidate)
    place = locate(expected, candidate, limit=0.0)
    size = expected.array.size
    if found.problem:
        return Change("elements", f"{_where(place)}; some are not finite", None, place)
    if words:
        return Change("scaled", words, found.rel_l2, place)
    most = f"by at most {found.error_max:.2g}"
    if place.outside <= max(1, _FEW * size):
        return Change("elements", f"{_where(place)}, {most}", found.rel_l2, place)
    if found.rel_l2 <= _SMALL:
        share = f"{100 * place.outside / size:.3g} % of the elements"
        return Change("update", f"a small change of {share}, {most}", found.rel_l2, place)
    return Change("different", f"other values, cosine {place.cosine:.3g}", found.rel_l2, place)


def _where(place: Place) -> str:
    """Say which elements differ."""
    if place.outside == 1:
        return f"1 element differs, at {list(place.at)}"
    return place.words.replace(" outside", " elements differ")


def _linear(floats: _Floats) -> str:
    """Return by which factor or constant a tensor differs, or nothing."""
    some = floats.sampled().wide()
    if some.expected.size < _LEAST or not np.isfinite(some.candidate).all():
        return ""
    factor = _factor(some)
    if abs(factor - 1) > 2 * _ULPS * floats.eps and _is_scaled(some, factor):
        whole = floats.wide()
        factor = float(np.vdot(whole.expected, whole.candidate) / np.vdot(whole.expected, whole.expected))
        if _is_scaled(whole, factor):
            return _times(factor)
    constant = float(np.median(some.candidate - some.expected))
    if _is_shifted(some, constant) and _is_shifted(floats.wide(), constant):
        return f"the reference's plus {constant:.7g}"
    return ""


def _times(factor: float) -> str:
    """Say by which factor a tensor differs."""
    if factor == -1:
        return "the reference's negated"
    return f"the reference's times {factor:.7g}"


def _factor(some: _Floats) -> float:
    """Return the middle one of the ratios of elements, 1 where all are zero."""
    is_there = some.expected != 0
    if not is_there.any():
        return 1.0
    return float(np.median(some.candidate[is_there] / some.expected[is_there]))


def _is_scaled(pair: _Floats, factor: float) -> bool:
    """Tell whether a factor explains all elements, up to rounding."""
    scaled = factor * pair.expected
    return bool((np.abs(pair.candidate - scaled) <= _ULPS * pair.eps * np.abs(scaled)).all())


def _is_shifted(pair: _Floats, constant: float) -> bool:
    """Tell whether a constant explains all elements, up to rounding, and is more than rounding itself."""
    shifted = pair.expected + constant
    largest = max(np.abs(pair.expected).max(), np.abs(pair.candidate).max())
    if abs(constant) <= 2 * _ULPS * pair.eps * largest:
        return False
    return bool((np.abs(pair.candidate - shifted) <= _ULPS * pair.eps * largest).all())


def variant_of(form: str) -> Change:
    """Return the change that `parity.digests` calls by this name, such as `transpose/float16`.

    >>> variant_of("transpose/float16").words
    "equals the reference's transpose, rounded to float16"
    """
    layout, _, name = form.partition("/")
    found = named(layout)
    if found.kind == "identity":
        return Change("rounded", f"the reference's value rounded to {name}")
    said = f"equals the reference's {found.words}"
    if name != "own":
        said += f", rounded to {name}"
    return Change(found.kind, said)
