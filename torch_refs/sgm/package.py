"""Imports Stability-AI's package `sgm` as it is, from a checkout or an installation, and what it needs around it.

The package imports at its top what only training, images of prompts, or video use. Where such a module is not
installed, a stand-in has its name while `sgm` is imported, and no longer:

| module | what `sgm` takes from it here | stand-in |
|---|---|---|
| pytorch_lightning | the base class of its engines | `torch.nn.Module` |
| omegaconf | names in annotations | two empty classes |
| kornia | resizing for image embedders | an empty module |
| torchvision | image transforms that OpenCLIP names when it is imported | modules whose every attribute is an empty class |
| imwatermark | the watermark of saved images | an encoder that cannot encode |

Nothing that computes a number of a recorded run comes from them. What does compute must be installed: torch,
transformers, open_clip, einops, ftfy (texts before OpenCLIP's tokenizer) and scipy (the linear multistep method).

    package = load(Path("generative-models"))
    package.sampling.EulerEDMSampler
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import io
import logging
import os
import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from parity.errors import FrameworkMissingError, InputError

__all__ = ["STAND_INS", "Package", "load", "quiet_package"]

_VARIABLE: Final = "PARITY_SGM_SOURCE"
_NEEDED: Final = ("einops", "ftfy", "fsspec", "open_clip", "scipy", "transformers", "yaml")
_MODULES: Final = {
    "encoders": "sgm.modules.encoders.modules",
    "sampling": "sgm.modules.diffusionmodules.sampling",
    "sampling_utils": "sgm.modules.diffusionmodules.sampling_utils",
    "discretizer": "sgm.modules.diffusionmodules.discretizer",
    "denoiser": "sgm.modules.diffusionmodules.denoiser",
    "guiders": "sgm.modules.diffusionmodules.guiders",
    "openaimodel": "sgm.modules.diffusionmodules.openaimodel",
    "util": "sgm.modules.diffusionmodules.util",
    "attention": "sgm.modules.attention",
    "distributions": "sgm.modules.distributions.distributions",
    "helpers": "sgm.inference.helpers",
    "tools": "sgm.util",
}
# Imported inside functions of the package, at the first call.
_ALONGSIDE: Final = ("sgm.modules.diffusionmodules.video_model", "sgm.modules.spacetime_attention")


@dataclass(frozen=True, kw_only=True)
class Package:
    """The imported package: its modules by short name, where it lies, and which stand-ins are in place."""

    modules: dict[str, Any]
    folder: Path
    stand_ins: tuple[str, ...]

    def __getattr__(self, name: str) -> Any:
        """Return a module."""
        try:
            return self.modules[name]
        except KeyError:
            raise AttributeError(name) from None

    def instantiate(self, content: dict[str, Any]) -> Any:
        """Return the object that a piece of configuration describes."""
        return self.tools.instantiate_from_config(content)


class _Names(type):
    """A class whose every attribute is that attribute's name."""

    def __getattr__(cls, name: str) -> str:
        """Return the name."""
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Anything(types.ModuleType):
    """A module whose every attribute is an empty class."""

    def __getattr__(self, name: str) -> Any:
        """Make the class."""
        if name.startswith("__"):
            raise AttributeError(name)
        made = _Names(name, (), {})
        setattr(self, name, made)
        return made


def _lightning() -> dict[str, types.ModuleType]:
    module = types.ModuleType("pytorch_lightning")
    module.LightningModule = torch.nn.Module  # type: ignore[attr-defined]
    return {"pytorch_lightning": module}


def _named(*names: str) -> dict[str, types.ModuleType]:
    """Return modules under these names, each reachable from the one above it."""
    made: dict[str, types.ModuleType] = {name: _Anything(name) for name in names}
    for name, module in made.items():
        module.__path__ = []
        above, _, last = name.rpartition(".")
        if above:
            setattr(made[above], last, module)
    return made


def _watermark() -> dict[str, types.ModuleType]:
    module = types.ModuleType("imwatermark")

    class WatermarkEncoder:
        """Takes a watermark and embeds none."""

        def set_watermark(self, *_: Any) -> None:
            """Take it."""

    module.WatermarkEncoder = WatermarkEncoder  # type: ignore[attr-defined]
    return {"imwatermark": module}


STAND_INS: Final = {
    "pytorch_lightning": _lightning,
    "omegaconf": lambda: _named("omegaconf"),
    "kornia": lambda: _named("kornia"),
    "torchvision": lambda: _named(
        "torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.ops",
        "torchvision.ops.misc",
    ),
    "imwatermark": _watermark,
}  # fmt: skip
_loaded: dict[Path, Package] = {}


def load(source: Path | None) -> Package:
    """Import the package from the checkout `source`, else from PARITY_SGM_SOURCE, else as it is installed.

    Raises:
        InputError: there is no such checkout, or another one is imported already.
        FrameworkMissingError: the package or something that it computes with is not installed.
    """
    folder = _folder(source)
    if folder in _loaded:
        return _loaded[folder]
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        message = f"the reference sgm needs {', '.join(missing)}, not installed; pip install {' '.join(missing)} (docs/references.md)"
        raise FrameworkMissingError(message)
    if "sgm" in sys.modules:
        message = f"sgm is imported already from {sys.modules['sgm'].__file__}; one process runs one checkout, start another for {folder}"
        raise InputError(message)
    absent = tuple(name for name in STAND_INS if importlib.util.find_spec(name) is None)
    importlib.import_module("transformers.models.clip.modeling_clip")  # sees what is installed before stand-ins are
    importlib.import_module("transformers.models.t5.modeling_t5")
    stand_ins = {name: module for each in absent for name, module in STAND_INS[each]().items()}
    for name, module in stand_ins.items():
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules.update(stand_ins)
    sys.path.insert(0, str(folder))
    try:
        with quiet_package():
            for name in _ALONGSIDE:
                importlib.import_module(name)
            modules = {short: importlib.import_module(name) for short, name in _MODULES.items()}
    except ImportError as error:
        message = f"sgm in {folder} cannot be imported: {error}; docs/references.md lists what it needs"
        raise FrameworkMissingError(message) from error
    finally:
        sys.path.remove(str(folder))
        for name in stand_ins:
            del sys.modules[name]
    _loaded[folder] = Package(modules=modules, folder=folder, stand_ins=absent)
    return _loaded[folder]


def _folder(source: Path | None) -> Path:
    """Return the folder that holds the package `sgm`."""
    given = source or (Path(os.environ[_VARIABLE]) if os.environ.get(_VARIABLE) else None)
    if given is None:
        found = importlib.util.find_spec("sgm")
        if found is None or found.origin is None:
            message = f"the reference sgm is not installed; give --source DIR or set {_VARIABLE} to a checkout of Stability-AI/generative-models"
            raise FrameworkMissingError(message)
        return Path(found.origin).parents[1].resolve()
    if not (given / "sgm" / "__init__.py").is_file():
        message = f"{given} holds no package sgm; give a checkout of Stability-AI/generative-models"
        raise InputError(message)
    return given.resolve()


@contextlib.contextmanager
def quiet_package() -> Any:
    """Silence what the package prints of ordinary use, and what torch says of its older calls, while the block runs."""
    loggers = [logging.getLogger(name) for name in ("sgm", "xformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message=".*CUDA is not available.*")
        warnings.filterwarnings("ignore", message=".*xformers.*")
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
