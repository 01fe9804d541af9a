"""Converts SDXL weights between a diffusers folder, Stability's single file and a MindSpore checkpoint.

    python -m mindone_sdxl.convert sdxl-base-1.0/ sd_xl_base_1.0_ms.ckpt
    python -m mindone_sdxl.convert sd_xl_base_1.0.safetensors sd_xl_base_1.0_ms.ckpt
    python -m mindone_sdxl.convert sd_xl_base_1.0_ms.ckpt sd_xl_base_1.0.safetensors --layout stability
    python -m mindone_sdxl.convert finetuned_ms.ckpt finetuned/ --config sdxl-base-1.0/
    python -m mindone_sdxl.convert sdxl-base-1.0/ fixed_ms.ckpt --vae sdxl-vae-fp16-fix/diffusion_pytorch_model.safetensors

What the source is follows from the source: a folder is diffusers', a file says by its names whether it is Stability's.
The output is a diffusers folder if it has no suffix of a file. Names must fit the configuration, both ways. Tensors are
read and written one at a time; what stays in memory is the second text encoder's, whose q, k and v are stacked, and a
`.ckpt` that is read.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mindone_sdxl import config as configuration
from mindone_sdxl import disk, weights
from mindone_sdxl.command import ended
from mindone_sdxl.config import SDXLConfig
from mindone_sdxl.errors import ConfigError, OutputError, WeightsError
from mindone_sdxl.files import COMPONENTS, read, read_diffusers, write, write_diffusers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mindone_sdxl.arrays import Array


__all__ = ["convert", "convert_folder", "main", "read_any", "read_config"]

Layout = Literal["mindspore", "stability"]
_STABILITY_MARK = "model.diffusion_model.out.0.weight"
_FILES = (".ckpt", ".safetensors")


def read_config(path: str | Path | None) -> SDXLConfig:
    """The model of a diffusers folder or of a YAML file; SDXL base 1.0 if there is no path."""
    if path is None:
        return SDXLConfig()
    if Path(path).is_dir():
        return configuration.from_diffusers(path)
    from mindone_sdxl.config_yaml import from_yaml

    return from_yaml(path).model


def read_any(path: str | Path, config: SDXLConfig) -> dict[str, Array]:
    """The weights of a diffusers folder, of Stability's file or of a MindSpore checkpoint, as the last.

    Raises:
        WeightsError: the weights are not readable or do not fit the configuration.
    """
    if Path(path).is_dir():
        return weights.diffusers_to_mindspore(read_diffusers(path), config)
    state = read(path)
    return weights.stability_to_mindspore(state, config) if _STABILITY_MARK in state else state


def convert(
    source: str | Path,
    output: str | Path,
    *,
    config: str | Path | None = None,
    layout: Layout = "mindspore",
    dtype: str | None = None,
    vae: str | Path | None = None,
) -> None:
    """Read weights of any kind and write them as another.

    Args:
        output: a `.ckpt` or `.safetensors` file, or a folder for diffusers.
        config: a diffusers folder or a YAML file; by default the source if it is a folder, else SDXL base 1.0.
        layout: names of a file that is written.
        dtype: floating type to write, by default that of the source.
        vae: a file of diffusers' autoencoder that takes the place of the source's.

    Raises:
        SDXLError: the weights do not fit, or the output cannot be written as asked, which is tried before they are read.
    """
    source, output = Path(source), Path(output)
    _check_output(output)
    model_source = source if config is None and source.is_dir() else config
    model = read_config(model_source)
    state = read_any(source, model)
    if vae is not None:
        own = {f"vae.{name}": value for name, value in read(vae).items()}
        state = {**state, **weights.diffusers_to_mindspore(own, model, components=("vae",))}
    # A checkpoint is refused here and not when somebody loads it.
    weights.mindspore_to_stability(state, model)
    kind = None if dtype is None else np.dtype(dtype)
    if output.suffix in _FILES:
        write(output, weights.mindspore_to_stability(state, model) if layout == "stability" else state, kind)
        return
    if layout == "stability":
        message = f"{output} is a folder; the stability layout is a file, .safetensors or .ckpt"
        raise WeightsError(message)
    _write_folder(output, state, model, model_source, kind)


def _check_output(output: Path) -> None:
    """Refuse an output that cannot be written, before anything is read.

    Raises:
        OutputError: its folder takes no file, or it is a folder that holds something or is being written.
    """
    disk.check_folder(output.parent)
    if output.suffix in _FILES:
        return
    with disk.explained(output):
        entries = sorted(output.iterdir()) if output.exists() else []
    if entries:
        message = f"{output} holds {entries[0].name!r}; give a folder that is new or empty"
        raise OutputError(message)
    partial = disk.partial_of(output)
    if partial.exists():
        message = f"{partial} is there: another process writes it, or one was killed; wait for it, or remove it"
        raise OutputError(message)


def convert_folder(folder: str | Path, output: str | Path) -> None:
    """Write the weights of a diffusers folder as a MindSpore `.ckpt` or `.safetensors` file."""
    convert(folder, output)


def _write_folder(
    output: Path,
    state: Mapping[str, Array],
    model: SDXLConfig,
    config: str | Path | None,
    dtype: np.dtype[Any] | None,
) -> None:
    """A whole diffusers folder: weights from the state, everything else from the folder that gave the configuration."""
    if config is None or not Path(config).is_dir():
        message = "a diffusers folder also holds configurations and tokenizers; give --config FOLDER"
        raise ConfigError(message)
    folder = Path(config)
    if output.resolve() == folder.resolve():
        message = f"{output} is the folder that the configuration comes from; give another output"
        raise WeightsError(message)
    partial = disk.partial_of(output)
    with disk.explained(output):
        partial.mkdir()
        try:
            _copy_all_but_weights(folder, partial)
            write_diffusers(partial, weights.mindspore_to_diffusers(state, model), dtype)
            partial.replace(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _copy_all_but_weights(folder: Path, output: Path) -> None:
    """Copy configurations and tokenizers of a diffusers folder."""
    for path in sorted(folder.rglob("*")):
        part = path.relative_to(folder)
        is_weight = part.parts[0] in COMPONENTS and path.name != "config.json"
        if path.is_file() and not is_weight:
            (output / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, output / part)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status is 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m mindone_sdxl.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="a diffusers folder, or a .safetensors or .ckpt file")
    parser.add_argument("output", help="a .ckpt or .safetensors file, or a folder for diffusers")
    parser.add_argument("--config", help="a diffusers folder or a YAML file (default: the source folder, or SDXL base)")
    parser.add_argument("--layout", choices=("mindspore", "stability"), default="mindspore", help="names in the file")
    parser.add_argument("--dtype", choices=("float16", "float32"), help="type to write (default: as it is)")
    parser.add_argument("--vae", help="a .safetensors file of diffusers' autoencoder, to take instead of the source's")
    options = vars(parser.parse_args(arguments))
    output = options.pop("output")

    def work() -> tuple[()]:
        convert(options.pop("source"), output, **options)
        return ()

    return ended(work)


if __name__ == "__main__":
    sys.exit(main())
