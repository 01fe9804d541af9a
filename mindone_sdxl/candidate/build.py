"""From a request to a loaded system: the weights converted where no checkpoint is given, a planted fault built in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import mindspore as ms
from parity.adapters.plants import Plant
from parity.errors import WeightsError
from parity.frameworks import mindspore_

from mindone_sdxl import files
from mindone_sdxl.candidate import read_config
from mindone_sdxl.candidate.parameters import convert_once
from mindone_sdxl.candidate.system import PortSystem
from mindone_sdxl.config_yaml import from_yaml
from mindone_sdxl.errors import SDXLError
from mindone_sdxl.models import tokenizers
from mindone_sdxl.pipeline import StableDiffusionXL
from mindone_sdxl.tokenizer import CLIPTokenizer, pad_token_of

if TYPE_CHECKING:
    from pathlib import Path

    from parity.replay import Request

__all__ = ["build"]


def build(request: Request) -> PortSystem:
    """Convert the weights when no checkpoint is given, load them, and build in a planted fault if there is one.

    Raises:
        WeightsError: the checkpoint does not fit the model.
    """
    mindspore_.start(request.device)
    plant = Plant.of(request.plant)
    checkpoint = request.weights or request.folder / "weights.ckpt"
    try:
        config = read_config(request)
        if not request.weights:
            convert_once(checkpoint, request, config, plant)
        pipeline = StableDiffusionXL(config, getattr(ms, request.dtype), tokenizers=_tokenizers(request))
        pipeline.load(files.read(checkpoint))
    except SDXLError as error:
        message = f"{checkpoint}: {error}"
        raise WeightsError(message) from error
    plant.model(pipeline.model)
    return PortSystem(pipeline, request)


def _tokenizers(request: Request) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """Return the tokenizers of a diffusers folder, or those of a single file, whose second one is OpenCLIP's."""
    if request.config is None:
        return _tokenizer(request.model / "tokenizer"), _tokenizer(request.model / "tokenizer_2")
    path = str(request.config)
    options = SimpleNamespace(tokenizer_path="", config=path, pad_token_is_special=False)
    return tokenizers(options, path, from_yaml(path))


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """Return the tokenizer of a folder."""
    return CLIPTokenizer(folder, pad_token=pad_token_of(folder))
