"""The alignment of PyPI's mindone with diffusers: nearly the identity; imports no framework.

mindone.diffusers keeps diffusers' module tree, so every path of the reference is its own native path. Two things
differ. transformers 5 has no `text_model` in a text encoder without projection, mindone has. And where the reference
names the parts of an output, mindone returns a tuple: a row's `take` says which part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from parity.trace.schema import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["FUNCTIONS", "native_of", "path_of", "rows"]

FUNCTIONS: Final = (
    "tokenizer", "tokenizer_2", "encode_prompt", "add_time_ids", "scheduler.set_timesteps", "prepare_latents",
    "scheduler.scale_model_input", "guidance", "scheduler.step", "vae.decode", "vae.encode", "postprocess",
)  # fmt: skip

# class of a module -> the reference's output port, and the part of mindone's output that it is; others give one tensor
_PORTS: Final[dict[str, dict[str, str]]] = {
    "ModuleList": {},
    "AutoencoderKL": {},
    "CLIPAttention": {"output.0": "0"},
    "Transformer2DModel": {"output.0": "0"},
    "UNet2DConditionModel": {"output.0": "0"},
    "CLIPEncoder": {"output.last_hidden_state": "0"},
    "CLIPEncoderLayer": {"output": "0"},
}
_TEXT_MODELS: Final = {
    "CLIPTextModel": {"output.last_hidden_state": "0", "output.pooler_output": "1"},
    "CLIPTextModelWithProjection": {"output.text_embeds": "0", "output.last_hidden_state": "1"},
}
_DOWN_BLOCKS: Final = frozenset({"DownBlock2D", "CrossAttnDownBlock2D"})
_KINDS: Final = {"SiLU": "silu", "GELUActivation": "gelu", "QuickGELUActivation": "quick_gelu"}
_INNER: Final = "text_encoder.text_model"


def native_of(path: str, modules: Mapping[str, str]) -> str:
    """Return mindone's path of a module.

    >>> native_of("text_encoder.encoder.layers.0", {"text_encoder.encoder": "CLIPEncoder"})
    'text_encoder.text_model.encoder.layers.0'
    """
    shallow = _INNER not in modules and path.startswith("text_encoder.")
    return path.replace("text_encoder", _INNER, 1) if shallow else path


def path_of(native: str, modules: Mapping[str, str]) -> str:
    """Return the reference's path of a cell of mindone."""
    shallow = _INNER not in modules and native.startswith(f"{_INNER}.")
    return native.replace(_INNER, "text_encoder", 1) if shallow else native


def rows(modules: Mapping[str, str], *, guided: bool) -> list[Row]:
    """Return the whole table for the reference's modules (path -> class); without guidance there is no such function."""
    found: list[Row] = []
    for path, kind in modules.items():
        found.extend(_of_module(path, kind, modules))
    for name in FUNCTIONS:
        if guided or name != "guidance":
            width = "integer-width" if name.startswith("tokenizer") else None
            found.append(Row(path=name, native=name, function=True, output=width))
    return found


def _of_module(path: str, kind: str, modules: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows of one module: a row for each output that the reference records."""
    native = native_of(path, modules)
    for port, take in _ports(path, kind, modules).items():
        yield Row(path=path, native=native, port=port, take=take, kind=_KINDS.get(kind))


def _ports(path: str, kind: str, modules: Mapping[str, str]) -> dict[str, str]:
    """Return the reference's output ports of a module, each with mindone's part of the output."""
    if kind in _TEXT_MODELS:
        layers = _count(f"{path}.", "CLIPEncoderLayer", modules)
        return _TEXT_MODELS[kind] | {f"output.hidden_states.{index}": f"2.{index}" for index in range(layers + 1)}
    if kind in _DOWN_BLOCKS:
        states = sum(_numbered(f"{path}.{part}.", modules) for part in ("resnets", "downsamplers"))
        return {"output.0": "0"} | {f"output.1.{index}": f"1.{index}" for index in range(states)}
    return _PORTS.get(kind, {"output": ""})


def _count(prefix: str, kind: str, modules: Mapping[str, str]) -> int:
    """Return how many modules of a class are below a path."""
    return sum(each == kind and name.startswith(prefix) for name, each in modules.items())


def _numbered(prefix: str, modules: Mapping[str, str]) -> int:
    """Return how many modules are numbered after a prefix."""
    below = [name.removeprefix(prefix) for name in modules if name.startswith(prefix)]
    return sum(name.isdigit() for name in below)
