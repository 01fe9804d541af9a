"""What somebody's file or folder holds: the weights of a model, or activations, tensors that a run made.

Weights are judged by equality and activations by how far rounding may take them, so this decides what is asked. Names
decide: a file of a format of checkpoints holds weights if one of its tensors is called like a parameter, or the file itself
like a checkpoint; files of any other format if most of their tensors are. What has the address of a call is an activation.

>>> is_parameter("down_blocks.0.attn.to_q.weight"), is_parameter("bn.running_mean"), is_parameter("latents")
(True, True, False)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from parity.address import index_of, path_of, port_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.choices import Contents
    from parity.trace.schema import Record

__all__ = ["NAMES", "Holding", "holding", "is_counted", "is_parameter", "parameter_address"]

_PARAMETER: Final = re.compile(
    r"(?:.*[./])?(?:weight|bias|weight_[a-z0-9_]+|bias_[a-z0-9_]+|in_proj_weight|in_proj_bias|gamma|beta|kernel|"
    r"embedding_table|running_mean|running_var|moving_mean|moving_var|moving_variance|num_batches_tracked|"
    r"lora_[a-z_]+|hada_[a-z0-9_]+|scale_shift_table)",
    re.IGNORECASE,
)
"""Names that only parameters and moving statistics have; others (`embeddings`, `position_ids`) are of modules and inputs too."""

_CHECKPOINT: Final = re.compile(
    r"(?:.*/)?(?:diffusion_pytorch_model|pytorch_model|pytorch_lora_weights|adapter_model|learned_embeds|model)\b.*"
    r"|.*\.ckpt|.*\.bin"
)
"""Names under which libraries save checkpoints."""

_CHECKPOINTS: Final = frozenset({"safetensors", "torch", "mindspore"})
"""Tools of formats that are made for checkpoints; others are used for anything."""

NAMES: Final = {
    "gamma": "weight", "beta": "bias", "embedding_table": "weight",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip
"""MindSpore's own names of parameters -> torch's."""

_RECORDERS: Final = frozenset({"msprobe", "TroubleShooter"})
"""Tools that save what a run makes, parameters among it."""


class Holding(NamedTuple):
    """What somebody's files hold, and why they are taken so."""

    contents: Contents
    reason: str


def holding(records: Sequence[Record], tool: str) -> Holding:
    """Return what files of a tool hold, by the names of their tensors and of the files."""
    addresses = [record.address for record in records if record.kind == "tensor"]
    files = {record.file: None for record in records}
    calls = list(filter(_is_of_call, addresses))
    parameters = list(filter(is_parameter, map(_name_of, addresses)))
    checkpoints = list(filter(_CHECKPOINT.fullmatch, files))
    if tool in _RECORDERS:
        return Holding("activations", f"{tool} saves what a run makes")
    if calls:
        return Holding("activations", f"{calls[0]} is of a call")
    if tool not in _CHECKPOINTS:
        # Anybody uses these formats for anything, so one name of a parameter says nothing of the others.
        checkpoints = []
        if 2 * len(parameters) <= len(addresses):
            parameters = []
    if parameters:
        return Holding("weights", f"{parameters[0]} is a parameter's name")
    if checkpoints:
        return Holding("weights", f"{checkpoints[0]} is a checkpoint's name")
    return Holding("activations", "no name is a parameter's")


def is_parameter(name: str) -> bool:
    """Tell whether a name is that of a parameter or of a buffer."""
    return _PARAMETER.fullmatch(name) is not None


def _is_of_call(address: str) -> bool:
    """Tell whether an address is of something that one call took or returned; a name alone has the port `output`."""
    return bool(index_of(address)) or port_of(address).partition(".")[0] == "input"


def _name_of(address: str) -> str:
    """Return the name of a tensor whose address was made from it."""
    path, port = path_of(address), port_of(address)
    if port == "output":
        return path
    return f"{path}.{port}"


def parameter_address(address: str) -> str:
    """Return the address of a parameter, `PATH:NAME` in torch's names, whose file calls it so.

    >>> parameter_address("unet.conv_in.weight:output"), parameter_address("logit_scale:output")
    ('unet.conv_in:weight', 'logit_scale:parameter')
    >>> parameter_address("bn.moving_mean:output")
    'bn:running_mean'
    """
    owner, _, name = _name_of(address).rpartition(".")
    if not owner:
        return f"{name}:parameter"
    return f"{owner}:{NAMES.get(name, name)}"


def is_counted(record: Record) -> bool:
    """Tell whether something beside weights may be on one side alone: a plain value, or a counter of training's batches."""
    return record.kind != "tensor" or _name_of(record.address).rpartition(".")[2] == "num_batches_tracked"
