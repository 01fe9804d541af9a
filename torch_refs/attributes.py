"""The attributes of modules that decide numerics, under names that both sides use.

A candidate reports the same names for the same paths, so that an audit can compare what no weight shows: an
epsilon, an activation, a padding. One table maps classes to readers; a class that is not in it has nothing
to report.

    >>> import torch
    >>> attributes_of(torch.nn.GroupNorm(32, 64, eps=1e-6))
    {'num_groups': 32, 'eps': 1e-06}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffusers.models import activations, downsampling, embeddings, upsampling
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from transformers import activations as text_activations
from transformers.models.clip.modeling_clip import CLIPAttention, CLIPTextModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["attributes_of", "pipeline_attributes"]


def _convolution(module: Any) -> dict[str, Any]:
    """Return how a convolution moves over its input."""
    return {name: list(getattr(module, name)) for name in ("stride", "padding", "dilation")} | {"groups": module.groups}


def _attention(module: Any) -> dict[str, Any]:
    """Return heads, their size and the factor on the scores."""
    return {"heads": module.heads, "head_dim": module.inner_dim // module.heads, "scale": float(module.scale)}


def _downsampler(module: Any) -> dict[str, Any]:
    """Return the padding that a downsampler adds by itself: left, right, top, bottom."""
    return {"pad": [0, 1, 0, 1] if module.use_conv and module.padding == 0 else [0, 0, 0, 0], "pad_value": 0.0}


_READERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    nn.GroupNorm: lambda module: {"num_groups": module.num_groups, "eps": module.eps},
    nn.LayerNorm: lambda module: {"eps": module.eps},
    nn.Conv2d: _convolution,
    nn.SiLU: lambda _: {"activation": "silu"},
    nn.GELU: lambda module: {"activation": "gelu", "approximate": module.approximate},
    Attention: _attention,
    CLIPAttention: lambda module: {
        "heads": module.num_heads,
        "head_dim": module.head_dim,
        "scale": float(module.scale),
    },
    CLIPTextModel: lambda module: {"eos_token_id": module.eos_token_id},
    ResnetBlock2D: lambda module: {"output_scale_factor": float(module.output_scale_factor)},
    activations.GEGLU: lambda _: {"activation": "gelu", "approximate": "none"},
    activations.GELU: lambda module: {"activation": "gelu", "approximate": module.approximate},
    text_activations.QuickGELUActivation: lambda _: {"activation": "quick_gelu"},
    text_activations.GELUActivation: lambda _: {"activation": "gelu", "approximate": "none"},
    text_activations.NewGELUActivation: lambda _: {"activation": "gelu", "approximate": "tanh"},
    text_activations.GELUTanh: lambda _: {"activation": "gelu", "approximate": "tanh"},
    upsampling.Upsample2D: lambda _: {"mode": "nearest"},
    downsampling.Downsample2D: _downsampler,
    embeddings.Timesteps: lambda module: {
        "flip_sin_to_cos": module.flip_sin_to_cos,
        "downscale_freq_shift": float(module.downscale_freq_shift),
        "scale": float(module.scale),
    },
}


def attributes_of(module: nn.Module) -> dict[str, Any]:
    """Return the attributes of one module, by canonical name."""
    reader = next((_READERS[kind] for kind in type(module).__mro__ if kind in _READERS), None)
    return {} if reader is None else reader(module)


def pipeline_attributes(
    pipeline: Any, modules: Mapping[str, nn.Module], scheduler: Mapping[str, Any], guidance: float
) -> dict[str, dict[str, Any]]:
    """Return path -> attributes of all modules, the scheduler's as given, the scaling of latents and the guidance."""
    found = {path: attributes_of(module) for path, module in modules.items()}
    found["scheduler"] = dict(scheduler)
    found["vae"] = found.get("vae", {}) | {"scaling_factor": pipeline.vae.config.scaling_factor}
    found["guidance"] = {"guidance_scale": guidance}
    return {path: values for path, values in found.items() if values}
