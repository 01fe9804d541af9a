r"""Small changes of a module, as a slip of the hand would make them.

A change swaps one node of the syntax tree, or a field of it, for the time of compiling. What cannot matter is left alone:
annotations, docstrings, imports, `__all__`, what only a type checker sees, and sentences (a text with a space in it is
there for a person).

    >>> for change in changes_of("m.py", "def f(a, b):\n    return a < b\n"):
    ...     print(change)
    m.py:2: return a < b  ->  return None
    m.py:2: a < b  ->  a <= b
    m.py:2: a < b  ->  a > b
"""

from __future__ import annotations

import ast
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

__all__ = ["Change", "changes_of"]

_COMPARED: Final = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_COMPUTED: Final = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.MatMult: ast.Mult, ast.BitXor: ast.BitOr,
}  # fmt: skip
_PAIRS: Final = (
    ("min", "max"), ("any", "all"), ("filter", "filterfalse"), ("expected", "candidate"), ("reference", "candidate"),
    ("first", "second"), ("before", "after"), ("rms", "max"), ("error_rms", "error_max"), ("floor_rms", "floor_max"),
    ("expected", "working"), ("union", "intersection"), ("rel_l2", "rel_max"), ("paths", "owners"),
)  # fmt: skip
_EXCHANGED: Final = {*_PAIRS, *(pair[::-1] for pair in _PAIRS)}
_ALWAYS_THERE: Final = {"min", "max", "any", "all"}
_UNWRAPPED: Final = {"sorted": "list", "reversed": "list", "abs": ""}
_NOT_LOOKED_AT: Final = {"annotation", "returns", "type_params", "decorator_list"}
_HOW_IT_IS_MADE: Final = {"strict", "maxsize", "check"}
"""Keywords that change how something is done, and nothing that comes out."""


@dataclass(frozen=True)
class Change:
    """One change: where, what stands there, and what would.

    Attributes:
        owner: The node of the tree that is altered, in its field `name` (at `index` where that is a list).
    """

    file: str
    line: int
    before: str
    after: str
    tree: ast.Module = field(repr=False, compare=False)
    owner: ast.AST = field(repr=False, compare=False)
    name: str = field(repr=False, compare=False)
    index: int | None = field(repr=False, compare=False)
    put: Any = field(repr=False, compare=False)

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.file}:{self.line}: {self.before}  ->  {self.after}"

    def compiled(self) -> CodeType:
        """Return the module with the change."""
        with _put(self.owner, self.name, self.index, self.put):
            return compile(ast.fix_missing_locations(self.tree), self.file, "exec", dont_inherit=True)


Alternative: TypeAlias = tuple[ast.AST, str, "int | None", Any]
"""A node, the name of a field of it, an index where that is a list, and what may stand there."""


class _Place(NamedTuple):
    """Where a node stands in its parent."""

    owner: ast.AST
    name: str
    index: int | None
    returns: str


def changes_of(file: str, source: str) -> list[Change]:
    """Return every change of a module, in the order of its lines."""
    tree = ast.parse(source)
    names = _ALWAYS_THERE | {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(tree)}
    found: list[Change] = []
    for node, place in _nodes(tree):
        for owner, name, index, put in _alternatives(node, place, names):
            before = _said(node)
            with _put(owner, name, index, put):
                after = _said(put if owner is place.owner and name == place.name else node)
            if before != after:
                line = getattr(node, "lineno", getattr(place.owner, "lineno", 0))
                found.append(Change(file, line, before, after, tree, owner, name, index, put))
    return sorted(found, key=lambda change: change.line)


def _said(node: Any) -> str:
    """Return a node as one line of text."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 110 else f"{text[:107]}..."


@contextmanager
def _put(owner: ast.AST, name: str, index: int | None, put: Any) -> Iterator[None]:
    """Put something into a field of a node for a while."""
    held = getattr(owner, name)
    if index is None:
        setattr(owner, name, put)
    else:
        setattr(owner, name, [*held[:index], put, *held[index + 1 :]])
    try:
        yield
    finally:
        setattr(owner, name, held)


def _nodes(node: ast.AST, returns: str = "") -> Iterator[tuple[ast.AST, _Place]]:
    """Yield every node that may be changed, with its place and the type that the function around it returns."""
    if isinstance(node, ast.FunctionDef):
        returns = ast.unparse(node.returns) if node.returns else ""
    for name, value in ast.iter_fields(node):
        if name in _NOT_LOOKED_AT or isinstance(node, ast.JoinedStr) or _is_of_a_class(node, name):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not _cannot_matter(child):
                yield child, _Place(node, name, index, returns)
                yield from _nodes(child, returns)


def _is_of_a_class(node: ast.AST, name: str) -> bool:
    """Tell whether a field says how a class or a container is made."""
    return name == "keywords" and isinstance(node, ast.ClassDef)


def _cannot_matter(node: ast.AST) -> bool:
    """Tell whether no run depends on a node."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom():
            return True
        case ast.keyword(arg="maxsize"):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case (
            ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))) | ast.AnnAssign(annotation=ast.Name(id="TypeAlias"))
        ):
            return True
    return False


class _Field(NamedTuple):
    """What may stand in a field of a node, or at one index of it."""

    name: str
    put: Any
    index: int | None = None


def _alternatives(node: ast.AST, place: _Place, names: set[str]) -> Iterator[Alternative]:
    """Yield what may stand in a node's place, or in a field of it."""
    for put in _replacements(node, place):
        yield place.owner, place.name, place.index, put
    in_fields = _IN_FIELDS.get(type(node))
    for name, put, index in in_fields(node) if in_fields else ():
        yield node, name, index, put
    if isinstance(node, ast.Return) and node.value is not None:
        yield node, "value", None, _another_return(node.value, place.returns)
    for name in ("id", "attr"):
        said = getattr(node, name, "")
        for other in sorted(names):
            if (said, other) in _EXCHANGED:
                yield node, name, None, other


def _of_comparison(node: ast.Compare) -> Iterator[_Field]:
    """Yield other operators."""
    for index, operator in enumerate(node.ops):
        for other in _COMPARED[type(operator)]:
            yield _Field("ops", other(), index)


def _of_join(node: ast.BoolOp) -> Iterator[_Field]:
    """Yield `or` for `and`."""
    yield _Field("op", ast.Or() if isinstance(node.op, ast.And) else ast.And())


def _of_arithmetic(node: ast.BinOp | ast.AugAssign) -> Iterator[_Field]:
    """Yield another operator."""
    yield _Field("op", _COMPUTED[type(node.op)]())


def _of_condition(node: ast.If | ast.While | ast.IfExp) -> Iterator[_Field]:
    """Yield the opposite condition."""
    yield _Field("test", _negated(node.test))


def _of_comprehension(node: ast.comprehension) -> Iterator[_Field]:
    """Yield each condition's opposite, and none in its place."""
    for index, test in enumerate(node.ifs):
        yield _Field("ifs", _negated(test), index)
        yield _Field("ifs", [*node.ifs[:index], *node.ifs[index + 1 :]])


def _of_slice(node: ast.Slice) -> Iterator[_Field]:
    """Yield a slice without one of its ends, or its step."""
    for end in ("lower", "upper", "step"):
        if getattr(node, end) is not None:
            yield _Field(end, None)


def _of_call(node: ast.Call) -> Iterator[_Field]:
    """Yield a call with two arguments exchanged, and without one of its keywords."""
    plain = not any(isinstance(each, ast.Starred) for each in node.args)
    if plain:
        for index in range(len(node.args) - 1):
            swapped = [*node.args[:index], node.args[index + 1], node.args[index], *node.args[index + 2 :]]
            yield _Field("args", swapped)
    for index, keyword in enumerate(node.keywords):
        if keyword.arg not in {None, *_HOW_IT_IS_MADE}:
            yield _Field("keywords", [*node.keywords[:index], *node.keywords[index + 1 :]])


_IN_FIELDS: Final[dict[type, Callable[[Any], Iterator[_Field]]]] = {
    ast.Compare: _of_comparison, ast.BoolOp: _of_join, ast.BinOp: _of_arithmetic, ast.AugAssign: _of_arithmetic,
    ast.If: _of_condition, ast.While: _of_condition, ast.IfExp: _of_condition, ast.comprehension: _of_comprehension,
    ast.Call: _of_call, ast.Slice: _of_slice,
}  # fmt: skip
"""What may stand in a field of a node, by its kind."""


def _replacements(node: ast.AST, place: _Place) -> Iterator[ast.AST]:
    """Yield nodes that may stand for one."""
    match node:
        case ast.Constant(value=value) if not isinstance(place.owner, ast.JoinedStr | ast.FormattedValue):
            yield from map(ast.Constant, _other_constants(value))
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield node.operand
        case ast.Call(func=ast.Name(id=called), args=[first, *_]) if called in _UNWRAPPED:
            other = _UNWRAPPED[called]
            yield ast.Call(func=ast.Name(id=other, ctx=ast.Load()), args=[first], keywords=[]) if other else first
        case ast.BoolOp(values=values):
            for index in range(len(values)):
                rest = [*values[:index], *values[index + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op=node.op, values=rest)
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            yield ast.Pass()
        case ast.Return() if not _is_last(node, place):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.If(orelse=[]):
            yield ast.Pass()


def _is_last(node: ast.AST, place: _Place) -> bool:
    """Tell whether a statement ends its function."""
    return isinstance(place.owner, ast.FunctionDef) and place.owner.body[-1] is node


def _negated(test: ast.expr) -> ast.expr:
    """Return a condition's opposite."""
    return ast.UnaryOp(op=ast.Not(), operand=test)


def _another_return(value: ast.expr, returns: str) -> ast.expr:
    """Return what a function of this type may give in place of a value."""
    if returns == "bool":
        return _negated(value)
    if returns in {"int", "float"}:
        return ast.BinOp(left=value, op=ast.Add(), right=ast.Constant(1))
    empty = {"list": "[]", "dict": "{}", "set": "set()", "tuple": "()", "str": "''"}
    made = empty.get(returns.partition("[")[0], "None")
    return ast.parse(made, mode="eval").body


def _other_constants(value: object) -> list[object]:
    """Return what may stand for a number, a truth value or a word."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, value - 1]
        case float():
            return [2 * value, value / 2] if value else [1.0]
        case str() if " " not in value:
            return [f"{value}_"] if not value else ["", f"{value}_"]
    return []
