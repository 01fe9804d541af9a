"""The alignment of the original with diffusers, imports no framework.

`mindone_sdxl` keeps the original's names, so its table is this one's beginning; what follows is where the original
computes without a cell of its own:

* VAE activations and the UNet's sinusoid are functions. What they return is what the next cell takes: a row with
  `take="input.0"` reads it there, and in mode layers the function itself is called.
* The VAE's levels and middle are containers; the last cell inside gives their output.
* OpenCLIP's layers are sequence first, its query, key and value one matrix product inside the attention, its position
  embedding and its projection parameters: where no value of theirs can be seen, the reason is `no counterpart`, and
  the parameter is audited all the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mindone_sdxl.candidate.rows import FUNCTIONS, SIZES, TEXT, TEXT_2, UNET
from mindone_sdxl.candidate.rows import not_compared as port_not_compared
from mindone_sdxl.candidate.rows import rows as port_rows
from mindone_sdxl.names import module_table, parameter_table
from parity.trace.schema import Row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from mindone_sdxl.config import SDXLConfig, VAEConfig

__all__ = ["EMBEDDER_2", "NUMBERED", "POOLED", "VAE", "levels", "not_compared", "rows"]

VAE: Final = "first_stage_model"
EMBEDDER_2: Final = "conditioner.embedders.1"
NUMBERED: Final = "unet.input_blocks.0"  # a module of references that are built as Stability-AI's package is
POOLED: Final = "text_encoder_2.pooled"
_HIDDEN: Final = re.compile(
    r"text_encoder_2\.text_model\.(encoder\.layers\.\d+\.self_attn\.[qkv]_proj|embeddings\.position_embedding)"
)
_ACTIVATION: Final = re.compile(r"vae\..*\.nonlinearity|vae\.\w+\.conv_act")
_ROOTS: Final = r"text_encoder(_2)?(\.text_model)?(\.encoder|\.embeddings)?"
_LEVEL: Final = r"vae\.(encoder\.down_blocks|decoder\.up_blocks)\.\d+|vae\.\w+\.mid_block"
_OTHERWISE: Final = re.compile(f"{_ROOTS}|{_HIDDEN.pattern}|{_ACTIVATION.pattern}|{_LEVEL}")
_VAE_ATTENTION: Final = r"vae\.\w+\.mid_block\.attentions\.0"

# What is otherwise than in the port's table: the paths, and the fields of their rows.
_ADAPTED: Final[tuple[tuple[re.Pattern[str], dict[str, Any]], ...]] = (
    (
        re.compile(r"scheduler\.scale_model_input"),
        {"native": UNET, "take": "input.0", "replay": "scheduler.scale_model_input", "function": False},
    ),
    (re.compile(r"unet\.time_proj"), {"native": f"{UNET}.time_embed.0", "take": "input.0", "replay": "sinusoid"}),
    (re.compile(r"text_encoder_2\.text_projection"), {"native": EMBEDDER_2, "take": "1", "replay": "projection"}),
    (re.compile(r"text_encoder_2\.text_model\.encoder\.layers\..*"), {"output": "sequence-first"}),
    (re.compile(r"text_encoder\.encoder\.layers\.\d+(\.self_attn)?"), {"take": "0"}),
    (re.compile(rf"{_VAE_ATTENTION}\.group_norm"), {"output": "reshape"}),
    (re.compile(rf"{_VAE_ATTENTION}\.(to_[qkv]|to_out\.0)"), {"output": "nchw-to-tokens"}),
)


def rows(config: SDXLConfig, *, guided: bool = True, known: Collection[str] = ()) -> list[Row]:
    """Return the whole table for one model.

    Args:
        config: The model.
        guided: Without guidance the reference has no such function.
        known: The reference's modules; rows of others are left out. Empty: those of diffusers.
    """
    table = _all_rows(config, guided=guided)
    if NUMBERED in known:
        table = [row for row in table if row.path != SIZES] + [*_numbered(config), *_sizes(guided=guided)]
    return [row for row in table if row.path in FUNCTIONS or not known or row.path in known]


def _all_rows(config: SDXLConfig, *, guided: bool) -> list[Row]:
    """Return the rows of diffusers' modules and of the functions."""
    found = [_adapted(row) for row in port_rows(config, guided=guided) if _OTHERWISE.fullmatch(row.path) is None]
    found.extend(_activations(config))
    found.extend(Row(path=path, native=cells[-1], replay="vae_level") for path, cells in levels(config.vae).items())
    found.extend(_clip(config.text_encoder.layers))
    found.extend(_open_clip(config.text_encoder_2.layers))
    return found


def not_compared(config: SDXLConfig, known: Collection[str] = ()) -> dict[str, str]:
    """Return the reference's paths that have no row, with their reason.

    A parameter whose owner is none of the `known` modules belongs to something that the reference computes by itself.
    """
    hidden = {entry.diffusers: "no counterpart" for entry in module_table(config) if _HIDDEN.fullmatch(entry.diffusers)}
    owners = {entry.diffusers.rpartition(".")[0] for entry in parameter_table(config)} if known else set()
    return port_not_compared(config) | dict.fromkeys(owners.difference(known), "never called") | hidden


def _numbered(config: SDXLConfig) -> Iterator[Row]:
    """Yield the UNet's blocks as Stability-AI numbers them, and the original with it."""
    ports = ("hidden_states", "temb", "encoder_hidden_states")
    for side in ("input_blocks", "output_blocks"):
        for index in range(config.unet.level_count * (config.unet.resnets_per_level + 1)):
            yield Row(path=f"unet.{side}.{index}", native=f"{UNET}.{side}.{index}", ports=ports)


def _sizes(*, guided: bool) -> Iterator[Row]:
    """Yield the sinusoids of the sizes, which each of three embedders makes once for each text."""
    for call in range(6 if guided else 3):
        native = f"conditioner.embedders.{2 + call % 3}.timestep"
        yield Row(path=SIZES, native=native, call=call, native_call=call // 3, replay=SIZES)


def _adapted(row: Row) -> Row:
    """Return a row of the port's table as it is in the original."""
    for paths, change in _ADAPTED:
        if paths.fullmatch(row.path):
            return msgspec.structs.replace(row, **change)
    return row


def _activations(config: SDXLConfig) -> Iterator[Row]:
    """Yield the VAE's activations, seen at the convolutions that take them."""
    for entry in module_table(config):
        if _ACTIVATION.fullmatch(entry.diffusers):
            block, _, name = entry.native.rpartition(".")
            row = Row(
                path=entry.diffusers, native=f"{block}.conv_out", take="input.0", replay="vae_activation", kind="silu",
                ports=("input",),
            )  # fmt: skip
            yield from [row] if name == "conv_act" else _twice(row, block)


def _twice(row: Row, block: str) -> Iterator[Row]:
    """Yield the rows of the activation of a residual block, which is called before each of its convolutions."""
    for call, convolution in enumerate(("conv1", "conv2")):
        yield msgspec.structs.replace(row, native=f"{block}.{convolution}", call=call, native_call=0)


def levels(config: VAEConfig) -> dict[str, list[str]]:
    """Return the cells, in order, of each of the VAE's levels and middles, which are no calls of one cell."""
    found: dict[str, list[str]] = {}
    count, last = config.resnets_per_level, len(config.channels) - 1
    for index in range(last + 1):
        down, up = f"{VAE}.encoder.down.{index}", f"{VAE}.decoder.up.{last - index}"
        found[f"vae.encoder.down_blocks.{index}"] = _blocks(down, count)
        found[f"vae.decoder.up_blocks.{index}"] = _blocks(up, count + 1)
        if index < last:
            found[f"vae.encoder.down_blocks.{index}"].append(f"{down}.downsample")
            found[f"vae.decoder.up_blocks.{index}"].append(f"{up}.upsample")
    for part in ("encoder", "decoder"):
        middle = f"{VAE}.{part}.mid"
        found[f"vae.{part}.mid_block"] = [f"{middle}.block_1", f"{middle}.attn_1", f"{middle}.block_2"]
    return found


def _blocks(level: str, count: int) -> list[str]:
    """Return the residual blocks of a level."""
    return [f"{level}.block.{number}" for number in range(count)]


def _clip(layers: int) -> Iterator[Row]:
    """Yield the first text encoder as a whole: the cell returns last state, pooled state and all hidden states."""

    def whole(port_name: str, take: str) -> Row:
        return Row(path="text_encoder", port=f"output.{port_name}", native=TEXT, take=take, replay="text_encoder")

    yield whole("last_hidden_state", "0")
    for index in range(layers + 1):
        yield whole(f"hidden_states.{index}", f"2.{index}")
    yield whole("pooler_output", "1")
    yield Row(path="text_encoder.embeddings", native=f"{TEXT}.embeddings", ports=("input_ids",))
    yield Row(
        path="text_encoder.encoder", native=f"{TEXT}.encoder", take="0", port="output.last_hidden_state", replay="stack"
    )


def _open_clip(layers: int) -> Iterator[Row]:
    """Yield the second text encoder as a whole, whose parts the embedder calls one by one."""
    inner, blocks = "text_encoder_2.text_model", f"{TEXT_2}.transformer.resblocks"

    def whole(path: str, port_name: str, native: str, take: str = "", output: str | None = None) -> Row:
        return Row(
            path=path, port=f"output.{port_name}", native=native, take=take, replay="text_encoder", output=output
        )

    for path in (inner, "text_encoder_2"):
        yield whole(path, "last_hidden_state", f"{TEXT_2}.ln_final")
        yield whole(path, "hidden_states.0", f"{blocks}.0", "input.0", "sequence-first")
        for index in range(layers):
            yield whole(path, f"hidden_states.{index + 1}", f"{blocks}.{index}", output="sequence-first")
    yield Row(path=inner, port="output.pooler_output", native=POOLED, function=True)
    yield whole("text_encoder_2", "text_embeds", EMBEDDER_2, "1")
    yield Row(
        path=f"{inner}.embeddings", native=f"{blocks}.0", take="input.0", replay="embeddings", output="sequence-first"
    )
    yield Row(
        path=f"{inner}.encoder", native=f"{blocks}.{layers - 1}", port="output.last_hidden_state", replay="stack_2",
        output="sequence-first",
    )  # fmt: skip
