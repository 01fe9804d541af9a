"""Finding and importing the original's source, which is neither installed nor edited.

A checkout is recognised by three of its files. It is imported as a user's own program would import it, with two
differences that change no number: its functions under `ms.jit` run as written, since hooks never fire inside a compiled
graph, and what it prints goes to stderr.

`explicit_casts` lists every place where the source asks for a type by name. They decide what a float64 run computes
(exact), so the candidate's trace names them.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sys
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from parity.errors import FrameworkMissingError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["INFERENCE", "PACKAGES", "explicit_casts", "find", "load", "quiet", "require_packages"]

_FOLDER: Final = Path("examples") / "stable_diffusion_xl"
_MARKS: Final = (
    "gm/models/diffusion.py",
    "gm/modules/diffusionmodules/sampler.py",
    "configs/inference/sd_xl_base.yaml",
)
_TYPES: Final = frozenset({"float16", "float32", "float64", "bfloat16"})

PACKAGES: Final = ("ftfy", "omegaconf", "regex", "tqdm", "transformers")
"""What the source imports beside MindSpore."""

INFERENCE: Final = (
    "gm.helpers", "gm.models.autoencoder", "gm.models.diffusion", "gm.modules.attention",
    "gm.modules.diffusionmodules.denoiser", "gm.modules.diffusionmodules.denoiser_scaling",
    "gm.modules.diffusionmodules.discretizer", "gm.modules.diffusionmodules.guiders",
    "gm.modules.diffusionmodules.model", "gm.modules.diffusionmodules.openaimodel",
    "gm.modules.diffusionmodules.sampler", "gm.modules.diffusionmodules.sampling_utils",
    "gm.modules.diffusionmodules.util", "gm.modules.distributions.distributions",
    "gm.modules.embedders.clip.modeling_clip", "gm.modules.embedders.modules",
    "gm.modules.embedders.open_clip.model", "gm.modules.embedders.open_clip.transformer",
    "gm.modules.transformers.activations", "gm.modules.transformers.transformers", "gm.util.util",
)  # fmt: skip
"""The modules of the source that compute something on the way from a prompt to an image."""


def find(source: Path | None) -> Path:
    """Return the folder that holds `gm`: `source` itself or its examples/stable_diffusion_xl.

    Raises:
        InputError: no source is given, or it is no checkout of the original.
    """
    wanted = "a checkout of mindone at commit a24c0eb7, or its examples/stable_diffusion_xl"
    if source is None:
        message = f"the candidate gm runs code that is not installed here; give --source DIR, {wanted}"
        raise InputError(message)
    for folder in (source, source / _FOLDER):
        if not _missing(folder):
            return folder.resolve()
    missing = _missing(source)[0]
    message = (
        f"{source} is no checkout of the original SDXL: it has neither {missing} nor {_FOLDER / missing}; give {wanted}"
    )
    raise InputError(message)


def _missing(folder: Path) -> list[str]:
    """Return which of the files that tell a checkout are not in a folder."""
    return [mark for mark in _MARKS if not (folder / mark).is_file()]


def require_packages() -> None:
    """Refuse to go on without the packages that the source imports; imports none of them.

    Raises:
        FrameworkMissingError: names those that are not installed.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        message = f"the candidate gm needs {', '.join(missing)}, not installed; pip install 'sdxl-parity[mindspore,gm]'"
        raise FrameworkMissingError(message)


def load(folder: Path) -> Any:
    """Import the source and return its module `gm.helpers`.

    Raises:
        FrameworkMissingError: it cannot be imported.
        InputError: another package named gm has been imported already.
    """
    os.environ["MS_JIT"] = "0"  # MindSpore's own switch, read where a function is decorated
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        with quiet():
            helpers, *_ = [importlib.import_module(name) for name in INFERENCE]
    except ImportError as error:
        message = f"{folder} cannot be imported: {error}; pip install 'sdxl-parity[mindspore,gm]'"
        raise FrameworkMissingError(message) from error
    if folder not in Path(str(helpers.__file__)).resolve().parents:
        message = (
            f"gm was imported from {helpers.__file__} and not from {folder}; run each source in a process of its own"
        )
        raise InputError(message)
    return helpers


@contextmanager
def quiet() -> Iterator[None]:
    """Send what the original prints to stderr: stdout is for data."""
    with redirect_stdout(sys.stderr):
        yield


def explicit_casts(folder: Path) -> list[str]:
    """Return `file:line` of every place in the inference modules where a floating type is named, in order."""
    found: list[str] = []
    for name in INFERENCE:
        path = folder / f"{name.replace('.', '/')}.py"
        found.extend(f"{path.relative_to(folder)}:{line}" for line in _lines_with_types(path))
    return found


def _lines_with_types(path: Path) -> list[int]:
    """Return the numbers of a file's lines on which a floating type is an attribute, as in `ms.float32`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return sorted({node.lineno for node in named if node.attr in _TYPES})
