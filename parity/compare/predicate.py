"""What a rule requires: measured numbers compared with numbers, joined by and, or, not.

>>> predicate = Predicate.parse("rel_l2 <= 1e-3 and not max_abs > 0.1")
>>> sorted(predicate.names), predicate.holds({"rel_l2": 1e-4, "max_abs": 0.2})
(['max_abs', 'rel_l2'], False)

Python's own parser reads the text, and what is read becomes functions; nothing of it is ever run as Python.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeAlias

from parity.errors import ToleranceError, nearest
from parity.result import MEASURES

__all__ = ["BOUNDABLE", "Predicate"]

Values: TypeAlias = Mapping[str, float]
Test: TypeAlias = Callable[[Values], bool]
Term: TypeAlias = Callable[[Values], float]

BOUNDABLE: Final = {measure.name: measure for measure in MEASURES if not measure.unruled}
"""What a predicate may name."""

_NAMES: Final = ", ".join(BOUNDABLE)
_LONGEST: Final = 500
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
            ToleranceError: it is not comparisons of measures with numbers joined by and, or, not.
        """
        if len(text) > _LONGEST:
            message = f"a predicate of {len(text)} characters; at most {_LONGEST}"
            raise ToleranceError(message)
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            message = f"{text!r} is not a predicate: {error}; write for example rel_l2 <= 1e-3 and max_abs <= 0.1"
            raise ToleranceError(message) from error
        reader = _Reader(text)
        test = reader.test(tree)
        return cls(text, test, frozenset(reader.names))

    def holds(self, values: Values) -> bool:
        """Tell whether the measures satisfy the predicate; a comparison with NaN does not hold."""
        return self._test(values)


class _Reader:
    """Turns the tree of one text into a test, and refuses on the way what a predicate is not."""

    def __init__(self, text: str) -> None:
        """Start with no measures seen."""
        self.text = text
        self.names: set[str] = set()

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
        return lambda values: all(holds(left(values), right(values)) for holds, left, right in chain)

    def _operator(self, node: ast.cmpop) -> Callable[[Any, Any], bool]:
        """Read `<=` and the like."""
        found = _COMPARE.get(type(node))
        if found is None:
            self._refuse(f"compares with {type(node).__name__}; use <=, <, >=, > or ==")
        return found

    def _term(self, node: ast.expr) -> Term:
        """Read a measure or a number, with any number of minus signs."""
        sign = 1
        while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, node = -sign, node.operand
        match node:
            case ast.Name():
                name = self._name(node.id)
                return lambda values: sign * values[name]
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                constant = sign * number
                return lambda _: constant
        return self._refuse(f"compares something that is neither a measure nor a number; the measures are {_NAMES}")

    def _name(self, name: str) -> str:
        """Note a measure."""
        if name not in BOUNDABLE:
            self._refuse(f"names {name!r}{nearest(name, BOUNDABLE)}; the measures are {_NAMES}")
        self.names.add(name)
        return name

    def _refuse(self, why: str) -> NoReturn:
        """Raise for the text."""
        message = f"{self.text!r} {why}"
        raise ToleranceError(message)
