r"""Tolerances proposed from what was seen: one rule for each kind of module, with its measured maximum and headroom.

Pairs are grouped by stage, question, mode, type and what the module is called: the component, and the last name
of its path with its numbers generalised, so that `unet.down_blocks.0.attentions.1.proj_in` and the same
projection elsewhere share a rule.

    >>> path_pattern("unet.down_blocks.0.attentions.1.to_out.0@step=3:output")
    'unet\\.(?:.*\\.)?to_out\\.\\d+(?:@.*)?:output'

A proposal describes what was seen and blesses nothing: a reason says how many of its pairs fail the default
limits. Integers and plain values get no rule, nor does what a rule of the case judges, and no rule can excuse a
missing pair, another shape, a narrower type, a value that is not finite or a reference that is off: those stay in
`Proposal.left`.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections import defaultdict
from decimal import ROUND_UP, Context, Decimal
from itertools import chain, takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from parity.address import STAGES, literal, path_of, port_of
from parity.compare.rules import Rule
from parity.compare.summary import failing, is_about_reference, keeps_from_match
from parity.dtypes import eps
from parity.errors import ToleranceError
from parity.result import MEASURES, measured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from parity.result import Measure, Pair, Result
    from parity.trace import Trace

__all__ = ["HEADROOM", "Proposal", "encode", "kinds_of", "path_pattern", "propose"]

HEADROOM: Final = 3.0
"""How many times the measured maximum a proposed limit is, unless asked otherwise."""

_NO_KINDS: Final[Mapping[str, str]] = MappingProxyType({})
_DIGITS: Final = Context(prec=2, rounding=ROUND_UP)
_STAGE: Final = {stage: position for position, stage in enumerate(STAGES)}
_LIMITED: Final = [known for known in MEASURES if known.proposal == "limit"]
_SUBSTITUTES: Final = [known for known in MEASURES if known.proposal == "substitute"]
_WRITTEN: Final = ("address", "stage", "question", "mode", "dtype", "require", "reason")
_LITERAL: Final = re.compile(r"[^'\x00-\x1f\x7f]*")


class Proposal(NamedTuple):
    """Proposed rules, and the pairs that keep the whole from a MATCH and that no rule can excuse."""

    rules: list[Rule]
    left: list[Pair]


class _Group(NamedTuple):
    """What the pairs of one rule have in common."""

    stage: str
    question: str
    mode: str
    dtype: str
    pattern: str


def path_pattern(address: str) -> str:
    """Return the pattern of all addresses of the same component, last name and port."""
    component, *names = path_of(address).split(".")
    path = literal(component)
    if names:
        # Numbers after the last name say which of several parts it is, and stay with it.
        numbers = list(takewhile(str.isdigit, reversed(names)))
        last = names[-len(numbers) - 1 :]
        path += r"\.(?:.*\.)?" + r"\.".join(map(_general, last))
    return rf"{path}(?:@.*)?:{_general(port_of(address))}"


def _general(text: str) -> str:
    """Return a name as a pattern, its numbers generalised."""
    return re.sub(r"\d+", r"\\d+", literal(text))


def kinds_of(traces: Sequence[Trace]) -> dict[str, str]:
    """Return the kind of operator of each path, as the candidates' alignment tables name it."""
    rows = chain.from_iterable(trace.manifest.alignment or () for trace in traces)
    return {row.path: row.kind for row in rows if row.kind}


def propose(result: Result, kinds: Mapping[str, str] = _NO_KINDS, headroom: float = HEADROOM) -> Proposal:
    """Return rules under which the pairs of `result` match, as far as rules can make them.

    Args:
        result: A comparison of healthy traces.
        kinds: The kind of operator of a path, for the reasons.
        headroom: How many times the measured maximum a limit is; at least 1.

    Raises:
        ToleranceError: the headroom is less than 1.
    """
    if not 1 <= headroom < math.inf:
        message = f"a headroom of {headroom:g} would fail what was just measured; give at least 1, for example 3"
        raise ToleranceError(message)
    groups: defaultdict[_Group, list[Pair]] = defaultdict(list)
    left: list[Pair] = []
    for pair in result.pairs:
        if _can_have_rule(pair):
            groups[_group_of(pair)].append(pair)
        elif keeps_from_match(pair):
            left.append(pair)
    ordered = sorted(groups, key=_place)
    rules = [_rule(group, groups[group], kinds, headroom) for group in ordered]
    return Proposal(rules, left)


def _group_of(pair: Pair) -> _Group:
    """Return what a pair has in common with those that its rule is for."""
    return _Group(
        stage=pair.stage,
        question=pair.question,
        mode=pair.mode,
        dtype=str(pair.dtype),
        pattern=path_pattern(pair.address),
    )


def _place(group: _Group) -> tuple[int, str, str, str, str]:
    """Return what says where a group's rule stands in the file: by stage first."""
    return _STAGE[group.stage], group.question, group.mode, group.dtype, group.pattern


def _can_have_rule(pair: Pair) -> bool:
    """Tell whether a pair has distances that a rule may bound, and no rule yet."""
    may_be_loosened = pair.ground in {"float64", "floor", "model"} and not pair.basis.startswith("case: ")
    return may_be_loosened and not pair.hard and not is_about_reference(pair)


def _rule(group: _Group, pairs: Sequence[Pair], kinds: Mapping[str, str], headroom: float) -> Rule:
    """Return the rule of a group."""
    largest = _bounded(pairs)
    limits = [f"{most.name} <= {_limit(most.value, group.dtype, headroom)}" for most in largest]
    return Rule(
        address=group.pattern,
        stage=group.stage,
        question=group.question,
        mode=group.mode,
        dtype=group.dtype,
        require=" and ".join(limits),
        reason="; ".join(_reasons(group, pairs, largest, kinds, headroom)),
    )


def _bounded(pairs: Sequence[Pair]) -> list[_Largest]:
    """Return the measures that a rule bounds: those without the reference's scale where that is zero."""
    limited = _largest(pairs, _LIMITED)
    if all(most.is_finite for most in limited):
        return limited
    return _largest(pairs, _SUBSTITUTES)


def _reasons(
    group: _Group,
    pairs: Sequence[Pair],
    largest: Sequence[_Largest],
    kinds: Mapping[str, str],
    headroom: float,
) -> Iterator[str]:
    """Yield what a rule was made from, and what speaks against it."""
    seen = " and ".join(f"{most.name} {most.value:.2g}" for most in largest)
    amount = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''}"
    yield f"measured at most {seen} in {amount}, the most at {largest[0].pair.address}"
    if any(most.value for most in largest):
        yield f"headroom {headroom:g}x"
    else:
        yield f"headroom {headroom:g} x the rounding of {group.dtype}"
    operators = {kinds.get(path_of(pair.address)) for pair in pairs} - {None}
    if operators:
        yield f"operator {', '.join(sorted(map(str, operators)))}"
    failed = sum(map(failing, pairs))
    if failed:
        yield f"{failed} of them fail the default limits: look before you trust this rule"


class _Largest(NamedTuple):
    """The largest value of a measure, and where it was measured."""

    name: str
    value: float
    pair: Pair

    @classmethod
    def of(cls, pairs: Sequence[Pair], known: Measure) -> Self:
        """Look for it; of equals the first counts."""

        def value_of(pair: Pair) -> float:
            return measured(known.read(pair))

        worst = max(pairs, key=value_of)
        return cls(known.name, value_of(worst), worst)

    @property
    def is_finite(self) -> bool:
        """Whether a limit can be made of it."""
        return math.isfinite(self.value)


def _largest(pairs: Sequence[Pair], measures: Sequence[Measure]) -> list[_Largest]:
    """Return the largest value of each measure."""
    return [_Largest.of(pairs, known) for known in measures]


def _limit(measured: float, dtype: str, headroom: float) -> str:
    """Return the limit as text, rounded up to two digits; nothing measured leaves room for the type's rounding."""
    limit = headroom * (measured or eps(dtype))
    rounded_up = _DIGITS.create_decimal(Decimal(limit))
    return f"{rounded_up:.1e}"


def encode(rules: Sequence[Rule], title: str) -> str:
    """Return a tolerance file: `title` as a comment, then the rules."""
    comment = textwrap.indent(title, "# ", predicate=bool)
    return "\n".join([comment, *map(_table, rules)]) + "\n"


def _table(rule: Rule) -> str:
    """Return a rule as a table of a tolerance file, after an empty line."""
    lines = [f"{name} = {_quoted(getattr(rule, name))}" for name in _WRITTEN]
    return "\n".join(["", "[[tolerance]]", *lines])


def _quoted(text: str) -> str:
    """Return a TOML string: literal where it can be, else escaped."""
    if _LITERAL.fullmatch(text):
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
