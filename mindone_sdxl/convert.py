"""Converts SDXL weights between a diffusers folder and a MindSpore checkpoint.

    python -m mindone_sdxl.convert sdxl-base-1.0/ sd_xl_base_1.0_ms.ckpt
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mindone_sdxl.config import from_diffusers
from mindone_sdxl.files import read_diffusers, write
from mindone_sdxl.weights import diffusers_to_mindspore

__all__ = ["convert_folder", "main"]


def convert_folder(folder: str | Path, output: str | Path) -> None:
    """Write the weights of a diffusers folder as a MindSpore `.ckpt` or `.safetensors` file."""
    write(output, diffusers_to_mindspore(read_diffusers(folder), from_diffusers(folder)))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a diffusers SDXL folder")
    parser.add_argument("output", help="a .ckpt or .safetensors file")
    options = parser.parse_args(arguments)
    convert_folder(options.source, options.output)


if __name__ == "__main__":
    main()
