"""Building the original's engine: its `create_model` on the case's configuration, and its own loader on a checkpoint."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import mindspore as ms

from mindone_sdxl.candidate import read_config
from mindone_sdxl.candidate.parameters import convert_once
from mindone_sdxl.config_yaml import from_yaml
from mindone_sdxl.errors import SDXLError
from mindone_sdxl.hub import places
from ms_candidates.gm import checkout, exact
from ms_candidates.gm.config import OPEN_CLIP_ARCHITECTURE, engine_config, open_clip_config
from ms_candidates.gm.system import GmSystem, Loaded
from parity.adapters.plants import Plant
from parity.errors import InputError, WeightsError
from parity.frameworks import mindspore_

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mindone_sdxl.config import SDXLConfig
    from parity.replay import Request

__all__ = ["build"]

_UNUSED: Final = ("position_ids", "logit_scale")


def build(request: Request) -> GmSystem:
    """Build the engine of the case's model from the source and load its checkpoint, as the original does.

    Raises:
        InputError: the source cannot be used.
        WeightsError: the checkpoint cannot be read, or does not fit in shape.
    """
    folder = checkout.find(request.source)
    mindspore_.start(request.device)
    helpers = checkout.load(folder)
    exact.lift_types(request.dtype)
    plant = Plant.of(request.plant)
    config = read_config(request)
    checkpoint = _checkpoint(request, config, plant)
    engine, loaded = _engine(helpers, config, request, checkpoint)
    if request.dtype == "float64":
        exact.lift_cells(engine)
        engine.disable_first_stage_amp = False
    plant.model(engine)
    return GmSystem(engine, helpers, config, request, loaded)


def _checkpoint(request: Request, config: SDXLConfig, plant: Plant) -> Path:
    """Return the checkpoint that is given, else one that is converted from the case's model.

    Raises:
        WeightsError: it is no `.ckpt`, is not there, or cannot be converted.
    """
    given = request.weights
    if given is not None:
        if given.suffix != ".ckpt" or not given.is_file():
            message = (
                f"--weights {given} is not a .ckpt file that exists; the original loads MindSpore checkpoints only"
            )
            raise WeightsError(message)
        return given
    path = request.folder / "weights.ckpt"
    try:
        convert_once(path, request, config, plant)
    except SDXLError as error:
        message = f"{request.model}: {error}"
        raise WeightsError(message) from error
    return path


def _engine(helpers: Any, config: SDXLConfig, request: Request, checkpoint: Path) -> tuple[Any, Loaded]:
    """Return the engine, loaded by the original's own loader, and what the loader left out.

    Raises:
        WeightsError: the loader refuses the checkpoint.
    """
    from omegaconf import OmegaConf

    clip = _clip(request)
    registry = sys.modules["gm.modules.embedders.open_clip.factory"]
    registry._MODEL_CONFIGS[OPEN_CLIP_ARCHITECTURE] = open_clip_config(config.text_encoder_2)  # noqa: SLF001 - it reads a folder of the source else
    discretization = request.manifest.case["sampling"]["discretization"]
    tree = OmegaConf.create(engine_config(config, str(clip), f"{discretization}Discretization"))
    loaded = Loaded()
    try:
        with checkout.quiet(), _noting(loaded):
            engine, _ = helpers.create_model(tree, checkpoints=str(checkpoint), amp_level="O0")
    except (RuntimeError, ValueError, TypeError) as error:
        message = f"{checkpoint}: the original cannot load it: {error}"
        raise WeightsError(message) from error
    return engine, loaded


def _clip(request: Request) -> Path:
    """Return a folder with the first text encoder's configuration and tokenizer, as the original wants them.

    Raises:
        InputError: a YAML configuration names a folder that is not there.
    """
    if request.config is not None:
        looked = places(from_yaml(request.config).vocabulary, request.config.parent)
        found = next((folder for folder in looked if (folder / "config.json").is_file()), None)
        if found is None:
            message = f"{request.config}: the first text encoder's version is at none of {', '.join(map(str, looked))}; put its config.json and tokenizer there"
            raise InputError(message)
        return found
    folder = request.folder / "clip"
    folder.mkdir(parents=True, exist_ok=True)
    for path in (request.model / "text_encoder" / "config.json", *(request.model / "tokenizer").iterdir()):
        shutil.copyfile(path, folder / path.name)
    return folder


@contextmanager
def _noting(loaded: Loaded) -> Iterator[None]:
    """Note what MindSpore's loader leaves as it is, and what it does not use: the original only prints both."""
    original = ms.load_param_into_net

    def load(*arguments: Any, **keywords: Any) -> Any:
        missing, unexpected = original(*arguments, **keywords)
        loaded.unfilled.update(name for name in missing if not name.endswith(_UNUSED))
        loaded.unused.extend(name for name in unexpected if not name.endswith(_UNUSED))
        return missing, unexpected

    ms.load_param_into_net = load
    try:
        yield
    finally:
        ms.load_param_into_net = original
