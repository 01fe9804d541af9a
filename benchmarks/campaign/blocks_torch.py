"""One block of SDXL's UNet by itself, in diffusers' own classes and widths, as a reference: random weights, drawn inputs.

The folder of the model holds `block.json` (`kind`, `channels`, sizes); the weights are drawn from the case's seed when the
block is recorded first, and written beside it for the candidate.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel

from parity.adapters.torch_ import ModuleReference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from parity.case import Case, Resolved

HEAD, CONTEXT, EMBEDDING = 64, 2048, 1280


class Block:
    """The block with what its inputs are drawn from."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Make the block and draw its weights."""
        self.known = json.loads((folder / "block.json").read_text(encoding="utf-8"))
        self.generator = torch.Generator().manual_seed(seed)
        channels = self.known["channels"]
        if self.known["kind"] == "transformer":
            self.module: Any = Transformer2DModel(
                channels // HEAD, HEAD, channels, cross_attention_dim=CONTEXT, use_linear_projection=True,
            )  # fmt: skip
        else:
            self.module = ResnetBlock2D(in_channels=channels, out_channels=2 * channels, temb_channels=EMBEDDING)
        self._fill()
        np.savez(folder / "weights.npz", **{name: value.numpy() for name, value in self.module.state_dict().items()})

    @torch.no_grad()
    def _fill(self) -> None:
        """Draw every parameter: gains about one, biases, matrices that keep the size of their input."""
        for name, parameter in self.module.named_parameters():
            drawn = torch.randn(parameter.shape, generator=self.generator)
            if parameter.ndim == 1:
                drawn = 0.1 * drawn + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
            else:
                drawn *= parameter[0].numel() ** -0.5
            if name.endswith("to_q.weight"):
                drawn *= self.known["sharpness"]
            parameter.copy_(drawn)

    def inputs(self) -> dict[str, torch.Tensor]:
        """Draw an image, and the context or the embedding of the timestep."""
        known = self.known
        shapes = {"x": (known["batch"], known["channels"], known["height"], known["width"])}
        if known["kind"] == "transformer":
            shapes["context"] = (known["batch"], known["tokens"], CONTEXT)
        else:
            shapes["embedding"] = (known["batch"], EMBEDDING)
        return {name: known["scale"] * torch.randn(shape, generator=self.generator) for name, shape in shapes.items()}


class BlockReference(ModuleReference):
    """A block as a program of one part."""

    name = "block"

    def pipeline(self, resolved: Resolved) -> Block:
        """Make the block of a case."""
        self.block = Block(resolved.model_path, resolved.case.sampling.seed)
        return self.block

    def parts(self, pipeline: Block) -> Mapping[str, torch.nn.Module]:
        """Return the block."""
        return {"unet": pipeline.module}

    def inputs(self, case: Case) -> Mapping[str, Any]:
        """Draw the inputs."""
        del case
        return self.block.inputs()

    def run(self, pipeline: Block, **inputs: Any) -> Any:
        """Run the block."""
        if pipeline.known["kind"] == "transformer":
            return pipeline.module(inputs["x"], inputs["context"], return_dict=False)[0]
        return pipeline.module(inputs["x"], inputs["embedding"])


reference = BlockReference()
