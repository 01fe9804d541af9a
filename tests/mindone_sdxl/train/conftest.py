"""A UNet small enough for gradients in float64, of both frameworks and with the same weights; and photographs."""

from __future__ import annotations

import csv
from typing import NamedTuple

import numpy as np
import pytest

from mindone_sdxl.config import SDXLConfig, TextEncoderConfig, UNetConfig

CONFIG = SDXLConfig(
    unet=UNetConfig(
        channels=(32, 64),
        resnets_per_level=1,
        transformer_layers=(0, 1),
        mid_transformer_layers=1,
        heads=(2, 4),
        context_size=16,
        vector_size=8 + 6 * 8,
        size_embedding_size=8,
        num_groups=8,
    ),
    text_encoder=TextEncoderConfig(kind="clip", hidden_size=8, heads=2, layers=2, intermediate_size=16),
    text_encoder_2=TextEncoderConfig(
        kind="open_clip", hidden_size=8, heads=2, layers=2, intermediate_size=16, activation="gelu", projection_size=8
    ),
)
DIFFUSERS = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (2, 4),
    "transformer_layers_per_block": 1,
    "cross_attention_dim": 16,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": CONFIG.unet.vector_size,
    "norm_num_groups": 8,
}


class Batch(NamedTuple):
    """What both sides are given, float64."""

    latents: np.ndarray
    noise: np.ndarray
    timesteps: np.ndarray
    context: np.ndarray
    pooled: np.ndarray
    sizes: np.ndarray

    @property
    def vector(self) -> np.ndarray:
        """The pooled embedding, then the sinusoids of the sizes."""
        width = CONFIG.unet.size_embedding_size
        half = width // 2
        angles = self.sizes[..., None] * np.exp(-np.log(10000.0) * np.arange(half) / half)
        return np.concatenate(
            (self.pooled, np.concatenate((np.cos(angles), np.sin(angles)), axis=-1).reshape(len(angles), -1)), axis=1
        )


def batch(seed: int) -> Batch:
    random = np.random.default_rng(seed)
    return Batch(
        latents=random.standard_normal((2, 4, 8, 8)),
        noise=random.standard_normal((2, 4, 8, 8)),
        timesteps=random.integers(0, 1000, 2),
        context=random.standard_normal((2, 5, 16)),
        pooled=random.standard_normal((2, 8)),
        sizes=np.array([[90.0, 80.0, 3.0, 0.0, 64.0, 64.0], [64.0, 70.0, 0.0, 5.0, 64.0, 64.0]]),
    )


@pytest.fixture(scope="session")
def torch_unet():
    """Makes diffusers' UNet in float64, always with the same weights."""
    torch = pytest.importorskip("torch")
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    first = UNet2DConditionModel(**DIFFUSERS).double()
    with torch.no_grad():
        for parameter in filter(lambda each: each.ndim == 1, first.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    state = {name: value.clone() for name, value in first.state_dict().items()}

    def make():
        unet = UNet2DConditionModel(**DIFFUSERS).double()
        unet.load_state_dict(state)
        return unet

    return make


@pytest.fixture(scope="session")
def state(torch_unet):
    """The same weights under the port's names."""
    from mindone_sdxl.weights import diffusers_to_mindspore

    weights = {f"unet.{name}": value.numpy() for name, value in torch_unet().state_dict().items()}
    return diffusers_to_mindspore(weights, CONFIG, components=("unet",))


@pytest.fixture
def unet(state, mindspore):
    """Makes the port's UNet with these weights, in some type."""
    from mindone_sdxl.model import SDXLModel
    from mindone_sdxl.weights import load

    def make(dtype=mindspore.float64, change=id):
        model = SDXLModel(CONFIG, dtype=dtype)
        change(model.unet)
        load(model, state, CONFIG, components=("unet",))
        return model.unet

    return make


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """A folder of three pictures of different shapes, with a table."""
    image = pytest.importorskip("PIL.Image", reason="needs the extra [mindspore]")
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    rows = []
    for index, size in enumerate(((90, 80), (64, 100), (70, 70))):
        coarse = image.fromarray(random.integers(0, 255, (6, 7, 3)).astype(np.uint8))
        coarse.resize(size, image.Resampling.BICUBIC).save(folder / f"{index}.png")
        rows.append((f"{index}.png", f"a cat, number {index}"))
    write_table(folder / "table.csv", rows)
    return folder


def write_table(path, rows, columns=("dir", "text")) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
