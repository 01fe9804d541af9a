"""The alignment of this port with diffusers, derived from the table in `names`; imports no framework.

`names.module_table` says which cell does the work of which module. Here each entry becomes a row: the order in which
the reference's inputs go into the cell, the platform's kind of operator, and, where the cell itself does not take the
module's inputs, the function of `system` that replays it. Roots, blocks of several cells, and functions that are no
module are added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import structs
from parity.trace.schema import Row

from mindone_sdxl.names import module_table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from mindone_sdxl.config import SDXLConfig, UNetConfig
    from mindone_sdxl.names import ModuleEntry

__all__ = ["FUNCTIONS", "boundaries", "not_compared", "rows"]

UNET, TEXT, TEXT_2 = (
    "model.diffusion_model",
    "conditioner.embedders.0.transformer.text_model",
    "conditioner.embedders.1.model",
)

# kind of module -> the reference's input keys in the order of the cell's arguments
_PORTS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        ("linear", "fused_linear", "projection", "pointwise", "conv", "group_norm", "layer_norm"), ("input",)
    ),
    **dict.fromkeys(("embedding", "position_embedding", "silu", "gelu", "quick_gelu"), ("input",)),
    **dict.fromkeys(("geglu", "feed_forward", "downsample", "upsample", "text_mlp"), ("hidden_states",)),
    **dict.fromkeys(
        ("attention", "transformer_block", "spatial_transformer"), ("hidden_states", "encoder_hidden_states")
    ),
    "sinusoid": ("timesteps",),
    "resnet": ("input_tensor", "temb"),
    "time_embedding": ("sample",),
    "mid_block": ("hidden_states", "temb", "encoder_hidden_states"),
    "text_embeddings": ("input_ids",),
    "encoder": ("sample",),
    "decoder": ("sample",),
    "down_block": ("hidden_states",),
    "up_block": ("hidden_states",),
}
# kind of module -> the platform's operator whose own rounding bounds it; composites have none
_OPERATORS: Final = {"silu": "silu", "gelu": "gelu", "quick_gelu": "quick_gelu"}
_OUTPUT: Final = {"text_attention": "output.0", "spatial_transformer": "output.0"}
# kinds that are replayed by a function: they need a mask, or several cells
_REPLAYED: Final = {"text_attention": "masked", "text_layer": "masked"}

# kinds that own parameters, and how often diffusers calls the activation of a residual block within an evaluation
_OWNERS: Final = (
    "linear", "fused_linear", "projection", "pointwise", "conv", "group_norm", "layer_norm", "embedding",
    "position_embedding",
)  # fmt: skip
_CALLS: Final = 3

# diffusers embeds the time ids anew in every step, this port once before the loop.
SIZES: Final = "unet.add_time_proj"

FUNCTIONS: Final = (
    SIZES, "tokenizer", "tokenizer_2", "encode_prompt", "add_time_ids", "scheduler.set_timesteps", "prepare_latents",
    "scheduler.scale_model_input", "guidance", "scheduler.step", "vae.decode", "vae.encode", "postprocess",
)  # fmt: skip


def rows(config: SDXLConfig, *, guided: bool = True, evaluations: int = 1, known: Collection[str] = ()) -> list[Row]:
    """Return the whole table for one model.

    Args:
        config: the model.
        guided: without guidance the reference has no such function.
        evaluations: how often the sampler asks the network within a step, at the most.
        known: the reference's modules; rows of others are left out. Empty: the rows for diffusers' modules.
    """
    table = _all_rows(config, guided=guided, evaluations=evaluations)
    if not known:
        return table
    return [row for row in (*table, *_numbered_blocks(config.unet)) if row.function or row.path in known]


def _all_rows(config: SDXLConfig, *, guided: bool, evaluations: int) -> list[Row]:
    """Return the rows of every module that diffusers has."""
    found: list[Row] = []
    for entry in module_table(config):
        found.extend(_of_entry(entry, evaluations))
    found.extend(_unet_blocks(config.unet))
    found.append(Row(path="unet", native=UNET, port="output.0", replay="unet"))
    found.extend(_text_encoder(config.text_encoder.layers))
    found.extend(_text_encoder_2(config.text_encoder_2.layers))
    found.extend(_functions(guided=guided))
    return found


def _functions(*, guided: bool) -> Iterator[Row]:
    """Yield the rows of what is no module; tokenizers give integers of another width than the reference's."""
    for name in FUNCTIONS:
        if guided or name != "guidance":
            width = "integer-width" if name.startswith("tokenizer") else None
            yield Row(path=name, native=name, function=True, output=width)


def boundaries(
    config: SDXLConfig, *, guided: bool = True, known: Collection[str] = ()
) -> tuple[list[Row], dict[str, str]]:
    """Return what can be seen when the networks run as graphs: the UNet and the functions, and all other paths.

    Nothing within a graph can be observed, so that what lies there has no counterpart.
    """
    table = rows(config, guided=guided, known=known)
    seen = [row for row in table if row.function or row.path == "unet"]
    paths = {row.path for row in seen}
    hidden = {row.path: "no counterpart" for row in table if row.path not in paths}
    return seen, hidden | not_compared(config, known)


def not_compared(config: SDXLConfig, known: Collection[str] = ()) -> dict[str, str]:
    """Return the reference's paths that have no row, with their reason.

    A module that owns parameters and is none of the reference's `known` modules is never called there: a projection
    that attention computes by itself, a matrix that is no module.
    """
    identities, owners = {}, {}
    for entry in module_table(config):
        if entry.kind == "identity":
            identities[entry.diffusers] = "identity"
        elif known and entry.kind in _OWNERS and entry.diffusers not in known:
            owners[entry.diffusers] = "never called"
    return identities | owners


def _of_entry(entry: ModuleEntry, evaluations: int) -> Iterator[Row]:
    """Yield the rows of one entry of the table; none for identities, roots and blocks of several cells.

    Where the reference calls one module at several places within an evaluation of the network, each call has a row.
    """
    if entry.output_only or entry.kind in {"identity", "unet"} or entry.diffusers == SIZES:
        return
    row = Row(
        path=entry.diffusers,
        port=_OUTPUT.get(entry.kind, "output"),
        native=entry.native,
        replay=_REPLAYED.get(entry.kind),
        kind=_OPERATORS.get(entry.kind),
        ports=_PORTS.get(entry.kind, ()),
        output=None if entry.part is None else "slice:{}/{}".format(*entry.part),
    )
    if entry.call is None:
        yield row
        return
    for evaluation in range(evaluations):
        yield structs.replace(row, call=entry.call + _CALLS * evaluation, native_call=evaluation)


def _unet_blocks(config: UNetConfig) -> Iterator[Row]:
    """Yield the rows of down and up blocks, each of which is several numbered cells here."""
    for level in range(config.level_count):
        yield from _down_block(config, level)
    for level in range(config.level_count):
        last = (level + 1) * _per_level(config) - 1
        yield Row(path=f"unet.up_blocks.{level}", native=f"{UNET}.output_blocks.{last}", replay="up_block")


def _down_block(config: UNetConfig, level: int) -> Iterator[Row]:
    """Yield the rows of a down block: what its last cell gives, and the state behind each of its cells."""
    first = 1 + level * _per_level(config)
    count = _per_level(config) - (level + 1 == config.level_count)  # the last level has no downsampling

    def row(number: int, port: str) -> Row:
        native = f"{UNET}.input_blocks.{first + number}"
        return Row(path=f"unet.down_blocks.{level}", native=native, port=port, replay="down_block")

    yield row(count - 1, "output.0")
    for number in range(count):
        yield row(number, f"output.1.{number}")


def _per_level(config: UNetConfig) -> int:
    """Return how many numbered cells a level has, its resampling included."""
    return config.resnets_per_level + 1


def _numbered_blocks(config: UNetConfig) -> Iterator[Row]:
    """Yield the rows of the original's own blocks, which diffusers does not have."""
    for side in ("input_blocks", "output_blocks"):
        for index in range(config.level_count * _per_level(config)):
            path = f"{side}.{index}"
            yield Row(path=f"unet.{path}", native=f"{UNET}.{path}", ports=_PORTS["mid_block"])


class _Encoder(NamedTuple):
    """Where a text encoder has its parts.

    Attributes:
        path, inner: The reference's module as a whole, and the one that holds the stack of layers.
        native, stack, layers: The cells of the same, and the path under which its layers are numbered.
        embedded, take: The cell that has the sum of the embeddings, and which of its parts that is.
    """

    path: str
    inner: str
    native: str
    stack: str
    layers: str
    embedded: str
    take: str


_FIRST: Final = _Encoder(
    path="text_encoder", inner="text_encoder", native=TEXT, stack=f"{TEXT}.encoder", layers=f"{TEXT}.encoder.layers",
    embedded=f"{TEXT}.embeddings", take="",
)  # fmt: skip
# OpenCLIP adds its embeddings up without a cell: what its first layer is given is their sum.
_SECOND: Final = _Encoder(
    path="text_encoder_2", inner="text_encoder_2.text_model", native=TEXT_2, stack=f"{TEXT_2}.transformer",
    layers=f"{TEXT_2}.transformer.resblocks", embedded=f"{TEXT_2}.transformer.resblocks.0", take="input.0",
)  # fmt: skip


def _text_encoder(layers: int) -> Iterator[Row]:
    """Yield the rows of the first text encoder as a whole, and of its stack of layers."""
    yield from _states(_FIRST, _FIRST.path, layers)
    yield _whole(_FIRST.path, "pooler_output", TEXT, "2")
    yield _stack(_FIRST)


def _text_encoder_2(layers: int) -> Iterator[Row]:
    """Yield the rows of the second: its inner model is a module of its own in diffusers (`text_model`).

    The pooled output before the projection is the projection's input here.
    """
    for path in (_SECOND.inner, _SECOND.path):
        yield from _states(_SECOND, path, layers)
    yield _whole(_SECOND.inner, "pooler_output", f"{TEXT_2}.text_projection", "input.0")
    yield _whole(_SECOND.path, "text_embeds", TEXT_2, "2")
    embeddings = f"{_SECOND.inner}.embeddings"
    yield Row(path=embeddings, native=_SECOND.embedded, take=_SECOND.take, replay="embeddings")
    yield _stack(_SECOND)


def _states(encoder: _Encoder, path: str, layers: int) -> Iterator[Row]:
    """Yield the rows of a text encoder's last state, and of the states before and behind each layer."""
    yield _whole(path, "last_hidden_state", encoder.native, "1")
    yield _whole(path, "hidden_states.0", encoder.embedded, encoder.take)
    for index in range(layers):
        yield _whole(path, f"hidden_states.{index + 1}", f"{encoder.layers}.{index}")


def _whole(path: str, port: str, native: str, take: str = "") -> Row:
    """Return a row of what a text encoder gives when it is run as a whole."""
    return Row(path=path, port=f"output.{port}", native=native, take=take, replay="text_encoder")


def _stack(encoder: _Encoder) -> Row:
    """Return the row of an encoder's stack of layers."""
    path, port = f"{encoder.inner}.encoder", "output.last_hidden_state"
    return Row(path=path, native=encoder.stack, take="1", port=port, replay="stack")
