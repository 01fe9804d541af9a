"""References: what two recordings of the same weights are known to do differently. They are choices of each, and no noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from parity.address import port_of
from parity.diagnose.hypothesis import PROVEN, Hypothesis
from parity.dtypes import is_float

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.diagnose.evidence import Recordings
    from parity.trace import Record, RunReader

__all__ = ["CONDITIONING", "SCHEDULE", "SECOND_TOKENIZER", "negative_prompt", "padding_token", "timesteps"]

SECOND_TOKENIZER: Final = "tokenizer_2"
CONDITIONING: Final = "encode_prompt"
SCHEDULE: Final = "scheduler.set_timesteps"
_PADDING: Final = 0
_EXCLAMATION: Final = 256
_NEGATIVE: Final = f"{CONDITIONING}:output.negative_prompt_embeds"
_TIMESTEPS: Final = f"{SCHEDULE}:output.timesteps"


class _Difference(NamedTuple):
    """A token of the second tokenizer that differs: where, and both ids; no ids where they cannot be compared."""

    address: str
    place: tuple[int, ...]
    ids: frozenset[int]


def padding_token(recordings: Recordings) -> Iterator[Hypothesis]:
    """The padding token "!" in a prompt: id 0 in transformers, the ordinary token in OpenCLIP."""
    differences: list[_Difference] = []
    for record in filter(_holds_ids, recordings.first.records):
        differences += _differences(recordings, record.address)
    if {difference.ids for difference in differences} != {frozenset({_PADDING, _EXCLAMATION})}:
        return
    first = differences[0]
    facts = (
        f'{len(differences)} ids differ, all of them {_PADDING} on one side and {_EXCLAMATION}, the token of "!", on the other',
        f"the first at {first.address}, {list(first.place)}",
    )
    yield Hypothesis(
        confidence=PROVEN,
        evidence=facts,
        repair='leave "!" out of the prompt, or give its id as the other side does',
    )


def _holds_ids(record: Record) -> bool:
    """Tell whether a record holds the second tokenizer's ids."""
    return record.address.startswith(SECOND_TOKENIZER) and port_of(record.address) == "output.input_ids"


def _differences(recordings: Recordings, address: str) -> list[_Difference]:
    """Return where the ids at an address differ."""
    incomparable = [_Difference(address, (), frozenset())]
    if not recordings.hold(address):
        return incomparable
    first, second = (np.asarray(run.tensor(address)) for run in recordings)
    if first.shape != second.shape:
        return incomparable
    places = map(tuple, np.argwhere(first != second).tolist())
    return [_Difference(address, place, frozenset({int(first[place]), int(second[place])})) for place in places]


def negative_prompt(recordings: Recordings) -> Iterator[Hypothesis]:
    """Zeros for the negative prompt on one side, an encoded text on the other."""
    if not recordings.hold(_NEGATIVE):
        return
    first, second = map(_largest_negative, recordings)
    if (first == 0.0) == (second == 0.0):
        return
    said = f"the negative embeddings are all zero on one side; the largest is {first:.6g} and {second:.6g}"
    yield Hypothesis(
        confidence=PROVEN,
        evidence=(said,),
        repair="give both sides a negative prompt, or neither",
    )


def _largest_negative(run: RunReader) -> float:
    """Return the largest magnitude in the embeddings of the negative prompt."""
    return float(np.abs(run.wide(_NEGATIVE)).max(initial=0.0))


def timesteps(recordings: Recordings) -> Iterator[Hypothesis]:
    """Another placement of the steps on the training schedule."""
    if not recordings.hold(_TIMESTEPS):
        return
    first, second = map(_list_of_timesteps, recordings)
    if first == second:
        return
    said = f"timesteps {first} on one side, {second} on the other"
    yield Hypothesis(
        confidence=PROVEN,
        evidence=(said,),
        repair="choose the discretization of the other side: LegacyDDPM spaces from the last timestep, DiffusersDDPM by whole strides",
    )


def _list_of_timesteps(run: RunReader) -> list[float]:
    """Return the timesteps as numbers; of a half type they are stored as words."""
    read = run.wide if is_float(run.record(_TIMESTEPS).dtype) else run.tensor
    listed: list[float] = np.asarray(read(_TIMESTEPS)).tolist()
    return listed
