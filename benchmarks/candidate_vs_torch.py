"""How long SDXL's own blocks and its whole UNet take in mindone_sdxl and in torch: same weights, same inputs, one run.

    python benchmarks/candidate_vs_torch.py [--folder DIR] [--mindspore PYTHON] [--repeat N] [--rounds M]
        [--part blocks|unet|exact] [--by-products]

Random weights of the full UNet (2.57 billion parameters, 10.3 GB in float32) are written once to DIR, in diffusers'
names. torch and mindspore then work in turns, each in processes of its own, M times, which load the file and call blocks
by themselves or the whole UNet: once without counting, then at least N times and for a second. The fastest call of all
counts; the last column has the ratio of each round by itself. MindSpore's computing threads are bound to cores, as
`StableDiffusionXL.load` does it. `--mindspore` names the interpreter of another environment, to time another version;
with `--by-products` its convolutions unfold and multiply, as they do by themselves where the kernel is slow (MindSpore
2.9 and 2.10 on some processors). Inputs are float32, batch 2, latents 32 x 32.

The part `exact` calls diffusers' whole UNet once more in float64, each layer widened while it computes, and holds the
last outputs of both sides' part `unet` against it.

Memory is the peak of the process's resident size, in which mapped pages of the file count.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
FILE = "unet.safetensors"
SIDES, PARTS = ("torch", "mindspore"), ("blocks", "unet", "exact")
BATCH, LATENT, TOKENS, CONTEXT, EMBEDDING = 2, 32, 77, 2048, 1280
TIME_IDS = (1024, 768, 16, 8, 1024, 1024)
UNET = {
    "sample_size": 128,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": CONTEXT,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
# Blocks by diffusers' name: what it is given, and the shape of its input without the batch.
BLOCKS: dict[str, tuple[str, tuple[int, ...]]] = {
    "down_blocks.0.resnets.1": ("resnet", (320, 32, 32)),
    "down_blocks.1.resnets.1": ("resnet", (640, 16, 16)),
    "down_blocks.2.resnets.1": ("resnet", (1280, 8, 8)),
    "up_blocks.0.resnets.0": ("resnet", (2560, 8, 8)),
    "up_blocks.2.resnets.0": ("resnet", (960, 32, 32)),
    "down_blocks.1.attentions.1.transformer_blocks.0": ("transformer_block", (256, 640)),
    "down_blocks.2.attentions.1.transformer_blocks.0": ("transformer_block", (64, 1280)),
    "down_blocks.1.attentions.1": ("spatial_transformer", (640, 16, 16)),
    "down_blocks.2.attentions.1": ("spatial_transformer", (1280, 8, 8)),
    "down_blocks.0.downsamplers.0": ("resampler", (320, 32, 32)),
    "down_blocks.1.downsamplers.0": ("resampler", (640, 16, 16)),
    "up_blocks.0.upsamplers.0": ("resampler", (1280, 8, 8)),
    "up_blocks.1.upsamplers.0": ("resampler", (640, 16, 16)),
    "down_blocks.1": ("down", (320, 16, 16)),
    "down_blocks.2": ("down", (640, 8, 8)),
    "mid_block": ("mid", (1280, 8, 8)),
    "up_blocks.0": ("up", (1280, 8, 8)),
}


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of unit variance that depend on the name alone."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return generator.standard_normal(shape, dtype=np.float32)


def write_weights(path: Path) -> None:
    """Random weights of the UNet as a safetensors file, written from a pool of a few million numbers."""
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        model = UNet2DConditionModel(**UNET)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pool = draw("pool", (1 << 24,))
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            values = np.resize(np.roll(pool[: 1 << 22], zlib.crc32(name.encode())), int(np.prod(shape)))
            if len(shape) > 1:
                values *= np.float32(1 / np.sqrt(np.prod(shape[1:])))
            else:
                values = values * np.float32(0.1) + np.float32("norm" in name and name.endswith("weight"))
            values.tofile(file)
    partial.rename(path)


def fastest(call: Callable[[], np.ndarray], repeat: int) -> tuple[float, np.ndarray]:
    """Seconds of the fastest of at least some calls and a second of them, and what the last one gave."""
    seconds: list[float] = []
    while len(seconds) < repeat or sum(seconds) < 1:
        start = time.perf_counter()
        output = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), output


def measure(side: Any, folder: Path, part: str, repeat: int, number: int) -> None:
    """One side's times, memory and outputs of one part in one round, written to the folder."""
    start = time.perf_counter()
    side.load(folder / FILE)
    result: dict[str, Any] = {"version": side.version, "load_s": time.perf_counter() - start, "seconds": {}}
    calls = {"unet": side.unet}
    if part == "blocks":
        calls = {name: side.block(name, kind, draw(name, (BATCH, *shape))) for name, (kind, shape) in BLOCKS.items()}
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        result["first_call_s"] = time.perf_counter() - start
        result["peak_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result["seconds"][name], output = fastest(call, repeat)
        np.save(folder / f"{side.name}.{name}.npy", output)
    (folder / f"{side.name}.{part}.{number}.json").write_text(json.dumps(result))


def skips(up: int) -> list[np.ndarray]:
    """What the down path would hand to an up block, in the order in which it was made."""
    shapes = {0: [(640, 8, 8), (1280, 8, 8), (1280, 8, 8)]}[up]
    return [draw(f"skip {up} {index}", (BATCH, *shape)) for index, shape in enumerate(shapes)]


class Torch:
    """diffusers' UNet."""

    name = "torch"

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(os.cpu_count() or 1)
        torch.set_grad_enabled(mode=False)
        self.torch, self.version = torch, f"torch {torch.__version__}"
        self.narrow: dict[Any, Any] = {}

    def load(self, path: Path) -> None:
        """Map the file's tensors into the model."""
        from diffusers import UNet2DConditionModel
        from safetensors.torch import load_file

        with self.torch.device("meta"):
            self.model = UNet2DConditionModel(**UNET).eval()
        self.model.load_state_dict(load_file(path), assign=True)

    def _draw(self, name: str, *shape: int) -> Any:
        return self.torch.from_numpy(draw(name, shape))

    def unet(self) -> np.ndarray:
        """One call."""
        ids = self.torch.tensor([TIME_IDS] * BATCH, dtype=self.torch.float32)
        added = {"text_embeds": self._draw("pooled", BATCH, EMBEDDING), "time_ids": ids}
        x, context = self._draw("x", BATCH, 4, LATENT, LATENT), self._draw("context", BATCH, TOKENS, CONTEXT)
        return self.model(x, 500, context, added_cond_kwargs=added, return_dict=False)[0].numpy()

    def exact(self, folder: Path) -> None:
        """Write what the whole UNet gives in float64."""
        from diffusers.models.embeddings import Timesteps

        from torch_refs.diffusers.schedule import timestep_embedding

        self.load(folder / FILE)
        for module in self.model.modules():
            if isinstance(module, Timesteps):
                module.forward = partial(timestep_embedding, module=module)  # computes in float32 whatever it is given
            elif next(module.parameters(recurse=False), None) is not None:
                module.register_forward_pre_hook(self._widen)
                module.register_forward_hook(self._narrow)
        ids = self.torch.tensor([TIME_IDS] * BATCH, dtype=self.torch.float64)
        added = {"text_embeds": self._draw("pooled", BATCH, EMBEDDING).double(), "time_ids": ids}
        x, context = self._draw("x", BATCH, 4, LATENT, LATENT), self._draw("context", BATCH, TOKENS, CONTEXT)
        output = self.model(x.double(), 500, context.double(), added_cond_kwargs=added, return_dict=False)[0]
        np.save(folder / "exact.unet.npy", output.numpy())

    def _widen(self, layer: Any, _: Any) -> None:
        """Compute with wide weights; the mapped ones are kept."""
        for parameter in layer.parameters(recurse=False):
            self.narrow[parameter] = parameter.data
            parameter.data = parameter.data.double()

    def _narrow(self, layer: Any, *_: Any) -> None:
        for parameter in layer.parameters(recurse=False):
            parameter.data = self.narrow.pop(parameter)

    def block(self, name: str, kind: str, x: np.ndarray) -> Callable[[], np.ndarray]:
        """A call of one block."""
        module, x = self.model.get_submodule(name), self.torch.from_numpy(x)
        embedding = self._draw("embedding", BATCH, EMBEDDING)
        context = self._draw("context", BATCH, TOKENS, CONTEXT)
        if kind == "up":
            held = tuple(self.torch.from_numpy(value) for value in skips(int(name[-1])))
            return lambda: module(x, held, embedding, encoder_hidden_states=context).numpy()
        calls = {
            "resnet": lambda: module(x, embedding),
            "transformer_block": lambda: module(x, encoder_hidden_states=context),
            "spatial_transformer": lambda: module(x, context, return_dict=False)[0],
            "resampler": lambda: module(x),
            "down": lambda: module(x, embedding, encoder_hidden_states=context)[0],
            "mid": lambda: module(x, embedding, encoder_hidden_states=context),
        }
        return lambda: calls[kind]().numpy()


class MindSpore:
    """mindone_sdxl's UNet."""

    name = "mindspore"

    def __init__(self, *, by_products: bool = False) -> None:
        import mindspore

        from mindone_sdxl import layers

        if by_products:
            layers.convolution_is_slow = lambda: True
        mindspore.set_context(mode=mindspore.PYNATIVE_MODE, pynative_synchronize=True, device_target="CPU")
        self.mindspore, self.version = mindspore, f"mindspore {mindspore.__version__}"

    def load(self, path: Path) -> None:
        """Map the file's tensors into the model."""
        from mindone_sdxl.config import SDXLConfig
        from mindone_sdxl.cpu import prepare
        from mindone_sdxl.files import read
        from mindone_sdxl.model import SDXLModel
        from mindone_sdxl.names import module_table
        from mindone_sdxl.weights import diffusers_to_mindspore, load

        config = SDXLConfig()
        model = SDXLModel(config)
        state = {f"unet.{name}": value for name, value in read(path).items()}
        load(model, diffusers_to_mindspore(state, config, components=("unet",)), config, components=("unet",))
        prepare()
        self.model = model.unet
        cells = {name: cell for name, cell in model.cells_and_names() if name}
        self.cells = {
            entry.diffusers.removeprefix("unet."): cells[entry.native]
            for entry in module_table(config)
            if entry.diffusers.startswith("unet.") and entry.native in cells
        }

    def _draw(self, name: str, *shape: int) -> Any:
        return self.mindspore.Tensor(draw(name, shape))

    def unet(self) -> np.ndarray:
        """One call."""
        from mindspore import ops

        from mindone_sdxl.layers import Sinusoid

        ids = self.mindspore.Tensor(np.array([TIME_IDS] * BATCH, np.float32))
        sizes = Sinusoid(256, dtype=self.mindspore.float32)(ids.reshape(-1)).reshape(BATCH, -1)
        vector = ops.cat((self._draw("pooled", BATCH, EMBEDDING), sizes), axis=1)
        timesteps = self.mindspore.Tensor(np.full(BATCH, 500, np.float32))
        x, context = self._draw("x", BATCH, 4, LATENT, LATENT), self._draw("context", BATCH, TOKENS, CONTEXT)
        return self.model(x, timesteps, context, vector).asnumpy()

    def block(self, name: str, kind: str, x: np.ndarray) -> Callable[[], np.ndarray]:
        """A call of one block; those of a level are the stages that make it up."""
        from mindspore import ops

        x = self.mindspore.Tensor(x)
        embedding = self._draw("embedding", BATCH, EMBEDDING)
        context = self._draw("context", BATCH, TOKENS, CONTEXT)
        inputs = self.model.input_blocks
        stages = {
            "down_blocks.1": inputs[4:7],
            "down_blocks.2": inputs[7:9],
            "up_blocks.0": self.model.output_blocks[:3],
        }
        held = [self.mindspore.Tensor(value) for value in skips(0)]

        def level(current: Any) -> Any:
            waiting = list(held)
            for stage in stages[name]:
                current = ops.cat((current, waiting.pop()), axis=1) if kind == "up" else current
                current = stage(current, embedding, context)
            return current

        cell = self.cells[name]
        calls = {
            "resnet": lambda: cell(x, embedding),
            "transformer_block": lambda: cell(x, context),
            "spatial_transformer": lambda: cell(x, context),
            "resampler": lambda: cell(x),
            "mid": lambda: cell(x, embedding, context),
        }
        call = calls.get(kind, lambda: level(x))
        return lambda: call().asnumpy()


def read_seconds(path: Path) -> float:
    """Seconds to read a file once, as warm as the processes found it."""
    start, buffer = time.perf_counter(), bytearray(1 << 26)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - start


def rows(folder: Path, part: str, rounds: int) -> Iterator[str]:
    """The table of one part."""
    if part == "exact":
        exact = np.load(folder / "exact.unet.npy")
        for side in SIDES:
            error = np.abs(np.load(folder / f"{side}.unet.npy") - exact).max() / np.abs(exact).max()
            yield f"{side}, the UNet in float32, from float64: {error:.1e} of the largest value"
        return
    found = {
        side: [json.loads((folder / f"{side}.{part}.{number}.json").read_text()) for number in range(rounds)]
        for side in SIDES
    }
    torch, mindspore = (found[side][-1] for side in SIDES)
    yield f"{part + ', seconds':<50}{torch['version']:>17}{mindspore['version']:>18}  ratio  max rel  of each round"
    for name in torch["seconds"]:
        times = [[each["seconds"][name] for each in found[side]] for side in SIDES]
        fastest_of_torch, fastest_of_mindspore = (min(seconds) for seconds in times)
        ratios = " ".join(f"{other / seconds:.2f}" for seconds, other in zip(*times, strict=True))
        reference, output = (np.load(folder / f"{side}.{name}.npy") for side in SIDES)
        error = np.abs(output - reference).max() / np.abs(reference).max()
        ratio = fastest_of_mindspore / fastest_of_torch
        yield f"{name:<50}{fastest_of_torch:>17.4f}{fastest_of_mindspore:>18.4f}  {ratio:5.2f}  {error:.1e}  {ratios}"
    if part == "unet":
        size = (folder / FILE).stat().st_size
        for label, key in (("load", "load_s"), ("first call", "first_call_s")):
            yield f"{label:<50}{torch[key]:>17.2f}{mindspore[key]:>18.2f}"
        yield f"{'read the file of ' + format(size / 2**30, '.2f') + ' GiB':<50}{read_seconds(folder / FILE):>17.2f}"
        peaks = (side["peak_bytes"] / size for side in (torch, mindspore))
        yield f"{'peak memory / weights':<50}" + "{:>17.3f}{:>18.3f}".format(*peaks)


def main() -> None:
    """Run both sides in processes of their own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "candidate_vs_torch")
    parser.add_argument("--mindspore", default=sys.executable, help="interpreter with mindspore")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=PARTS, help="only this part")
    parser.add_argument("--by-products", action="store_true", help="take MindSpore's convolutions for slow")
    parser.add_argument("--side", choices=SIDES, help="work in this process as one side of one part")
    parser.add_argument("--round", type=int, default=0, help="the number of that side's round")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    parts = [options.part] if options.part else PARTS
    if options.side and parts[0] == "exact":
        Torch().exact(options.folder)
        return
    if options.side:
        side = Torch() if options.side == "torch" else MindSpore(by_products=options.by_products)
        measure(side, options.folder, parts[0], options.repeat, options.round)
        return
    if not (options.folder / FILE).exists():
        write_weights(options.folder / FILE)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(os.cpu_count() or 1)}
    interpreters = dict(zip(SIDES, (sys.executable, options.mindspore), strict=True))
    for part in parts:
        rounds, sides = (1, SIDES[:1]) if part == "exact" else (options.rounds, SIDES)
        for number, side in itertools.product(range(rounds), sides):
            command = [interpreters[side], str(Path(__file__).resolve()), "--folder", str(options.folder)]
            command += ["--side", side, "--part", part, "--repeat", str(options.repeat), "--round", str(number)]
            command += ["--by-products"] if options.by_products else []
            subprocess.run(command, check=True, env=environment)  # this file
        sys.stdout.write("\n".join(rows(options.folder, part, rounds)) + "\n")


if __name__ == "__main__":
    main()
