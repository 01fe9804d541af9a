r"""Tolerance rules: which pairs, what they must satisfy, and why.

A rule comes from a case (`[[tolerance]]`) or from a tolerance file:

    [[tolerance]]
    address = 'unet\\..*:output'      # matches the whole address
    stage = "unet"                    # optional, as are port, dtype, question and mode
    require = "rel_l2 <= 1e-3 and max_abs <= 0.1"
    reason = "float16 accumulation on this device"

`require` compares measured numbers with numbers, joined by and, or, not:

    >>> Predicate.parse("rel_l2 <= 1e-3 and not max_abs > 0.1").holds({"rel_l2": 1e-4, "max_abs": 0.2})
    False

A rule overrides every other limit of the pairs that it matches, and one that matches no pair is an error.
"""

from __future__ import annotations

import ast
import operator
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from parity.address import pattern
from parity.errors import AddressError, ToleranceError, nearest
from parity.result import MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from parity.case import ToleranceRule
    from parity.result import Pair

__all__ = ["BOUNDABLE", "Predicate", "Rule", "RuleBook", "load"]

BOUNDABLE: Final = {measure.name: measure for measure in MEASURES if not measure.unruled}
"""What a predicate may name."""

_NAMES: Final = ", ".join(BOUNDABLE)

_COMPARE: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.LtE: operator.le, ast.Lt: operator.lt, ast.GtE: operator.ge, ast.Gt: operator.gt, ast.Eq: operator.eq,
}  # fmt: skip
_LONGEST: Final = 500


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. `address` and `port` are patterns on the whole text; the other filters are exact."""

    address: str
    require: str
    reason: str
    stage: str | None = None
    port: str | None = None
    dtype: str | None = None
    question: str | None = None
    mode: str | None = None

    @classmethod
    def of(cls, rule: Rule | ToleranceRule) -> Rule:
        """Return `rule`, of a case or of a file, as a `Rule`."""
        return rule if isinstance(rule, Rule) else cls(address=rule.address, require=rule.require, reason=rule.reason)


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tolerance file."""

    tolerance: list[Rule]


def load(path: str | Path) -> list[Rule]:
    """Read a tolerance file.

    Raises:
        ToleranceError: it is not there, is not TOML, or has an unknown key, a malformed predicate or pattern.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        rules = msgspec.convert(raw, _File).tolerance
        RuleBook(rules)
    except FileNotFoundError as error:
        message = f"{path} is not there; give the path of a tolerance file"
        raise ToleranceError(message) from error
    except (OSError, ValueError) as error:
        message = f"{path}: {error}; a tolerance file has [[tolerance]] tables with {', '.join(Rule.__struct_fields__)}"
        raise ToleranceError(message) from error
    return rules


class Predicate:
    """A parsed `require`; `names` are the measures that it looks at."""

    def __init__(self, text: str, tree: ast.expr, names: frozenset[str]) -> None:
        """Use `parse`."""
        self.text = text
        self._tree = tree
        self.names = names

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
        names: set[str] = set()
        _check(tree, text, names)
        return cls(text, tree, frozenset(names))

    def holds(self, measures: Mapping[str, float]) -> bool:
        """Tell whether the measures satisfy the predicate; a comparison with NaN does not hold."""
        return bool(_evaluate(self._tree, measures))


def _check(node: ast.expr, text: str, names: set[str]) -> None:
    """Refuse everything that a predicate is not; collect the measures."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check(value, text, names)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(node.operand, text, names)
    elif isinstance(node, ast.Compare):
        for operand in (node.left, *node.comparators):
            _check_operand(operand, text, names)
        for comparison in node.ops:
            if type(comparison) not in _COMPARE:
                message = f"{text!r} compares with {type(comparison).__name__}; use <=, <, >=, > or =="
                raise ToleranceError(message)
    else:
        message = f"{text!r} is not a predicate; compare {_NAMES} with numbers, joined by and, or, not"
        raise ToleranceError(message)


def _check_operand(node: ast.expr, text: str, names: set[str]) -> None:
    """Accept a number or the name of a measure."""
    if isinstance(node, ast.Name):
        if node.id not in BOUNDABLE:
            message = f"{text!r} names {node.id!r}{nearest(node.id, BOUNDABLE)}; the measures are {_NAMES}"
            raise ToleranceError(message)
        names.add(node.id)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        _check_operand(node.operand, text, names)
        return
    message = f"{text!r} compares something that is neither a measure nor a number; the measures are {_NAMES}"
    raise ToleranceError(message)


def _evaluate(node: ast.expr, measures: Mapping[str, float]) -> Any:
    """Evaluate a checked tree."""
    if isinstance(node, ast.BoolOp):
        results = (_evaluate(value, measures) for value in node.values)
        return all(results) if isinstance(node.op, ast.And) else any(results)
    if isinstance(node, ast.Compare):
        values = [_evaluate(operand, measures) for operand in (node.left, *node.comparators)]
        return all(_COMPARE[type(op)](a, b) for op, a, b in zip(node.ops, values, values[1:], strict=False))
    if isinstance(node, ast.UnaryOp):
        value = _evaluate(node.operand, measures)
        return (not value) if isinstance(node.op, ast.Not) else -value
    if isinstance(node, ast.Name):
        return measures[node.id]
    return node.value if isinstance(node, ast.Constant) else None


class RuleBook:
    """Rules ready to be asked; the first that matches a pair counts."""

    def __init__(self, rules: Sequence[Rule | ToleranceRule]) -> None:
        """Compile patterns and predicates.

        Raises:
            ToleranceError: a pattern or a predicate is malformed.
        """
        self.rules = [Rule.of(rule) for rule in rules]
        self.used = [False] * len(self.rules)
        try:
            self._patterns = [pattern(rule.address) for rule in self.rules]
            self._ports = [None if rule.port is None else pattern(rule.port) for rule in self.rules]
        except AddressError as error:
            raise ToleranceError(str(error)) from error
        self._predicates = [Predicate.parse(rule.require) for rule in self.rules]

    def __bool__(self) -> bool:
        """Tell whether there are rules."""
        return bool(self.rules)

    def find(self, pair: Pair) -> tuple[Rule, Predicate] | None:
        """Return the first rule that matches the pair."""
        for number, rule in enumerate(self.rules):
            if self._matches(number, rule, pair):
                self.used[number] = True
                return rule, self._predicates[number]
        return None

    def _matches(self, number: int, rule: Rule, pair: Pair) -> bool:
        """Tell whether every filter of a rule lets the pair through."""
        for wanted, found in (
            (rule.stage, pair.stage),
            (rule.dtype, pair.dtype),
            (rule.question, pair.question),
            (rule.mode, pair.mode),
        ):
            if wanted is not None and wanted != found:
                return False
        port = self._ports[number]
        if port is not None and port.fullmatch(pair.address.rpartition(":")[2]) is None:
            return False
        return self._patterns[number].fullmatch(pair.address) is not None

    def note(self, addresses: Iterable[str]) -> None:
        """Count a rule as used when its pattern matches one of `addresses`: those that a partial replay left out."""
        unused = [number for number, used in enumerate(self.used) if not used]
        if unused:
            known = list(addresses)
            for number in unused:
                self.used[number] = any(self._patterns[number].fullmatch(address) for address in known)

    def refuse_unused(self) -> None:
        """Raise for a rule that matched nothing.

        Raises:
            ToleranceError: a rule matched no pair.
        """
        for rule, used in zip(self.rules, self.used, strict=True):
            if not used:
                message = (
                    f"the tolerance rule {rule.address!r} ({rule.reason}) matches no pair; "
                    "a pattern matches the whole address, port included"
                )
                raise ToleranceError(message)
