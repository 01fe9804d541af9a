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
_CONTAINERS: Final = frozenset({"ModuleList", "AutoencoderKL"})
_FIRST: Final = frozenset({"CLIPAttention", "Transformer2DModel", "UNet2DConditionModel"})
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
    found = [
        row for path, kind in modules.items() if kind not in _CONTAINERS for row in _of_module(path, kind, modules)
    ]
    integers = {"tokenizer", "tokenizer_2"}
    found.extend(
        Row(path=name, native=name, function=True, output="integer-width" if name in integers else None)
        for name in FUNCTIONS
        if guided or name != "guidance"
    )
    return found


def _of_module(path: str, kind: str, modules: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows of one module: a row for each output that the reference records."""
    native = native_of(path, modules)
    for port, take in _ports(path, kind, modules):
        yield Row(path=path, native=native, port=port, take=take, kind=_KINDS.get(kind))


def _ports(path: str, kind: str, modules: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (the reference's output port, mindone's part of the output)."""
    if kind.startswith("CLIPTextModel"):
        projected = kind == "CLIPTextModelWithProjection"
        names = ("text_embeds", "last_hidden_state") if projected else ("last_hidden_state", "pooler_output")
        yield from ((f"output.{name}", str(place)) for place, name in enumerate(names))
        yield from ((f"output.hidden_states.{index}", f"2.{index}") for index in range(_layers(path, modules) + 1))
    elif kind == "CLIPEncoder":
        yield "output.last_hidden_state", "0"
    elif kind == "CLIPEncoderLayer":
        yield "output", "0"
    elif kind in _FIRST:
        yield "output.0", "0"
    elif kind in {"DownBlock2D", "CrossAttnDownBlock2D"}:
        yield "output.0", "0"
        states = _count(f"{path}.resnets.", modules) + _count(f"{path}.downsamplers.", modules)
        yield from ((f"output.1.{index}", f"1.{index}") for index in range(states))
    else:
        yield "output", ""


def _layers(path: str, modules: Mapping[str, str]) -> int:
    """Return how many layers the text encoder at a path has."""
    return sum(kind == "CLIPEncoderLayer" and name.startswith(f"{path}.") for name, kind in modules.items())


def _count(prefix: str, modules: Mapping[str, str]) -> int:
    """Return how many modules are numbered after a prefix."""
    return sum(name.startswith(prefix) and name.removeprefix(prefix).isdigit() for name in modules)
