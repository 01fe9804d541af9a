"""The alignment of this port with diffusers, derived from the table in `names`; imports no framework.

`names.module_table` says which cell does the work of which module. Here each entry becomes a row: the order in which
the reference's inputs go into the cell, the platform's kind of operator, and, where the cell itself does not take the
module's inputs, the function of `system` that replays it. Roots, blocks of several cells, and functions that are no
module are added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
    found.extend(_text_roots("text_encoder", TEXT, config.text_encoder.layers, f"{TEXT}.embeddings"))
    found.extend(_text_roots("text_encoder_2", TEXT_2, config.text_encoder_2.layers, None))
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
    number = 1
    for level in range(config.level_count):
        last = level + 1 == config.level_count
        count = config.resnets_per_level + (not last)
        natives = [f"{UNET}.input_blocks.{number + index}" for index in range(count)]
        path, number = f"unet.down_blocks.{level}", number + count
        yield Row(path=path, native=natives[-1], port="output.0", replay="down_block")
        for index, native in enumerate(natives):
            yield Row(path=path, native=native, port=f"output.1.{index}", replay="down_block")
    for up in range(config.level_count):
        number = (up + 1) * (config.resnets_per_level + 1) - 1
        yield Row(path=f"unet.up_blocks.{up}", native=f"{UNET}.output_blocks.{number}", replay="up_block")


def _numbered_blocks(config: UNetConfig) -> Iterator[Row]:
    """Yield the rows of the original's own blocks, which diffusers does not have."""
    per_level = config.resnets_per_level + 1
    for side in ("input_blocks", "output_blocks"):
        for index in range(config.level_count * per_level):
            path = f"{side}.{index}"
            yield Row(path=f"unet.{path}", native=f"{UNET}.{path}", ports=_PORTS["mid_block"])


def _text_roots(component: str, native: str, layers: int, embeddings: str | None) -> Iterator[Row]:
    """Yield the rows of a text encoder as a whole, and of its stack of layers.

    The second encoder's inner model is a module of its own in diffusers (`text_model`); its pooled output before the
    projection is the projection's input here.
    """
    second = component == "text_encoder_2"
    inner = f"{component}.text_model" if second else component
    stack = f"{native}.transformer" if second else f"{native}.encoder"
    layer = f"{stack}.resblocks" if second else f"{stack}.layers"

    def whole(path: str, port: str, cell: str, take: str = "") -> Row:
        return Row(path=path, port=f"output.{port}", native=cell, take=take, replay="text_encoder")

    for path in dict.fromkeys((inner, component)):
        yield whole(path, "last_hidden_state", native, "1")
        # The input of the first layer is the sum of the embeddings, which is no cell of its own in OpenCLIP.
        yield whole(path, "hidden_states.0", embeddings or f"{layer}.0", "" if embeddings else "input.0")
        for index in range(layers):
            yield whole(path, f"hidden_states.{index + 1}", f"{layer}.{index}")
    if second:
        yield whole(inner, "pooler_output", f"{native}.text_projection", "input.0")
        yield whole(component, "text_embeds", native, "2")
        yield Row(path=f"{inner}.embeddings", native=f"{layer}.0", take="input.0", replay="embeddings")
    else:
        yield whole(inner, "pooler_output", native, "2")
    yield Row(path=f"{inner}.encoder", native=stack, take="1", port="output.last_hidden_state", replay="stack")
