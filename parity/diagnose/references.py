"""Known disagreements of two references of the same weights: they are choices of each, and no noise.

Each function looks at what both recorded and returns a cause that names the choice, or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from parity.result import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.trace import RunReader, Trace

__all__ = ["from_references"]

_PADDING: Final = 0
_EXCLAMATION: Final = 256
_NEGATIVE: Final = "encode_prompt:output.negative_prompt_embeds"
_TIMESTEPS: Final = "scheduler.set_timesteps:output.timesteps"


def from_references(reference: Trace, other: Trace) -> Iterator[Cause]:
    """Yield the known disagreements that two recordings show."""
    first, second = _working(reference), _working(other)
    for cause in (_tokens(first, second), _negative(first, second), _spacing(first, second)):
        if cause is not None:
            yield cause


def _working(trace: Trace) -> RunReader:
    """Return the working run of a recording."""
    names = [name for name in trace.runs if trace.run(name).info.mode == "run"]
    return trace.run(next((name for name in names if name != "float64"), names[0]))


def _tokens(first: RunReader, second: RunReader) -> Cause | None:
    """The padding token "!" in a prompt: id 0 in transformers, the ordinary token in OpenCLIP."""
    places = []
    for record in first.records:
        if record.address.startswith("tokenizer_2") and record.address.endswith("output.input_ids"):
            if record.address not in second:
                return None
            mine, theirs = np.asarray(first.tensor(record.address)), np.asarray(second.tensor(record.address))
            if mine.shape != theirs.shape:
                return None
            differ = mine != theirs
            kinds = {tuple(sorted(pair)) for pair in zip(mine[differ].tolist(), theirs[differ].tolist(), strict=True)}
            if kinds - {(_PADDING, _EXCLAMATION)}:
                return None
            places += [(record.address, tuple(place)) for place in np.argwhere(differ).tolist()]
    if not places:
        return None
    address, place = places[0]
    facts = [
        f'{len(places)} ids differ, all of them {_PADDING} on one side and {_EXCLAMATION}, the token of "!", on the other',
        f"the first at {address}, {list(place)}",
    ]
    return _cause(
        "padding-token-in-prompt",
        "tokenizer_2",
        facts,
        'leave "!" out of the prompt, or give its id as the other side does',
    )


def _negative(first: RunReader, second: RunReader) -> Cause | None:
    """Zeros for the negative prompt on one side, an encoded text on the other."""
    if _NEGATIVE not in first or _NEGATIVE not in second:
        return None
    largest = [float(np.abs(run.wide(_NEGATIVE)).max(initial=0.0)) for run in (first, second)]
    if (largest[0] == 0.0) == (largest[1] == 0.0):
        return None
    facts = [f"the negative embeddings are all zero on one side; the largest is {largest[0]:.6g} and {largest[1]:.6g}"]
    return _cause("negative-conditioning", "encode_prompt", facts, "give both sides a negative prompt, or neither")


def _spacing(first: RunReader, second: RunReader) -> Cause | None:
    """Another placement of the steps on the training schedule."""
    if _TIMESTEPS not in first or _TIMESTEPS not in second:
        return None
    mine, theirs = (
        run.wide(_TIMESTEPS) if _floats(run) else np.asarray(run.tensor(_TIMESTEPS)) for run in (first, second)
    )
    if mine.shape == theirs.shape and np.array_equal(mine, theirs):
        return None
    facts = [f"timesteps {np.asarray(mine).tolist()} on one side, {np.asarray(theirs).tolist()} on the other"]
    repair = "choose the discretization of the other side: LegacyDDPM spaces from the last timestep, DiffusersDDPM by whole strides"
    return _cause("timestep-spacing", "scheduler.set_timesteps", facts, repair)


def _floats(run: RunReader) -> bool:
    """Tell whether the timesteps are floating numbers."""
    return run.record(_TIMESTEPS).dtype.startswith(("float", "bfloat"))


def _cause(slug: str, address: str, facts: list[str], repair: str) -> Cause:
    """Return a cause that both recordings prove."""
    return Cause(slug=slug, address=address, confirmed=False, confidence=1.0, evidence=facts, repair=repair, edits=[])
