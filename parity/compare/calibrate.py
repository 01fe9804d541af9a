r"""Tolerances proposed from what was seen: one rule for each kind of module, with its measured maximum and headroom.

Pairs are grouped by stage, question, mode, type and what the module is called: the component, and the last name
of its path with its numbers generalised, so that `unet.down_blocks.0.attentions.1.proj_in` and the same
projection elsewhere share a rule.

    >>> path_pattern("unet.down_blocks.0.attentions.1.to_out.0@step=3:output")
    'unet\\.(?:.*\\.)?to_out\\.\\d+(?:@.*)?:output'

A proposal describes what was seen and blesses nothing: a reason says how many of its pairs fail the default
limits. Integers and plain values get no rule, nor does what a rule of the case judges, and no rule can excuse a
missing pair, another shape, a narrower type or a value that is not finite: those stay in `Proposal.left`.
"""

from __future__ import annotations

import json
import math
import re
from decimal import ROUND_UP, Context, Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from parity.address import STAGES
from parity.compare.rules import Rule
from parity.compare.summary import failing, is_excused
from parity.dtypes import eps
from parity.errors import ToleranceError
from parity.result import MEASURES, measured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parity.result import Measure, Pair, Result
    from parity.trace import Trace

__all__ = ["HEADROOM", "Proposal", "encode", "kinds_of", "path_pattern", "propose"]

HEADROOM: Final = 3.0
"""How many times the measured maximum a proposed limit is, unless asked otherwise."""

_DIGITS: Final = Context(prec=2, rounding=ROUND_UP)
_STAGE: Final = {stage: position for position, stage in enumerate(STAGES)}
_LIMITED: Final = [known for known in MEASURES if known.proposal == "limit"]
_SUBSTITUTES: Final = [known for known in MEASURES if known.proposal == "substitute"]
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
    place, _, port = address.rpartition(":")
    component, *names = place.partition("@")[0].split(".")
    tail: list[str] = []
    while names:
        tail.insert(0, names.pop())
        if not tail[0].isdigit():
            break
    path = re.escape(component)
    if tail:
        path += r"\.(?:.*\.)?" + r"\.".join(map(_general, tail))
    return rf"{path}(?:@.*)?:{_general(port)}"


def _general(text: str) -> str:
    """Return a name as a pattern, its numbers generalised."""
    return re.sub(r"\d+", r"\\d+", re.escape(text))


def kinds_of(traces: Sequence[Trace]) -> dict[str, str]:
    """Return the kind of operator of each path, as the candidates' alignment tables name it."""
    return {row.path: row.kind for trace in traces for row in trace.manifest.alignment or [] if row.kind}


def propose(result: Result, kinds: Mapping[str, str] | None = None, headroom: float = HEADROOM) -> Proposal:
    """Return rules under which the pairs of `result` match, as far as rules can make them.

    Args:
        result: A comparison of healthy traces.
        kinds: The kind of operator of a path, for the reasons.
        headroom: How many times the measured maximum a limit is; at least 1.

    Raises:
        ToleranceError: the headroom is less than 1.
    """
    if not (math.isfinite(headroom) and headroom >= 1):
        message = f"a headroom of {headroom:g} would fail what was just measured; give at least 1, for example 3"
        raise ToleranceError(message)
    groups: dict[_Group, list[Pair]] = {}
    left = []
    for pair in result.pairs:
        if _can_have_rule(pair):
            group = _Group(pair.stage, pair.question, pair.mode, pair.dtype or "", path_pattern(pair.address))
            groups.setdefault(group, []).append(pair)
        elif pair.verdict in {"MISSING", "UNEXPECTED"} or (
            failing(pair) and (not is_excused(pair) or "unbounded-depth" in pair.flags)
        ):
            left.append(pair)
    ordered = sorted(groups, key=lambda group: (_STAGE[group.stage], group[1:4], group.pattern))
    return Proposal([_rule(group, groups[group], kinds or {}, headroom) for group in ordered], left)


def _can_have_rule(pair: Pair) -> bool:
    """Tell whether a pair has distances that a rule may bound, and no rule yet."""
    return pair.ground in {"float64", "floor", "model"} and not pair.hard and not pair.basis.startswith("case: ")


def _rule(group: _Group, pairs: Sequence[Pair], kinds: Mapping[str, str], headroom: float) -> Rule:
    """Return the rule of a group."""
    largest = {known.name: _largest(pairs, known) for known in _LIMITED}
    if not all(math.isfinite(value) for value, _ in largest.values()):
        largest = {known.name: _largest(pairs, known) for known in _SUBSTITUTES}
    limits = {name: _limit(value, group.dtype, headroom) for name, (value, _) in largest.items()}
    worst = next(iter(largest.values()))[1]
    seen = " and ".join(f"{name} {value:.2g}" for name, (value, _) in largest.items())
    words = [
        f"measured at most {seen} in {len(pairs)} pair{'s' if len(pairs) > 1 else ''}, the most at {worst.address}"
    ]
    if all(value == 0.0 for value, _ in largest.values()):
        words.append(f"headroom {headroom:g} x the rounding of {group.dtype}")
    else:
        words.append(f"headroom {headroom:g}x")
    found = {kinds.get(pair.address.partition("@")[0].partition(":")[0]) for pair in pairs} - {None}
    if found:
        words.append(f"operator {', '.join(sorted(map(str, found)))}")
    failed = sum(failing(pair) for pair in pairs)
    if failed:
        words.append(f"{failed} of them fail the default limits: look before you trust this rule")
    return Rule(
        address=group.pattern,
        stage=group.stage,
        question=group.question,
        mode=group.mode,
        dtype=group.dtype,
        require=" and ".join(f"{name} <= {limit}" for name, limit in limits.items()),
        reason="; ".join(words),
    )


def _largest(pairs: Sequence[Pair], known: Measure) -> tuple[float, Pair]:
    """Return the largest value of a measure and its pair; the first of equals."""
    worst = max(pairs, key=lambda pair: measured(known.read(pair)))
    return measured(known.read(worst)), worst


def _limit(measured: float, dtype: str, headroom: float) -> str:
    """Return the limit as text, rounded up to two digits; nothing measured leaves room for the type's rounding."""
    return f"{_DIGITS.create_decimal(Decimal((measured or eps(dtype)) * headroom)):.1e}"


def encode(rules: Sequence[Rule], title: str) -> str:
    """Return a tolerance file: `title` as a comment, then the rules."""
    lines = [f"# {line}" for line in title.splitlines()]
    for rule in rules:
        lines += ["", "[[tolerance]]"]
        for name in ("address", "stage", "question", "mode", "dtype", "require", "reason"):
            lines.append(f"{name} = {_quoted(getattr(rule, name))}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a TOML string: literal where it can be, else escaped."""
    if _LITERAL.fullmatch(text):
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
