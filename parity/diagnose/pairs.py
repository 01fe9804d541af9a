"""Pairs and causes of a result as a diagnosis picks, groups, flags and names them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

from parity.address import path_of
from parity.compare.summary import failing, is_about_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from parity.components import Components
    from parity.result import Cause, Flag, Pair

__all__ = [
    "Repeated",
    "add_flag",
    "differs",
    "grouped",
    "has_failed",
    "holds_any",
    "in_layers",
    "path_of_pair",
    "paths_of",
    "places_of",
    "worst_of",
]

Item = TypeVar("Item")
Key = TypeVar("Key", bound="Hashable")


def in_layers(pair: Pair) -> bool:
    """Tell whether a pair is of the replay layer by layer, which shows what is wrong by itself."""
    return pair.mode == "layers"


def differs(pair: Pair) -> bool:
    """Tell whether a pair was measured and found different."""
    return pair.verdict == "MISMATCH"


def has_failed(pair: Pair) -> bool:
    """Tell whether a pair is on both sides and not the same, and no error of the reference is why."""
    return failing(pair) and not is_about_reference(pair)


def worst_of(pairs: Iterable[Pair]) -> Pair:
    """Return the pair with the largest relative difference; one that is no finite number is larger than any."""
    return max(pairs, key=lambda pair: pair.rel_l2 if isinstance(pair.rel_l2, float) else float("inf"))


def path_of_pair(pair: Pair) -> str:
    """Return the path that a pair was seen at."""
    return path_of(pair.address)


def paths_of(pairs: Iterable[Pair]) -> list[str]:
    """Return the paths of pairs, each once, in their order."""
    return list(dict.fromkeys(map(path_of_pair, pairs)))


def places_of(cause: Cause) -> list[str]:
    """Return all paths where a cause sits."""
    return [path_of(cause.address), *cause.others]


def add_flag(pair: Pair, flag: Flag) -> None:
    """Give a pair a flag that it does not have yet."""
    if flag not in pair.flags:
        pair.flags = [*pair.flags, flag]


def holds_any(program: Components, path: str, others: Iterable[str]) -> bool:
    """Tell whether the module at a path of the program contains one of the others."""
    return any(program.contains(path, other) for other in others)


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Return items by what `key` says of them, in their order."""
    groups: dict[Key, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)


class Repeated:
    """How pairs compare in a replay of their own."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        """Index the pairs of that replay."""
        self._pairs = {(pair.mode, pair.address): pair for pair in pairs}

    def of(self, pair: Pair) -> Pair | None:
        """Return how a pair compares there; None where it was not replayed."""
        return self._pairs.get((pair.mode, pair.address))

    def match_of(self, pair: Pair) -> Pair | None:
        """Return how a pair compares there if it matches."""
        found = self.of(pair)
        if found is None or found.verdict != "MATCH":
            return None
        return found

    def matches(self, pair: Pair) -> bool:
        """Tell whether a pair was replayed and matches."""
        return self.match_of(pair) is not None
