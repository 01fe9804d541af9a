"""What the differences cost the user: the final latents and the image of the free runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from parity.compare.plan import describe_run, port_of
from parity.distance.measure import measure
from parity.distance.tensor import Tensor
from parity.result import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.compare.plan import RunPlan
    from parity.trace import RunReader, Trace

__all__ = ["price_of"]

_LATENTS: Final = "scheduler.step@step="
_IMAGE: Final = "postprocess:output"


def price_of(reference: Trace, candidates: Sequence[Trace]) -> dict[str, Any]:
    """Return for `final_latents` and `image`, per type of the free runs, each distance as two numbers.

    `candidate` is against the exact run, `reference` is the reference's own error, `between` is the candidate
    against the reference's working run.
    """
    price: dict[str, Any] = {}
    for trace in candidates:
        for name in trace.runs:
            if trace.run(name).info.mode != "free":
                continue
            run = describe_run(reference, trace, name)
            for what, address in (("final_latents", _last_latents(run.exact)), ("image", _image(run.exact))):
                entry = _entry(run, address)
                if entry is not None:
                    price.setdefault(what, {})[run.dtype] = entry
    return price


def _last_latents(run: RunReader) -> str | None:
    """Return the address of the last step's latents."""
    found = [
        record.address
        for record in run.records
        if record.address.startswith(_LATENTS) and port_of(record.address).startswith("output")
    ]
    return found[-1] if found else None


def _image(run: RunReader) -> str | None:
    """Return the address of the image."""
    found = [record.address for record in run.records if record.address.startswith(_IMAGE) and record.kind == "tensor"]
    return found[0] if found else None


def _entry(run: RunPlan, address: str | None) -> dict[str, Any] | None:
    """Measure one address three ways."""
    if address is None or address not in run.candidate:
        return None
    entry: dict[str, Any] = {"address": address, "candidate": _distance(run.exact, run.candidate, address)}
    if run.own is not None and address in run.own:
        entry["reference"] = _distance(run.exact, run.own, address)
        entry["between"] = _distance(run.own, run.candidate, address)
    return entry


def _distance(exact: RunReader, other: RunReader, address: str) -> dict[str, Any] | None:
    """Return the largest difference relative to the largest value, and rel_l2; None when they cannot be measured."""
    first, second = exact.record(address), other.record(address)
    if first.kind != "tensor" or second.kind != "tensor" or first.shape != second.shape or 0 in first.shape:
        return None
    found = measure(Tensor(exact.tensor(address), first.dtype), Tensor(other.tensor(address), second.dtype))
    if found.problem == "nan":
        return None
    relative = found.error_max / found.largest if found.largest else found.max_rel
    return {"max_over_largest": number(relative), "rel_l2": number(found.rel_l2), "max_abs": number(found.error_max)}
