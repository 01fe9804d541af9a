"""What recording costs a forward pass, and how much of what is recorded is stored: `python benchmarks/recorder_cost.py`.

Every module's inputs and outputs are recorded, as `parity record` does by default, of the tiny UNet, of a UNet with
SDXL's structure at a fifth of its width, and of single blocks at SDXL's own width. A pass without hooks and one
with them take turns, each in float32, and medians are printed: seconds of the bare pass, of the pass with hooks, and
until everything is written and synced; in brackets CPU seconds of all threads. `--runs N` (5), `--folder DIR`.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel

from parity.frameworks.torch_ import Snapshots, watched
from parity.taps import Taps
from parity.trace import Manifest, TraceWriter
from torch_refs.tiny import TINY, build

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

TOKENS = 77


class Subject(NamedTuple):
    """A module and how to call it."""

    name: str
    module: nn.Module
    call: Callable[[], object]


class Cost(NamedTuple):
    """Seconds and CPU seconds of a pass, and until all is written; tensors, bytes recorded and stored."""

    wall_s: float
    cpu_s: float
    end_s: float = 0.0
    end_cpu_s: float = 0.0
    tensors: int = 0
    recorded: int = 0
    stored: int = 0


def unet(name: str, model: UNet2DConditionModel, height: int, width: int) -> Subject:
    """Return a UNet with its inputs, batch 2."""
    configuration = model.config
    pooled = configuration.projection_class_embeddings_input_dim - 6 * configuration.addition_time_embed_dim
    latents = torch.randn(2, 4, height, width)
    context = torch.randn(2, TOKENS, configuration.cross_attention_dim)
    more = {"text_embeds": torch.randn(2, pooled), "time_ids": torch.rand(2, 6) * 1024}
    return Subject(name, model, lambda: model(latents, 501, encoder_hidden_states=context, added_cond_kwargs=more))


def narrow_sdxl() -> UNet2DConditionModel:
    """Return SDXL's UNet with 64, 128 and 256 channels instead of 320, 640 and 1280."""
    return UNet2DConditionModel(
        sample_size=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 128, 256),
        layers_per_block=2,
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(4, 8, 16),
        cross_attention_dim=256,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=6 * 32 + 128,
    )


def subjects(folder: Path) -> list[Subject]:
    """Return everything that is measured."""
    build(folder / "tiny", TINY)
    tiny = UNet2DConditionModel.from_pretrained(folder / "tiny" / "unet")
    block = BasicTransformerBlock(1280, 20, 64, cross_attention_dim=2048, activation_fn="geglu")
    tokens, context = torch.randn(2, 1024, 1280), torch.randn(2, TOKENS, 2048)
    resnet = ResnetBlock2D(in_channels=640, out_channels=640, temb_channels=1280)
    image, time_embedding = torch.randn(2, 640, 64, 64), torch.randn(2, 1280)
    transformer = Transformer2DModel(
        10, 64, in_channels=640, num_layers=2, cross_attention_dim=2048, use_linear_projection=True
    )
    return [
        unet("tiny UNet, latents 16 x 12", tiny, 16, 12),
        unet("SDXL's UNet at a fifth of its width, 32 x 32", narrow_sdxl(), 32, 32),
        Subject("transformer block, 1280, 1024 tokens", block, lambda: block(tokens, encoder_hidden_states=context)),
        Subject("residual block, 640, 64 x 64", resnet, lambda: resnet(image, time_embedding)),
        Subject(
            "spatial transformer, 640, 2 blocks, 64 x 64",
            transformer,
            lambda: transformer(image, encoder_hidden_states=context),
        ),
    ]


def bare(subject: Subject) -> Cost:
    """Call without hooks."""
    wall, cpu = time.perf_counter(), time.process_time()
    subject.call()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def recorded(subject: Subject, folder: Path) -> Cost:
    """Call with every module recorded."""
    writer = TraceWriter(folder, Manifest(side="reference", name="cost", case={}, case_digest=""))
    paths = {f"unet.{path}" if path else "unet": module for path, module in subject.module.named_modules()}
    wall, cpu = time.perf_counter(), time.process_time()
    with writer.run("float32", mode="run", dtype="float32") as run:
        taps = Taps(run)
        taps.step = 0
        with watched(paths, taps, Snapshots()):
            subject.call()
        called, called_cpu = time.perf_counter() - wall, time.process_time() - cpu
    end, end_cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Cost(called, called_cpu, end, end_cpu, run.info.records, run.info.bytes_recorded, run.info.bytes_stored)


def medians(costs: list[Cost]) -> Cost:
    """Return the medians of several runs."""
    return Cost(*(median(numbers) for numbers in zip(*costs, strict=True)))


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="recorder_cost_", dir=arguments.folder))
    try:
        print("| what | bare s | with hooks s | written s | records | MB recorded | MB stored | stored |")
        print("|---|---|---|---|---|---|---|---|")
        for subject in subjects(folder):
            bare(subject)
            without, costs = [], []
            for number in range(arguments.runs):
                without.append(bare(subject))
                costs.append(recorded(subject, folder / str(number)))
                shutil.rmtree(folder / str(number))
            print(line(subject.name, medians(without), medians(costs)), flush=True)
    finally:
        shutil.rmtree(folder)


def line(name: str, without: Cost, found: Cost) -> str:
    """Return a row of the table."""
    return (
        f"| {name} | {without.wall_s:.3f} ({without.cpu_s:.2f}) | {found.wall_s:.3f} ({found.cpu_s:.2f}) "
        f"| {found.end_s:.3f} ({found.end_cpu_s:.2f}) | {found.tensors:.0f} | {found.recorded / 1e6:.1f} "
        f"| {found.stored / 1e6:.1f} | {found.stored / found.recorded:.0%} |"
    )


if __name__ == "__main__":
    main()
