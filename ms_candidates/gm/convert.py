"""The original's own conversion for its LCM sampler, on a diffusers folder of any size.

    python -m ms_candidates.gm.convert fixtures/tiny lcm_ms.ckpt --source DIR

Its documents give two programs: `convert_diffusers_to_original_sdxl.py`, then `convert_weight.py` with two lists of
names for `torch_key_base_lcm` and `mindspore_key_base_lcm`. Both run here as they are, each in a process of its own.
Two inputs are prepared for them: the lists are cut to the names that the model has, and the first text encoder's names
get the prefix `text_model.` that published files have and files written by transformers 5 lack.

Source: docs/inference.md, section 5,
https://github.com/mindspore-lab/mindone/tree/a24c0eb7/examples/stable_diffusion_xl
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mindone_sdxl import files
from ms_candidates.gm import checkout
from parity import disk
from parity.errors import ChildError, InputError, ParityError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["convert", "main"]

_TOOLS: Final = Path("tools") / "model_conversion"
_PREFIX: Final = "text_model."


def convert(model: Path, output: Path, source: Path | None) -> None:
    """Convert a diffusers folder to a MindSpore checkpoint as the original's documents say for LCM.

    Raises:
        InputError: the source is no checkout, or the model is no diffusers folder.
        WeightsError: the lists of names do not cover the model.
        OutputError: the output cannot be written.
        ChildError: one of the original's programs failed.
    """
    tools = checkout.find(source) / _TOOLS
    output.parent.mkdir(parents=True, exist_ok=True)
    disk.check_file(output)
    with tempfile.TemporaryDirectory() as folder:
        prepared, single = Path(folder) / "model", Path(folder) / "original.safetensors"
        _prepare(model, prepared)
        names = {
            "unet_name": "unet",
            "vae_name": "vae",
            "text_encoder_name": "text_encoder",
            "text_encoder_2_name": "text_encoder_2",
        }
        given = [
            part for option, name in names.items() for part in (f"--{option}", f"{files.COMPONENTS[name]}.safetensors")
        ]
        _run(
            tools / "convert_diffusers_to_original_sdxl.py",
            "--model_path", str(prepared), "--checkpoint_path", str(single), "--use_safetensors", *given,
        )  # fmt: skip
        lists = _cut(tools, single, Path(folder))
        with tempfile.TemporaryDirectory(dir=output.parent, prefix="partial-") as beside:
            written = Path(beside) / output.name
            _run(
                tools / "convert_weight.py", "--task", "st_to_ms", "--weight_safetensors", str(single),
                "--weight_ms", str(written), "--key_torch", str(lists[0]), "--key_ms", str(lists[1]),
            )  # fmt: skip
            written.replace(output)


def _prepare(model: Path, prepared: Path) -> None:
    """Link the model's weights into a folder, the first text encoder's under their published names."""
    for component, stem in files.COMPONENTS.items():
        path = model / component / f"{stem}.safetensors"
        if not path.is_file():
            message = f"{model} is no diffusers folder with safetensors: {path} is not there"
            raise InputError(message)
        target = prepared / component / path.name
        target.parent.mkdir(parents=True)
        if component == "text_encoder":
            state = files.read(path)
            files.write(target, {f"{_PREFIX}{name.removeprefix(_PREFIX)}": array for name, array in state.items()})
        else:
            target.symlink_to(path.resolve())


def _cut(tools: Path, single: Path, folder: Path) -> tuple[Path, Path]:
    """Write the original's two lists of names, line for line, without the lines that the model has no tensor for."""
    kinds = ("torch", "mindspore")
    ours, theirs = ((tools / f"{kind}_key_base_lcm.yaml").read_text(encoding="utf-8").splitlines() for kind in kinds)
    present = set(files.read(single))
    kept = [pair for pair in zip(ours, theirs, strict=True) if pair[0].partition(":")[0] in present]
    left = present - {name.partition(":")[0] for name, _ in kept}
    if left:
        message = (
            f"{len(left)} tensors are in no list of names, {min(left)} among them; the lists are those of SDXL base"
        )
        raise WeightsError(message)
    paths = folder / "torch.yaml", folder / "mindspore.yaml"
    for path, lines in zip(paths, zip(*kept, strict=True), strict=True):
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


def _run(program: Path, *arguments: str) -> None:
    """Run one of the original's programs; what it prints goes to stderr."""
    command = [sys.executable, str(program), *arguments]
    finished = subprocess.run(command, stdout=sys.stderr, check=False)  # noqa: S603 - the program that was asked for
    if finished.returncode:
        message = (
            f"{program.name} failed with exit code {finished.returncode} (see above); it needs torch and mindspore"
        )
        raise ChildError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 2 for unusable input, 3 for a failure of the original's programs, 130 if interrupted."""
    parser = argparse.ArgumentParser(
        prog="ms_candidates.gm.convert", description="convert as the original does for LCM"
    )
    parser.add_argument("model", type=Path, help="a diffusers folder")
    parser.add_argument("output", type=Path, help="the checkpoint to write, .ckpt")
    parser.add_argument("--source", type=Path, help="a checkout of mindone at commit a24c0eb7")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the program that runs is ended too
    try:
        convert(given.model, given.output, given.source)
    except ParityError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, InputError) else 3
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
