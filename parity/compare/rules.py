r"""Tolerance rules: which pairs, what they must satisfy, and why.

A rule comes from a case (`[[tolerance]]`) or from a tolerance file:

    [[tolerance]]
    address = 'unet\\..*:output'      # matches the whole address
    stage = "unet"                    # optional, as are port, dtype, question and mode
    require = "rel_l2 <= 1e-3 and max_abs <= 0.1"
    reason = "float16 accumulation on this device"

and what is not compared, files that cannot be read included:

    [[exclude]]
    address = 'settings\\.pkl'
    reason = "how the dump was made"

`require` is a `Predicate`. A rule overrides every other limit of the pairs that it matches, and one that matches no pair is an error.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from parity import reading
from parity.address import pattern, port_of
from parity.compare.predicate import Predicate
from parity.errors import AddressError, ToleranceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parity.case import ToleranceRule
    from parity.result import Pair

__all__ = ["Rule", "RuleBook", "load", "load_excludes"]

_EXACT: Final = ("stage", "dtype", "question", "mode")
_CACHED: Final = 1 << 16


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
        return msgspec.convert(rule, cls, from_attributes=True)


class _Exclude(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is not compared: a pattern on the whole address, or on the name of a file that cannot be read, and why."""

    address: str
    reason: str


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tolerance file."""

    tolerance: list[Rule] = []
    exclude: list[_Exclude] = []


def load(path: str | Path) -> list[Rule]:
    """Read the rules of a tolerance file.

    Raises:
        ToleranceError: it is not there, is not TOML, is empty, or has an unknown key, a malformed predicate or pattern.
    """
    return _read(Path(path)).tolerance


def load_excludes(path: str | Path) -> list[dict[str, str]]:
    """Read the `[[exclude]]` tables of a tolerance file: address and reason.

    Raises:
        ToleranceError: as `load`.
    """
    return [msgspec.to_builtins(exclude) for exclude in _read(Path(path)).exclude]


def _read(path: Path) -> _File:
    """Read a tolerance file and check it.

    Raises:
        ToleranceError: as `load`.
    """
    try:
        raw = reading.toml(path, reading.TOLERANCES_BYTES)
        file = msgspec.convert(raw, _File)
        if not raw:
            message = "it has no table"
            raise ValueError(message)  # noqa: TRY301 - it joins what else is wrong with a file
        RuleBook(file.tolerance)
    except FileNotFoundError as error:
        message = f"{path} is not there; give the path of a tolerance file"
        raise ToleranceError(message) from error
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; give the path of a tolerance file"
        raise ToleranceError(message) from error
    except ValueError as error:
        message = f"{path}: {error}; a tolerance file has [[tolerance]] tables with {', '.join(Rule.__struct_fields__)}, and [[exclude]] with address, reason"
        raise ToleranceError(message) from error
    return file


class RuleBook:
    """Rules ready to be asked; the first that matches a pair counts."""

    def __init__(self, rules: Sequence[Rule | ToleranceRule]) -> None:
        """Compile patterns and predicates.

        Raises:
            ToleranceError: a pattern or a predicate is malformed.
        """
        try:
            self._rules = [_Ready(Rule.of(rule)) for rule in rules]
        except AddressError as error:
            raise ToleranceError(str(error)) from error
        # A comparison asks for each address several times: of every mode, type and question.
        self._at = lru_cache(maxsize=_CACHED)(self._matching)

    def __bool__(self) -> bool:
        """Tell whether there are rules."""
        return bool(self._rules)

    def find(self, pair: Pair) -> tuple[Rule, Predicate] | None:
        """Return the first rule that matches the pair."""
        for ready in self._at(pair.address):
            if ready.lets(pair):
                ready.used = True
                return ready.rule, ready.predicate
        return None

    def _matching(self, address: str) -> list[_Ready]:
        """Return the rules whose patterns match an address, in their order."""
        return [ready for ready in self._rules if ready.matches(address)]

    def note(self, addresses: Iterable[str]) -> None:
        """Count a rule as used when its pattern matches one of `addresses`: those that a partial replay left out."""
        known = list(addresses)
        for ready in self._unused():
            ready.used = any(map(ready.address.matches, known))

    def refuse_unused(self) -> None:
        """Raise for a rule that matched nothing.

        Raises:
            ToleranceError: a rule matched no pair.
        """
        unused = self._unused()
        if unused:
            rule = unused[0].rule
            message = (
                f"the tolerance rule {rule.address!r} ({rule.reason}) matches no pair; "
                "a pattern matches the whole address, port included"
            )
            raise ToleranceError(message)

    def _unused(self) -> list[_Ready]:
        """Return the rules that matched nothing so far."""
        return [ready for ready in self._rules if not ready.used]


class _Ready:
    """A rule with its patterns and its predicate compiled, and whether it matched a pair yet."""

    def __init__(self, rule: Rule) -> None:
        """Compile them."""
        self.rule = rule
        self.used = False
        self.address = pattern(rule.address)
        self._lets_port = lru_cache(maxsize=_CACHED)(pattern(rule.port).matches)  # ports are few
        self.exact = [(name, getattr(rule, name)) for name in _EXACT if getattr(rule, name) is not None]
        self.predicate = Predicate.parse(rule.require)

    def matches(self, address: str) -> bool:
        """Tell whether both patterns match an address."""
        return self._lets_port(port_of(address)) and self.address.matches(address)

    def lets(self, pair: Pair) -> bool:
        """Tell whether the exact filters let a pair through, whose address matches."""
        return all(getattr(pair, name) == wanted for name, wanted in self.exact)
