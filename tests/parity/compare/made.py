"""Pairs without numbers, as what relates and counts pairs is asked about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parity.result import Coverage, Pair, Result

if TYPE_CHECKING:
    from parity.result import Flag

BAD, GOOD = "MISMATCH", "MATCH"


def pair(
    address: str, verdict: str = BAD, mode: str = "layers", order: int = 0, flags: list[Flag] | None = None, **more: Any
) -> Pair:
    """A float64 pair without numbers."""
    fields: dict[str, Any] = {"question": "semantics", "dtype": "float64", "stage": "unet"} | more
    return Pair(address=address, verdict=verdict, mode=mode, order=order, flags=flags or [], **fields)


def made(*pairs: Pair) -> Result:
    """A result of these pairs, of which nothing is said yet."""
    nothing: dict[str, Any] = {"counts": {}, "platform": {}, "provenance": {}, "case": {}, "checks": {}}
    coverage = Coverage(paths=1, compared=1, parameter_owners=0, parameter_owners_compared=0)
    return Result(
        verdict="INCOMPLETE", first_divergence=None, causes=[], pairs=list(pairs), coverage=coverage, **nothing
    )
