"""Weights between diffusers' names and layouts and the MindSpore checkpoint's, and into a model.

Both directions are pure numpy and follow `names.parameter_pairs`. Four things change: names; the second text
encoder's projection is a transposed matrix; its q, k and v are stacked; the autoencoder's linear attention becomes
1x1 convolutions. Values and types are kept, so that a round trip is bit-identical.

`load` is strict: whatever is missing, unexpected or of the wrong shape is named in one error and nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mindone_sdxl.config import SDXLConfig
from mindone_sdxl.errors import WeightsError
from mindone_sdxl.names import ParameterPair, parameter_pairs

if TYPE_CHECKING:
    from mindspore import Parameter, Tensor, nn

__all__ = [
    "ABSENT_SUFFIXES",
    "diffusers_to_mindspore",
    "load",
    "mindspore_to_diffusers",
    "normalise_diffusers_names",
]

State = Mapping[str, np.ndarray]

# In some files, and of no use: position ids are a range, the logit scale belongs to contrastive training.
ABSENT_SUFFIXES = ("position_ids", "logit_scale")
_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def diffusers_to_mindspore(state: State, config: SDXLConfig) -> dict[str, np.ndarray]:
    """A diffusers state, names starting with the component, as a MindSpore checkpoint's state.

    Raises:
        WeightsError: names are missing or unexpected.
    """
    state = normalise_diffusers_names(state)
    pairs = parameter_pairs(config)
    _require_names(state, [pair.diffusers for pair in pairs], "diffusers weights")
    converted: dict[str, np.ndarray] = {}
    parts: dict[str, list[np.ndarray]] = {}
    for pair in pairs:
        value = state[pair.diffusers]
        if pair.transform == "transpose":
            converted[pair.checkpoint] = np.ascontiguousarray(value.T)
        elif pair.transform == "pointwise":
            converted[pair.checkpoint] = value.reshape(*value.shape[:2], 1, 1)
        elif pair.transform == "part":
            parts.setdefault(pair.checkpoint, []).append(value)
        else:
            converted[pair.checkpoint] = value
    for name, values in parts.items():
        if len({value.shape for value in values} | {value.dtype for value in values}) > 2:  # noqa: PLR2004
            raise WeightsError(f"{name}: q, k and v differ: {[(value.shape, str(value.dtype)) for value in values]}")
        converted[name] = np.concatenate(values)
    return converted


def mindspore_to_diffusers(state: State, config: SDXLConfig) -> dict[str, np.ndarray]:
    """The inverse of `diffusers_to_mindspore`; names start with the component.

    Raises:
        WeightsError: names are missing or unexpected.
    """
    pairs = parameter_pairs(config)
    _require_names(state, [pair.checkpoint for pair in pairs], "MindSpore weights")
    return {pair.diffusers: to_diffusers(state[pair.checkpoint], pair) for pair in pairs}


def to_diffusers(value: np.ndarray, pair: ParameterPair) -> np.ndarray:
    """One parameter of a MindSpore checkpoint in diffusers' layout."""
    if pair.transform == "transpose":
        return np.ascontiguousarray(value.T)
    if pair.transform == "pointwise":
        return value.reshape(value.shape[:2])
    if pair.part is not None:
        index, count = pair.part
        return np.split(value, count)[index]
    return value


def normalise_diffusers_names(state: State) -> dict[str, np.ndarray]:
    """The state under current names, without what is legitimately ignored.

    The first text encoder's `text_model.` prefix goes, the second's is added where it lacks; the autoencoder's older
    attention names (`query`, `proj_attn`) become the current ones, and its 1x1 weights become matrices.
    """
    return dict(_current(name, value) for name, value in state.items() if not name.endswith(ABSENT_SUFFIXES))


def _current(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    component, _, path = name.partition(".")
    if component == "text_encoder":
        return f"{component}.{path.removeprefix('text_model.')}", value
    if component == "text_encoder_2" and not path.startswith(("text_model.", "text_projection.")):
        return f"{component}.text_model.{path}", value
    if component == "vae" and ".attentions." in name:
        for old, new in _OLD_ATTENTION.items():
            name = name.replace(old, new)
        if value.ndim == 4 and value.shape[2:] == (1, 1):  # noqa: PLR2004
            value = value.reshape(value.shape[:2])
    return name, value


def _require_names(state: State, expected: Iterable[str], what: str) -> None:
    wanted = set(expected)
    missing = sorted(wanted - state.keys())
    unexpected = sorted(name for name in state.keys() - wanted if not name.endswith(ABSENT_SUFFIXES))
    problems = [f"missing {name}" for name in missing] + [f"unexpected {name}" for name in unexpected]
    if problems:
        raise WeightsError(f"{what}: {len(problems)} names do not fit the configuration:\n  " + "\n  ".join(problems))


def load(model: nn.Cell, state: State, config: SDXLConfig) -> None:
    """Give every parameter of an `SDXLModel` its value from a MindSpore checkpoint's state.

    Values are rounded to the parameter's type. Arrays already of that type are not copied: the model then shares
    memory with the state.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape; each is named, and nothing is loaded.
    """
    cells = {pair.checkpoint: pair.cell for pair in parameter_pairs(config)}
    parameters = dict(model.parameters_and_names())
    problems = [f"unexpected {name}" for name in state if name not in cells and not name.endswith(ABSENT_SUFFIXES)]
    for name, cell in cells.items():
        if name not in state:
            problems.append(f"missing {name} {parameters[cell].shape}")
        elif tuple(state[name].shape) != tuple(parameters[cell].shape):
            problems.append(f"shape of {name}: file {tuple(state[name].shape)}, model {parameters[cell].shape}")
    problems += [f"never loaded {cell}" for cell in sorted(parameters.keys() - set(cells.values()))]
    if problems:
        raise WeightsError(f"{len(problems)} tensors do not fit the model:\n  " + "\n  ".join(sorted(problems)))
    for name, cell in cells.items():
        parameters[cell].set_data(_tensor(state[name], parameters[cell]))


def _tensor(value: np.ndarray, parameter: Parameter) -> Tensor:
    import mindspore  # noqa: PLC0415  the conversions work without the framework

    from mindone_sdxl.layers import numpy_type  # noqa: PLC0415

    array = np.asarray(value, numpy_type(parameter.dtype), order="C")
    if not array.flags.writeable:
        array = array.copy()
    tensor = mindspore.Tensor.from_numpy(array)
    return tensor if tensor.dtype == parameter.dtype else tensor.astype(parameter.dtype)
