"""Which module of Stability-AI's package is reported at which address, under which names and in which layout.

The entries come from `mindone_sdxl.names`, whose cells have the package's own names: `unet.conv_in` is
`model.diffusion_model.input_blocks.0.0`. The package differs from diffusers in three ways that an address must
not show:

- names of arguments: `x`, `context`, `emb` are `hidden_states`, `encoder_hidden_states`, `temb`;
- layout: OpenCLIP's layers get [tokens, batch, width]; the autoencoder's attention projects images, not tokens;
- one module of diffusers may be several here (`nonlinearity` of a residual block): their calls are counted together.

Blocks that diffusers does not have, `unet.input_blocks.N` and `unet.output_blocks.N`, are reported under the
package's own names. Of a module that diffusers has and the package has not (`vae.encoder.conv_act`,
`unet.down_blocks.0`) there is no record.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import torch

from mindone_sdxl.names import module_table
from parity.frameworks.torch_ import View
from torch_refs.attributes import attributes_of
from torch_refs.sgm.engine import CLIP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mindone_sdxl.names import ModuleEntry
    from torch_refs.sgm.engine import Engine

__all__ = ["UNET", "attributes", "to_native", "views"]

UNET: Final = "model.diffusion_model"
_BLOCK: Final = {"x": "hidden_states", "emb": "temb", "context": "encoder_hidden_states"}
_ATTENTION: Final = {
    "x": "hidden_states", "context": "encoder_hidden_states", "mask": "", "additional_tokens": "",
    "n_times_crossframe_attn_in_self": "",
}  # fmt: skip
_KEYS: Final[dict[str, dict[str, str]]] = {
    **{kind: {"x": "input"} for kind in ("group_norm", "layer_norm")},
    **{kind: {"x": "hidden_states"} for kind in ("geglu", "feed_forward", "downsample", "upsample")},
    **dict.fromkeys(("attention", "transformer_block", "spatial_transformer"), _ATTENTION),
    "resnet": {"x": "input_tensor", "emb": "temb"},
    "time_embedding": {"input": "sample"},
    "mid_block": _BLOCK,
    "encoder": {"x": "sample"},
    "decoder": {"z": "sample"},
    "unet": {"x": "sample", "timesteps": "timestep", "context": "encoder_hidden_states", "y": "vector"},
    "text_attention": {
        "query": "hidden_states", "key": "", "value": "", "key_padding_mask": "", "need_weights": "",
        "attn_mask": "attention_mask", "average_attn_weights": "", "is_causal": "",
    },
    "text_layer": {"q_x": "hidden_states", "k_x": "", "v_x": "", "attn_mask": "attention_mask"},
    "text_mlp": {"input": "hidden_states"},
}  # fmt: skip
_PORTS: Final = {"spatial_transformer": "output.0", "unet": "output.0"}
_NOT_CALLED: Final = ("identity", "down_block", "up_block", "text_encoder", "sinusoid")


def views(engine: Engine) -> list[View]:
    """Return every module that is reported, in no particular order."""
    modules = dict(engine.module.named_modules())
    found = list(_first_text_encoder(modules))
    for entry in module_table(engine.config):
        module = modules.get(engine.native(entry.native))
        if module is None or entry.diffusers.startswith("text_encoder.") or not _called(entry, module):
            continue
        found.append(
            View(
                path=entry.diffusers, module=module, native=entry.native, keys=_KEYS.get(entry.kind, {}),
                port=_PORTS.get(entry.kind, "output"), layout=_layout(entry),
            )
        )  # fmt: skip
    for index in (2, 3, 4):
        native = f"conditioner.embedders.{index}.timestep"
        found.append(View(path="unet.add_time_proj", module=modules[native], native=native, keys={"t": "timesteps"}))
    for side in ("input_blocks", "output_blocks"):
        for index, module in enumerate(getattr(modules[UNET], side)):
            native = f"{UNET}.{side}.{index}"
            found.append(View(path=f"unet.{side}.{index}", module=module, native=native, keys=_BLOCK))
    return found


def _first_text_encoder(modules: Mapping[str, torch.nn.Module]) -> Iterator[View]:
    """Yield every module of the first text encoder, which is transformers' class on both sides."""
    for name, module in modules.items():
        if name == CLIP or name.startswith(f"{CLIP}."):
            rest = name.removeprefix(CLIP).removeprefix(".text_model")
            yield View(path=f"text_encoder{rest}", module=module, native=name)


def _called(entry: ModuleEntry, module: torch.nn.Module) -> bool:
    """Tell whether the package ever calls the module; attention of OpenCLIP computes its projections by itself."""
    fused = entry.diffusers.startswith("text_encoder_2.") and entry.diffusers.endswith(".self_attn.out_proj")
    return entry.kind not in _NOT_CALLED and not fused and hasattr(type(module), "forward") and _has_forward(module)


def _has_forward(module: torch.nn.Module) -> bool:
    """Tell whether the module's class computes anything, or only holds others."""
    return type(module).forward is not torch.nn.Module.forward


def _layout(entry: ModuleEntry) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return what brings a module's tensors to the layout that they have in diffusers."""
    if ".resblocks." in entry.native:
        return _batch_first
    if entry.kind == "pointwise":
        return _tokens
    if entry.diffusers.startswith("vae.") and entry.diffusers.endswith(".attentions.0.group_norm"):
        return _flat
    return None


def _batch_first(tensor: torch.Tensor) -> torch.Tensor:
    """Return [tokens, batch, width] as [batch, tokens, width]; masks, which have two axes, as they are."""
    return tensor.transpose(0, 1) if tensor.ndim > 2 else tensor  # noqa: PLR2004 - the axes just named


def _tokens(tensor: torch.Tensor) -> torch.Tensor:
    """Return [batch, channels, height, width] as [batch, height * width, channels]."""
    return tensor.flatten(2).transpose(1, 2)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """Return [batch, channels, height, width] as [batch, channels, height * width]."""
    return tensor.flatten(2)


def to_native(view: View, inputs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that the module takes itself, from inputs by the address's keys and in its layout."""
    back = _BACK.get(view.layout)
    takes = inspect.signature(view.module.forward).parameters
    names = {key: name for name, key in view.keys.items() if key and name in takes}
    given = {
        names.get(key, key): back(value) if back is not None and isinstance(value, torch.Tensor) else value
        for key, value in inputs.items()
    }
    if isinstance(view.module, torch.nn.MultiheadAttention):
        query = given.pop("query")
        return (query, query, query), {"need_weights": False, **given}
    if isinstance(view.module, torch.nn.Sequential) and "input" in given:
        return (given.pop("input"),), given
    return (), given


def _image(tensor: torch.Tensor) -> torch.Tensor:
    """Return [batch, places, channels] as an image [batch, channels, places, 1]."""
    return tensor.transpose(1, 2)[..., None]


_BACK: Final[dict[Any, Callable[[torch.Tensor], torch.Tensor]]] = {_batch_first: _batch_first, _tokens: _image}


def attributes(engine: Engine, guidance: float) -> dict[str, dict[str, Any]]:
    """Return path -> attributes that decide numerics, under the names that the other sides use."""
    found: dict[str, dict[str, Any]] = {}
    for view in views(engine):
        values = _of_package(view.module) or attributes_of(view.module)
        if values:
            found[view.path] = values
    schedule = engine.config.schedule
    found["scheduler"] = {
        "num_train_timesteps": schedule.train_timesteps, "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end, "beta_schedule": schedule.beta_schedule, "prediction_type": schedule.prediction,
    }  # fmt: skip
    found["vae"] = {"scaling_factor": float(engine.module.scale_factor)}
    found["guidance"] = {"guidance_scale": guidance, "quantity": "noise_pred, converted from denoised"}
    return found


def _of_package(module: Any) -> dict[str, Any]:
    """Return the attributes of the package's own classes."""
    kind = type(module).__name__
    if kind == "CrossAttention":
        heads: Any = module.heads
        size = module.to_q.out_features // heads
        return {"heads": heads, "head_dim": size, "scale": float(module.scale)}
    if isinstance(module, torch.nn.MultiheadAttention):
        return {"heads": module.num_heads, "head_dim": module.head_dim, "scale": module.head_dim**-0.5}
    if kind == "GEGLU":
        return {"activation": "gelu", "approximate": "none"}
    if kind == "Timestep":
        return {"flip_sin_to_cos": True, "downscale_freq_shift": 0.0, "scale": 1.0}
    return {}
