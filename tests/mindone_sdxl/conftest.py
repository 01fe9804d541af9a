"""A tiny SDXL of the real classes, saved as a diffusers folder, and the pipelines of both frameworks read from it."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 128, 128),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (4, 8, 8),
    "transformer_layers_per_block": (1, 1, 2),
    "cross_attention_dim": 160,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96 + 6 * 32,
    "norm_num_groups": 32,
}
REFINER_UNET = UNET | {
    "block_out_channels": (32, 64, 64, 64),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (2, 4, 4, 4),
    "transformer_layers_per_block": 2,
    "cross_attention_dim": 96,
    "projection_class_embeddings_input_dim": 96 + 5 * 32,
}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (64, 64, 128, 128),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 64,
    "scaling_factor": 0.13025,
    "force_upcast": True,
}
TEXT = {"num_hidden_layers": 2, "bos_token_id": 0, "pad_token_id": 1}
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}
MERGES = ["a s", "t r", "as tr", "o n", "astr on", "c a", "ca t</w>", "i n", "in g</w>", "t h", "th e</w>"]


def vocabulary() -> dict[str, int]:
    """The alphabet of byte-level pairs in CLIP's order, its word ends, a few merges, start and end."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(rest))]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(merge.replace(" ", "") for merge in MERGES)]
    return {token: index for index, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}


def write_tokenizer(folder: Path, pad_token: str) -> None:
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary()), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]), encoding="utf-8")
    token = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "bos_token": {**token, "content": "<|startoftext|>"},
                "eos_token": {**token, "content": "<|endoftext|>"},
                "unk_token": {**token, "content": "<|endoftext|>"},
                "pad_token": pad_token,
                "model_max_length": 77,
                "tokenizer_class": "CLIPTokenizer",
                "do_lower_case": True,
            }
        ),
        encoding="utf-8",
    )


def randomise(module, generator) -> None:
    """Random norms and biases, and embeddings of CLIP's size, so that nothing hides behind ones and zeros."""
    import torch

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim == 1:
                base = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                parameter.copy_(base + 0.2 * torch.randn(parameter.shape, generator=generator))
            elif "embedding.weight" in name:
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    module.eval()


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A diffusers SDXL folder with float32 weights."""
    torch = pytest.importorskip("torch")
    from diffusers import (
        AutoencoderKL,
        EulerAncestralDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    path = tmp_path_factory.mktemp("tiny-sdxl")
    write_tokenizer(path / "source" / "1", "<|endoftext|>")
    write_tokenizer(path / "source" / "2", "!")
    torch.manual_seed(0)
    size = len(vocabulary())
    first = CLIPTextConfig(
        vocab_size=size,
        hidden_size=64,
        intermediate_size=128,
        num_attention_heads=4,
        hidden_act="quick_gelu",
        eos_token_id=2,
        **TEXT,
    )
    second = CLIPTextConfig(
        vocab_size=size,
        hidden_size=96,
        intermediate_size=192,
        num_attention_heads=6,
        hidden_act="gelu",
        eos_token_id=size - 1,
        projection_dim=96,
        **TEXT,
    )
    parts = {
        "unet": UNet2DConditionModel(**UNET),
        "vae": AutoencoderKL(**VAE),
        "text_encoder": CLIPTextModel(first),
        "text_encoder_2": CLIPTextModelWithProjection(second),
    }
    generator = torch.Generator().manual_seed(1)
    for part in parts.values():
        randomise(part, generator)
    pipeline = StableDiffusionXLPipeline(
        **parts,
        tokenizer=CLIPTokenizer.from_pretrained(path / "source" / "1"),
        tokenizer_2=CLIPTokenizer.from_pretrained(path / "source" / "2"),
        scheduler=EulerAncestralDiscreteScheduler(**SCHEDULER),
    )
    pipeline.save_pretrained(path / "model")
    return path / "model"


@pytest.fixture(scope="session")
def refiner_folder(folder, tmp_path_factory) -> Path:
    """A diffusers folder of the refiner's kind, its second text encoder and autoencoder those of the tiny model."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline, UNet2DConditionModel
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    torch.manual_seed(3)
    unet = UNet2DConditionModel(**REFINER_UNET)
    randomise(unet, torch.Generator().manual_seed(4))
    from diffusers import AutoencoderKL

    pipeline = StableDiffusionXLImg2ImgPipeline(
        unet=unet,
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2"),
        tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
        scheduler=EulerDiscreteScheduler(**SCHEDULER),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
    )
    path = tmp_path_factory.mktemp("tiny-refiner")
    pipeline.save_pretrained(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def exact_sinusoids():
    """The sinusoids of diffusers in float64, for the tests of one module and no longer."""
    import torch
    from diffusers.models import embeddings

    def exact(timesteps, embedding_dim, **_):
        half = embedding_dim // 2
        frequencies = torch.from_numpy(np.exp(-np.log(10000.0) * np.arange(half) / half))
        angles = timesteps[:, None].double() * frequencies
        return torch.cat([angles.cos(), angles.sin()], -1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "get_timestep_embedding", exact)
        yield


@pytest.fixture(scope="session")
def reference(folder):
    """The pipeline of diffusers, of the tiny model, in float64."""
    import torch
    from diffusers import StableDiffusionXLPipeline

    torch.set_num_threads(1)
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, dtype=torch.float64)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def mindspore():
    """MindSpore on CPU, synchronous."""
    module = pytest.importorskip("mindspore")
    module.set_context(mode=module.PYNATIVE_MODE, pynative_synchronize=True, device_target="CPU")
    return module


@pytest.fixture(scope="session")
def pipelines(folder, mindspore):
    """This package's pipeline of the tiny model, by type."""
    from mindone_sdxl.pipeline import StableDiffusionXL

    return {
        name: StableDiffusionXL.from_diffusers(folder, getattr(mindspore, name))
        for name in ("float64", "float32", "float16")
    }
