"""What the differences cost the user: the final latents and the image of the free runs."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from parity.compare.plan import describe_run, is_same_tensor
from parity.components import IMAGE, STEP
from parity.distance.measure import measure
from parity.distance.tensor import Tensor
from parity.result import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parity.compare.plan import RunPlan
    from parity.trace import RunReader, Trace

__all__ = ["price_of"]

_LATENTS: Final = f"{STEP}@step="
_IMAGE: Final = f"{IMAGE}:output"


def price_of(reference: Trace, candidates: Sequence[Trace]) -> dict[str, Any]:
    """Return for `final_latents` and `image`, per type of the free runs, each distance as two numbers.

    `candidate` is against the expected run, `reference` is the reference's own error, `between` is the candidate
    against the reference's working run.
    """
    price: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for trace in candidates:
        for replayed in trace.in_modes("free"):
            run = describe_run(reference, trace, replayed.name)
            for what, entry in _of_run(run).items():
                price[what][run.dtype] = entry
    return dict(price)


def _of_run(run: RunPlan) -> dict[str, dict[str, Any]]:
    """Return what the results of one run cost, of those that the candidate has."""
    entries: dict[str, dict[str, Any]] = {}
    for what, address in _results_of(run.expected).items():
        if address in run.candidate:
            entries[what] = _entry(run, address)
    return entries


def _results_of(run: RunReader) -> dict[str, str]:
    """Return name and address of what a run is made for: the last step's latents, and the image; empty: it has none."""
    outputs = run.output_tensors
    return {
        "final_latents": _first(reversed(outputs), _LATENTS),
        "image": _first(outputs, _IMAGE),
    }


def _first(addresses: Iterable[str], beginning: str) -> str:
    """Return the first address that begins so; empty: there is none."""
    return next((address for address in addresses if address.startswith(beginning)), "")


def _entry(run: RunPlan, address: str) -> dict[str, Any]:
    """Measure one address three ways."""
    expected, candidate, working = run.expected, run.candidate, run.working
    entry: dict[str, Any] = {
        "address": address,
        "candidate": _distance(expected, candidate, address),
    }
    if working is not None and address in working:
        entry["reference"] = _distance(expected, working, address)
        entry["between"] = _distance(working, candidate, address)
    return entry


def _distance(expected: RunReader, other: RunReader, address: str) -> dict[str, Any] | None:
    """Return the largest difference relative to the largest value, and rel_l2; None when they cannot be measured."""
    first, second = expected.record(address), other.record(address)
    if not is_same_tensor(first, second) or 0 in first.shape:
        return None
    found = measure(
        Tensor(expected.tensor(address), first.dtype),
        Tensor(other.tensor(address), second.dtype),
    )
    if found.problem == "nan":
        return None
    relative = found.max_rel
    if found.largest:
        relative = found.error_max / found.largest
    return {
        "max_over_largest": number(relative),
        "rel_l2": number(found.rel_l2),
        "max_abs": number(found.error_max),
    }
