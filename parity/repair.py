"""Repairs: edits of a candidate that a counterfactual replay applies before it runs.

A repair file is JSON, `{"edits": [...]}`; `parity replay --repair FILE` applies them all. An edit that the candidate
cannot take is an error; with `"strict": false` it is left out and the manifest says why. Five kinds are enough: change a
weight's layout, set an attribute, shift the injected noise, substitute a path's output by the reference's, and compute
kinds of operator in float64.

    >>> decode(b'{"edits": [{"kind": "attribute", "path": "unet.conv_norm_out", "name": "eps", "value": 1e-5}]}').edits
    (AttributeEdit(path='unet.conv_norm_out', name='eps', value=1e-05),)

Paths and addresses are the reference's; the candidate's adapter maps them to its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec

from parity import disk, reading
from parity.digests import layouts
from parity.errors import RepairError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

__all__ = [
    "WIDENED",
    "AttributeEdit",
    "Edit",
    "NoiseEdit",
    "Operator",
    "PrecisionEdit",
    "Repairs",
    "SubstituteEdit",
    "WeightEdit",
    "decode",
    "read",
    "relaid",
    "write",
]

Change = Literal["transpose", "transpose01", "transpose23", "flip0", "flip1", "flip2", "flip3"]


Operator = Literal["exp", "tanh", "sigmoid", "softmax", "silu", "gelu", "quick_gelu"]
WIDENED: Final[tuple[Operator, ...]] = get_args(Operator)
"""Kinds of operator that a replay can compute in float64."""


class _Edit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of the edits; `kind` tells them apart in JSON."""


class WeightEdit(_Edit, frozen=True, kw_only=True, tag="weight"):
    """Change the layout of one parameter, `address` being the reference's `PATH:PARAMETER`."""

    address: str
    change: Change


class AttributeEdit(_Edit, frozen=True, kw_only=True, tag="attribute"):
    """Set an attribute (canonical name) of the module at the reference's path."""

    path: str
    name: str
    value: float | int | str | bool | None


class NoiseEdit(_Edit, frozen=True, kw_only=True, tag="noise"):
    """Give step i the noise recorded for step i + shift (cyclically), to undo a shift of the candidate's."""

    shift: int


class SubstituteEdit(_Edit, frozen=True, kw_only=True, tag="substitute"):
    """Replace the output of the module at the reference's path by the recorded one."""

    path: str


class PrecisionEdit(_Edit, frozen=True, kw_only=True, tag="precision"):
    """Compute these kinds of operator (`exp`, `softmax`) in float64 and round the result, in the whole replay."""

    operators: tuple[Operator, ...]


Edit = WeightEdit | AttributeEdit | NoiseEdit | SubstituteEdit | PrecisionEdit


class Repairs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a repair file holds; without `strict` an edit that the candidate cannot take is left out."""

    edits: tuple[Edit, ...] = ()
    strict: bool = True

    @property
    def of_model(self) -> list[Edit]:
        """The edits that a loaded model takes; the replay itself does what the others say."""
        return [edit for edit in self.edits if not isinstance(edit, (NoiseEdit, SubstituteEdit))]

    @property
    def noise_shift(self) -> int:
        """By how many steps they shift the noise."""
        return sum(edit.shift for edit in self.edits if isinstance(edit, NoiseEdit))

    @property
    def substituted(self) -> frozenset[str]:
        """The paths whose output they replace."""
        return frozenset(edit.path for edit in self.edits if isinstance(edit, SubstituteEdit))


def relaid(array: np.ndarray, edit: WeightEdit) -> np.ndarray:
    """Return a parameter in the layout that an edit names.

    Raises:
        RepairError: a tensor of this shape has no such layout, or none that differs.
    """
    found = layouts(array)
    if edit.change not in found:
        message = (
            f"{edit.address} of shape {list(array.shape)} has no layout {edit.change!r}; it has {', '.join(found)}"
        )
        raise RepairError(message)
    return found[edit.change]


def decode(text: bytes) -> Repairs:
    """Read a repair file's bytes.

    Raises:
        RepairError: they are not a list of known edits.
    """
    try:
        return reading.json(text, Repairs)
    except ValueError as error:
        message = f'not a repair file: {error}; write {{"edits": [{{"kind": "weight", …}}]}}'
        raise RepairError(message) from error


def read(path: str | Path) -> Repairs:
    """Read a repair file.

    Raises:
        RepairError: it is not there or is no repair file.
    """
    try:
        return decode(reading.content(path, reading.REPAIR_BYTES))
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; give the repair file that parity diagnose wrote"
        raise RepairError(message) from error
    except RepairError as error:
        message = f"{path} is {error}"
        raise RepairError(message) from error


def write(repairs: Repairs, path: str | Path) -> None:
    """Write a repair file; OutputError where that fails."""
    disk.write(path, msgspec.json.format(msgspec.json.encode(repairs), indent=1))
