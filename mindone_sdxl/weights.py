"""Weights between diffusers' names and layouts and the MindSpore checkpoint's, and into a model.

Both directions are pure numpy and follow `names.parameter_table`. Four things change: names; the second text
encoder's projection is a transposed matrix; its q, k and v are stacked; the autoencoder's linear attention becomes
1x1 convolutions. Values and types are kept, so that a round trip is bit-identical.

`load` is strict: whatever is missing, unexpected or of the wrong shape is named in one error and nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mindone_sdxl.arrays import Array
from mindone_sdxl.errors import WeightsError
from mindone_sdxl.names import ParameterEntry, parameter_table

if TYPE_CHECKING:
    from mindspore import Parameter, Tensor, nn

    from mindone_sdxl.config import SDXLConfig

__all__ = [
    "ABSENT_SUFFIXES",
    "diffusers_to_mindspore",
    "load",
    "mindspore_to_diffusers",
    "mindspore_to_stability",
    "normalise_diffusers_names",
    "stability_to_mindspore",
]

State = Mapping[str, Array]

# In some files, and of no use: position ids are a range, the logit scale belongs to contrastive training.
ABSENT_SUFFIXES = ("position_ids", "logit_scale")
# Stability's file also carries the noise levels, which follow from the configuration.
_STABILITY_ABSENT = (*ABSENT_SUFFIXES, "denoiser.sigmas", "denoiser.log_sigmas")
_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def _entries(config: SDXLConfig, components: Collection[str] | None) -> list[ParameterEntry]:
    """The rows of some components ("unet", "vae", ...), or of all."""
    entries = parameter_table(config)
    if components is None:
        return list(entries)
    return [entry for entry in entries if entry.diffusers.partition(".")[0] in components]


def diffusers_to_mindspore(
    state: State, config: SDXLConfig, *, components: Collection[str] | None = None
) -> dict[str, Array]:
    """A diffusers state, names starting with the component, as a MindSpore checkpoint's state.

    Args:
        components: those that the state has ("unet", "vae", "text_encoder", "text_encoder_2"); None for all.

    Raises:
        WeightsError: names are missing or unexpected.
    """
    state = normalise_diffusers_names(state)
    entries = _entries(config, components)
    _require_names(state, [entry.diffusers for entry in entries], "diffusers weights")
    converted: dict[str, Array] = {}
    parts: dict[str, list[Array]] = {}
    for entry in entries:
        value = state[entry.diffusers]
        if entry.transform == "transpose":
            converted[entry.checkpoint] = np.ascontiguousarray(value.T)
        elif entry.transform == "pointwise":
            converted[entry.checkpoint] = value.reshape(*value.shape[:2], 1, 1)
        elif entry.transform == "part":
            parts.setdefault(entry.checkpoint, []).append(value)
        else:
            converted[entry.checkpoint] = value
    for name, values in parts.items():
        if len({value.shape for value in values} | {value.dtype for value in values}) > 2:
            message = f"{name}: q, k and v differ: {[(value.shape, str(value.dtype)) for value in values]}"
            raise WeightsError(message)
        converted[name] = np.concatenate(values)
    return converted


def mindspore_to_diffusers(state: State, config: SDXLConfig) -> dict[str, Array]:
    """The inverse of `diffusers_to_mindspore`; names start with the component.

    Raises:
        WeightsError: names are missing or unexpected.
    """
    entries = parameter_table(config)
    _require_names(state, [entry.checkpoint for entry in entries], "MindSpore weights")
    return {entry.diffusers: to_diffusers(state[entry.checkpoint], entry) for entry in entries}


def to_diffusers(value: Array, entry: ParameterEntry) -> Array:
    """One parameter of a MindSpore checkpoint in diffusers' layout."""
    if entry.transform == "transpose":
        return np.ascontiguousarray(value.T)
    if entry.transform == "pointwise":
        return value.reshape(value.shape[:2])
    if entry.part is not None:
        index, count = entry.part
        return np.split(value, count)[index]
    return value


def stability_to_mindspore(state: State, config: SDXLConfig) -> dict[str, Array]:
    """The state of Stability's single file as a MindSpore checkpoint's: only names change.

    Raises:
        WeightsError: names are missing or unexpected.
    """
    state = {name: value for name, value in state.items() if not name.endswith(_STABILITY_ABSENT)}
    names = {entry.stability: entry.checkpoint for entry in parameter_table(config)}
    _require_names(state, names, "single-file weights")
    return {checkpoint: state[name] for name, checkpoint in names.items()}


def mindspore_to_stability(state: State, config: SDXLConfig) -> dict[str, Array]:
    """The inverse of `stability_to_mindspore`.

    Raises:
        WeightsError: names are missing or unexpected.
    """
    names = {entry.checkpoint: entry.stability for entry in parameter_table(config)}
    _require_names(state, names, "MindSpore weights")
    return {stability: state[name] for name, stability in names.items()}


def normalise_diffusers_names(state: State) -> dict[str, Array]:
    """The state under current names, without what is legitimately ignored.

    The first text encoder's `text_model.` prefix goes, the second's is added where it lacks; the autoencoder's older
    attention names (`query`, `proj_attn`) become the current ones, and its 1x1 weights become matrices.
    """
    return dict(_current(name, value) for name, value in state.items() if not name.endswith(ABSENT_SUFFIXES))


def _current(name: str, value: Array) -> tuple[str, Array]:
    component, _, path = name.partition(".")
    if component == "text_encoder":
        return f"{component}.{path.removeprefix('text_model.')}", value
    if component == "text_encoder_2" and not path.startswith(("text_model.", "text_projection.")):
        return f"{component}.text_model.{path}", value
    if component == "vae" and ".attentions." in name:
        for old, new in _OLD_ATTENTION.items():
            name = name.replace(old, new)
        if value.ndim == 4 and value.shape[2:] == (1, 1):
            value = value.reshape(value.shape[:2])
    return name, value


def _require_names(state: State, expected: Iterable[str], what: str) -> None:
    wanted = set(expected)
    missing = sorted(wanted - state.keys())
    unexpected = sorted(name for name in state.keys() - wanted if not name.endswith(ABSENT_SUFFIXES))
    problems = [f"missing {name}" for name in missing] + [f"unexpected {name}" for name in unexpected]
    if problems:
        raise WeightsError(f"{what}: {len(problems)} names do not fit the configuration:\n  " + "\n  ".join(problems))


def load(model: nn.Cell, state: State, config: SDXLConfig, *, components: Collection[str] | None = None) -> None:
    """Give every parameter of an `SDXLModel` its value from a MindSpore checkpoint's state.

    Values are rounded to the parameter's type. Arrays already of that type are not copied: the model then shares
    memory with the state, and with the file where the state is a mapped one.

    Args:
        components: those to load ("unet", "vae", "text_encoder", "text_encoder_2"), the state being theirs alone;
            None for all.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape; each is named, and nothing is loaded.
    """
    cells = {entry.checkpoint: entry.cell for entry in _entries(config, components)}
    others = {entry.cell for entry in parameter_table(config)} - set(cells.values())
    parameters = dict(model.parameters_and_names())
    problems = [f"unexpected {name}" for name in state if name not in cells and not name.endswith(ABSENT_SUFFIXES)]
    for name, cell in cells.items():
        if name not in state:
            problems.append(f"missing {name} {parameters[cell].shape}")
        elif tuple(state[name].shape) != tuple(parameters[cell].shape):
            problems.append(f"shape of {name}: file {tuple(state[name].shape)}, model {parameters[cell].shape}")
    problems += [f"never loaded {cell}" for cell in sorted(parameters.keys() - set(cells.values()) - others)]
    if problems:
        raise WeightsError(f"{len(problems)} tensors do not fit the model:\n  " + "\n  ".join(sorted(problems)))
    for name, cell in cells.items():
        parameters[cell].set_data(_tensor(state[name], parameters[cell]))


def _tensor(value: Array, parameter: Parameter) -> Tensor:
    import mindspore

    from mindone_sdxl.layers import numpy_type

    array = np.asarray(value, numpy_type(parameter.dtype), order="C")
    if not array.flags.writeable:
        array = array.copy()
    tensor = mindspore.Tensor.from_numpy(array)
    return tensor if tensor.dtype == parameter.dtype else tensor.astype(parameter.dtype)
