"""How far SDXL's own blocks are off in mindone_sdxl in float32: against the same blocks of diffusers in float64.

    python benchmarks/candidate_precision.py

Random weights, batch 2, latents 32 x 32; the text encoders whole but for their vocabulary (16 GB of memory). Of each
block the largest difference relative to the largest value, and beside it that of torch in float32. The goals are 3e-6
for the UNet and 2e-6 for the text encoders.
"""

from __future__ import annotations

import copy
import os
import sys
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mindspore
import numpy as np
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from mindone_sdxl.attention import TransformerBlock
from mindone_sdxl.config import TextEncoderConfig
from mindone_sdxl.text_encoders import CLIPText, OpenCLIPText
from mindone_sdxl.unet import ResBlock

if TYPE_CHECKING:
    from collections.abc import Callable

CONTEXT, EMBEDDING = 2048, 1280
RESNETS = {(320, 320, 32), (960, 320, 32), (640, 640, 16), (1280, 1280, 8), (2560, 1280, 8)}
BLOCKS = {(640, 256), (1280, 64)}
TEXTS = ((768, 12, 12, "quick_gelu"), (1280, 20, 32, "gelu"))
RESNET_NAMES = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip


OPEN_CLIP_NAMES = {
    "text_model.": "", "embeddings.": "", "position_embedding": "positional_embedding", "layer_norm": "ln_",
    "encoder.layers": "transformer.resblocks", "self_attn": "attn", "fc1": "c_fc", "fc2": "c_proj",
    "final_ln_": "ln_final",
}  # fmt: skip


def open_clip(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a text encoder's weights under OpenCLIP's names, queries, keys and values in one matrix."""
    found: dict[str, torch.Tensor] = {}
    for name, value in module.state_dict().items():
        for before, after in OPEN_CLIP_NAMES.items():
            name = name.replace(before, after)  # noqa: PLW2901 - the same weight
        found[name] = value
    for name in [name for name in found if ".q_proj." in name]:
        parts = [found.pop(name.replace("q_proj", f"{each}_proj")) for each in "qkv"]
        found[name.replace("q_proj", "in_proj")] = torch.cat(parts)
    return found


def load(cell: Any, state: dict[str, torch.Tensor], rename: Callable[[str], str] = str) -> None:
    """Give a cell the weights of a module."""
    parameters = dict(cell.parameters_and_names())
    for name, value in state.items():
        if "position_ids" in name or name.startswith("text_projection"):
            continue
        path, _, kind = rename(name).rpartition(".")
        choices = [f"{path}.{kind}", f"{path}.{'gamma' if kind == 'weight' else 'beta'}", f"{path}.embedding_table"]
        parameters[next(choice for choice in choices if choice in parameters)].set_data(
            mindspore.Tensor(value.float().numpy())
        )


def show(name: str, module: torch.nn.Module, call: Callable[[Any], Any], ours: np.ndarray) -> None:
    """Print one line: both sides' distance from float64."""
    with torch.no_grad():
        single = call(copy.deepcopy(module)).numpy()
        exact = call(module.double()).numpy()
    scale = np.abs(exact).max()
    own, theirs = (np.abs(value - exact).max() / scale for value in (ours, single))
    sys.stdout.write(f"{name:<32} {own:.1e}   torch {theirs:.1e}\n")


def main() -> None:
    """Measure every block."""
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE, pynative_synchronize=True, device_target="CPU")
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    kind = mindspore.float32

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    def tensors(*values: torch.Tensor) -> list[Any]:
        return [mindspore.Tensor(value.numpy()) for value in values]

    for before, after, side in sorted(RESNETS):
        module = ResnetBlock2D(in_channels=before, out_channels=after, temb_channels=EMBEDDING, eps=1e-5).eval()
        cell = ResBlock(before, after, EMBEDDING, num_groups=32, norm_eps=1e-5, dtype=kind)
        load(
            cell,
            module.state_dict(),
            lambda name: ".".join((RESNET_NAMES[name.partition(".")[0]], name.partition(".")[2])),
        )
        x, time = draw(2, before, side, side), draw(2, EMBEDDING)
        ours = cell(*tensors(x, time)).asnumpy()
        show(
            f"resnet {before} to {after}, {side} x {side}", module,
            lambda m, x=x, time=time: m(x.to(m.conv1.weight.dtype), time.to(m.conv1.weight.dtype)), ours,
        )  # fmt: skip
    for size, tokens in sorted(BLOCKS):
        module = BasicTransformerBlock(size, size // 64, 64, cross_attention_dim=CONTEXT).eval()
        cell = TransformerBlock(size, CONTEXT, size // 64, dtype=kind)
        load(cell, module.state_dict())
        x, context = draw(2, tokens, size), draw(2, 77, CONTEXT)
        ours = cell(*tensors(x, context)).asnumpy()
        show(
            f"transformer block {size}, {tokens} tokens", module,
            lambda m, x=x, c=context: m(x.to(m.norm1.weight.dtype), encoder_hidden_states=c.to(m.norm1.weight.dtype)),
            ours,
        )  # fmt: skip
    for size, heads, layers, activation in TEXTS:
        _text(size, heads, layers, activation, generator)


def _text(size: int, heads: int, layers: int, activation: Any, generator: torch.Generator) -> None:
    shape = {"hidden_size": size, "intermediate_size": 4 * size}
    config = CLIPTextConfig(
        **shape, num_hidden_layers=layers, num_attention_heads=heads, hidden_act=activation, projection_dim=size,
        vocab_size=1000, eos_token_id=2, bos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    module = CLIPTextModelWithProjection(config).eval()
    kind: Any = "clip" if size == TEXTS[0][0] else "open_clip"
    own = TextEncoderConfig(kind=kind, **shape, layers=layers, heads=heads, activation=activation, vocabulary_size=1000)
    cell = (CLIPText if kind == "clip" else OpenCLIPText)(own, dtype=mindspore.float32)
    if kind == "clip":
        load(cell, module.state_dict(), lambda name: name.removeprefix("text_model."))
    else:
        load(cell, open_clip(module))
    ids = torch.randint(3, 1000, (2, 77), generator=generator)
    ours = cell(mindspore.Tensor(ids.numpy().astype(np.int32)))[0].asnumpy()
    name = f"{kind}, {size} wide, {layers} layers"
    show(name, module, lambda m: m(ids, output_hidden_states=True).hidden_states[-2], ours)


if __name__ == "__main__":
    main()
