"""What a rule requires: measured numbers compared with numbers, joined by and, or, not.

>>> predicate = Predicate.parse("rel_l2 <= 1e-3 and not max_abs > 0.1")
>>> sorted(predicate.names), predicate.holds({"rel_l2": 1e-4, "max_abs": 0.2})
(['max_abs', 'rel_l2'], False)

Python's own parser reads the text, and what is read becomes functions; nothing of it is ever run as Python.

A predicate that no pair can fail, however wrong it is, is refused, and so is one that no pair can hold:

>>> Predicate.parse("rel_l2 >= 0")
Traceback (most recent call last):
parity.errors.ToleranceError: 'rel_l2 >= 0' holds however wrong a pair is; give what it may be at most, such as rel_l2 <= 1e-3 and max_abs <= 0.1
"""

from __future__ import annotations

import ast
import math
import operator
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import numpy as np

from parity.errors import ToleranceError, nearest
from parity.result import MEASURES

__all__ = ["BOUNDABLE", "Predicate"]

Values: TypeAlias = Mapping[str, float]
Test: TypeAlias = Callable[[Values], bool]
Bounds: TypeAlias = Mapping[str, Collection[float]]

BOUNDABLE: Final = {measure.name: measure for measure in MEASURES if not measure.unruled}
"""What a predicate may name."""

_NAMES: Final = ", ".join(BOUNDABLE)
_LONGEST: Final = 500
_MOST_TRIED: Final = 1 << 12
_EXAMPLE: Final = "rel_l2 <= 1e-3 and max_abs <= 0.1"
_JOIN: Final[dict[type[ast.boolop], Callable[[Any], bool]]] = {ast.And: all, ast.Or: any}
_COMPARE: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.LtE: operator.le,
    ast.Lt: operator.lt,
    ast.GtE: operator.ge,
    ast.Gt: operator.gt,
    ast.Eq: operator.eq,
}


class Predicate:
    """A parsed `require`; `names` are the measures that it looks at."""

    def __init__(self, text: str, test: Test, names: frozenset[str]) -> None:
        """Use `parse`."""
        self.text = text
        self.names = names
        self._test = test

    @classmethod
    def parse(cls, text: str) -> Predicate:
        """Read the text form.

        Raises:
            ToleranceError: it is not comparisons of measures with numbers joined by and, or, not; no pair can fail it;
                or no pair can hold it.
        """
        if len(text) > _LONGEST:
            message = f"a predicate of {len(text)} characters; at most {_LONGEST}"
            raise ToleranceError(message)
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            message = f"{text!r} is not a predicate: {error}; write for example {_EXAMPLE}"
            raise ToleranceError(message) from error
        reader = _Reader(text)
        test = reader.test(tree)
        _check_can_fail(text, test, reader.bounds)
        _check_can_hold(text, test, reader.bounds)
        return cls(text, test, frozenset(reader.bounds))

    def holds(self, values: Values) -> bool:
        """Tell whether the measures satisfy the predicate; a comparison with NaN does not hold."""
        return self._test(values)


def _check_can_fail(text: str, test: Test, bounds: Bounds) -> None:
    """Refuse a predicate that pairs hold which are wrong beyond doubt, of whatever size.

    Raises:
        ToleranceError: it is one.
    """
    if all(map(test, _combined({name: _worst(name, numbers) for name, numbers in bounds.items()}))):
        message = f"{text!r} holds however wrong a pair is; give what it may be at most, such as {_EXAMPLE}"
        raise ToleranceError(message)


def _worst(name: str, numbers: Iterable[float]) -> list[float]:
    """Return what a measure is of a pair that is wrong beyond doubt; all that it may be, where it says nothing of errors."""
    worst = BOUNDABLE[name].worst
    if worst is None:
        return _around(name, numbers)
    return [worst]


def _check_can_hold(text: str, test: Test, bounds: Bounds) -> None:
    """Refuse a predicate that no pair holds, as far as it is short enough to try.

    Raises:
        ToleranceError: it is one.
    """
    tried = {name: _around(name, numbers) for name, numbers in bounds.items()}
    if math.prod(map(len, tried.values())) > _MOST_TRIED or any(map(test, _combined(tried))):
        return
    ranges = ", ".join(f"{name} is {BOUNDABLE[name].lowest:g} to {BOUNDABLE[name].highest:g}" for name in bounds)
    message = f"{text!r} holds for no pair ({ranges}); give a limit that a right pair keeps, such as {_EXAMPLE}"
    raise ToleranceError(message)


def _around(name: str, numbers: Iterable[float]) -> list[float]:
    """Return values of a measure that tell all comparisons with these numbers apart: each, its neighbours, the ends."""
    known = BOUNDABLE[name]
    given = np.array(list(numbers))
    below = np.nextafter(given, -math.inf)
    above = np.nextafter(given, math.inf)
    tried = np.concatenate([[known.lowest, known.highest], given, below, above])
    found: list[float] = np.unique(np.clip(tried, known.lowest, known.highest)).tolist()
    return found


def _combined(values: Mapping[str, Iterable[float]]) -> Iterator[Values]:
    """Return every choice of one value for each measure."""
    return map(partial(_named, list(values)), product(*values.values()))


def _named(names: Iterable[str], values: Iterable[float]) -> Values:
    """Return values by the names of their measures."""
    return dict(zip(names, values, strict=True))


class _Term(NamedTuple):
    """One side of a comparison: a number, or the measure `name` times it."""

    factor: float
    name: str = ""

    def of(self, values: Values) -> float:
        """Return its number for a pair."""
        if not self.name:
            return self.factor
        return self.factor * values[self.name]


class _Reader:
    """Turns the tree of one text into a test, and refuses on the way what a predicate is not.

    `bounds` has every measure that is compared, with the numbers that it is compared with.
    """

    def __init__(self, text: str) -> None:
        """Start with no measures seen."""
        self.text = text
        self.bounds: dict[str, set[float]] = {}

    def test(self, node: ast.expr) -> Test:
        """Read something that holds or does not."""
        match node:
            case ast.BoolOp():
                return self._joined(node)
            case ast.UnaryOp(op=ast.Not()):
                inner = self.test(node.operand)
                return lambda values: not inner(values)
            case ast.Compare():
                return self._comparison(node)
        return self._refuse(f"is not a predicate; compare {_NAMES} with numbers, joined by and, or, not")

    def _joined(self, node: ast.BoolOp) -> Test:
        """Read tests joined by `and`, or by `or`."""
        join = _JOIN[type(node.op)]
        parts = list(map(self.test, node.values))
        return lambda values: join(part(values) for part in parts)

    def _comparison(self, node: ast.Compare) -> Test:
        """Read a chain of comparisons, `1e-5 < rel_l2 <= 1e-3`."""
        terms = list(map(self._term, (node.left, *node.comparators)))
        compares = list(map(self._operator, node.ops))
        chain = list(zip(compares, terms, terms[1:], strict=False))
        for _, left, right in chain:
            self._note(left, right)
        return lambda values: all(holds(left.of(values), right.of(values)) for holds, left, right in chain)

    def _note(self, left: _Term, right: _Term) -> None:
        """Note what a measure is compared with, which is a number."""
        measure, number = (left, right) if left.name else (right, left)
        if not measure.name or number.name:
            self._refuse("compares two numbers, or two measures; compare a measure with a number")
        self.bounds.setdefault(measure.name, set()).add(measure.factor * number.factor)

    def _operator(self, node: ast.cmpop) -> Callable[[Any, Any], bool]:
        """Read `<=` and the like."""
        found = _COMPARE.get(type(node))
        if found is None:
            self._refuse(f"compares with {type(node).__name__}; use <=, <, >=, > or ==")
        return found

    def _term(self, node: ast.expr) -> _Term:
        """Read a measure or a number, with any number of minus signs."""
        sign = 1
        while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, node = -sign, node.operand
        match node:
            case ast.Name():
                return _Term(sign, self._name(node.id))
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return _Term(sign * self._finite(number))
        return self._refuse(f"compares something that is neither a measure nor a number; the measures are {_NAMES}")

    def _name(self, name: str) -> str:
        """Return the name of a measure."""
        if name not in BOUNDABLE:
            self._refuse(f"names {name!r}{nearest(name, BOUNDABLE)}; the measures are {_NAMES}")
        return name

    def _finite(self, number: float) -> float:
        """Return a number that a measure can have."""
        if abs(number) > sys.float_info.max:
            self._refuse(f"compares with infinity, which no limit is; write for example {_EXAMPLE}")
        return float(number)

    def _refuse(self, why: str) -> NoReturn:
        """Raise for the text."""
        message = f"{self.text!r} {why}"
        raise ToleranceError(message)
