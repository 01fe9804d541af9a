"""Pairs without numbers, as what relates and counts pairs is asked about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parity.result import Pair

if TYPE_CHECKING:
    from parity.result import Flag

BAD, GOOD = "MISMATCH", "MATCH"


def pair(
    address: str, verdict: str = BAD, mode: str = "layers", order: int = 0, flags: list[Flag] | None = None, **more: Any
) -> Pair:
    """A float64 pair without numbers."""
    fields: dict[str, Any] = {"question": "semantics", "dtype": "float64", "stage": "unet"} | more
    return Pair(address=address, verdict=verdict, mode=mode, order=order, flags=flags or [], **fields)
