"""The models that the command line names: configuration, tokenizers, weights, and where their steps lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mindone_sdxl.config import SDXLConfig, from_diffusers
from mindone_sdxl.config_yaml import YamlConfig, from_yaml
from mindone_sdxl.convert import read_any
from mindone_sdxl.discretization import DiffusersDDPM, Discretization, default_discretization
from mindone_sdxl.errors import InputError
from mindone_sdxl.files import read
from mindone_sdxl.hub import places
from mindone_sdxl.registry import DISCRETIZATIONS, SAMPLERS, find
from mindone_sdxl.tokenizer import END, CLIPTokenizer

if TYPE_CHECKING:
    from types import SimpleNamespace

    from mindone_sdxl.arrays import Array

__all__ = ["chosen_discretization", "find_model", "read_weights", "tokenizers"]

_PACKAGE = Path(__file__).parent


def find_model(path: str) -> YamlConfig:
    """The model of a diffusers folder or of a YAML file; a relative path may be one of the package's."""
    given = Path(path)
    if given.is_dir():
        config = from_diffusers(given)
        version = "SDXL-refiner-1.0" if config.refiner else "SDXL-base-1.0"
        return YamlConfig(version=version, model=config, discretization=default_discretization(config.schedule))
    shipped = _PACKAGE / given
    return from_yaml(shipped if not given.exists() and shipped.exists() else given)


def chosen_discretization(values: SimpleNamespace, default: Discretization) -> Discretization:
    """The discretization that the flags name, or the configuration's own, with what diffusers does for the sampler.

    Raises:
        InputError: the network cannot be run with it, or a flag has no effect on it.
    """
    chosen = _named_discretization(values, default)
    placed = find(SAMPLERS, values.sampler).placed
    if placed is not None and type(chosen) is DiffusersDDPM:
        return placed(chosen.schedule, karras=values.use_karras_sigmas)
    if "use_karras_sigmas" in values.given:
        message = "--use_karras_sigmas has no effect; it needs --discretization DiffusersDDPMDiscretization"
        raise InputError(message)
    return chosen


def _named_discretization(values: SimpleNamespace, default: Discretization) -> Discretization:
    """The discretization that the flags name, or the configuration's own."""
    if values.discretization is None:
        return default
    chosen = find(DISCRETIZATIONS, values.discretization)
    if values.discretization.startswith("EDM"):
        return chosen(default.schedule, values.sigma_min, values.sigma_max, values.rho)
    if default.schedule.prediction == "edm":
        message = f"--discretization {values.discretization}: this network knows noise levels, not timesteps; take EDM"
        raise InputError(message)
    return chosen(default.schedule)


def tokenizers(values: SimpleNamespace, path: str, found: YamlConfig) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """The tokenizers of both text encoders; the refiner has the second alone, which then stands in both places.

    They are looked for in `--tokenizer_path` and nowhere else when that is given; else in the model's diffusers folder,
    in that of `--config`, and where the `version:` of a YAML file points, in the hub's local cache at last.

    Args:
        path: the model's configuration.

    Raises:
        InputError: they are at none of these places.
    """
    if values.tokenizer_path:
        looked = [Path(values.tokenizer_path)]
    else:
        folders = [Path(folder) for folder in (path, values.config) if Path(folder).is_dir()]
        looked = folders or places(found.vocabulary, Path(path).parent)
    root = next((folder for folder in looked if _has_vocabulary(folder)), None)
    if root is None:
        given = "" if values.tokenizer_path else "--tokenizer_path is not given; "
        message = (
            f"tokenizers are missing: {given}looked in {', '.join(map(str, looked))}; give --tokenizer_path FOLDER, "
            "with folders tokenizer and tokenizer_2, or with one vocabulary for both (vocab.json and merges.txt, or "
            "tokenizer.json), or let HF_HOME name a cache that has them"
        )
        raise InputError(message)
    second = root / "tokenizer_2" if (root / "tokenizer_2").is_dir() else root
    first = root / "tokenizer" if (root / "tokenizer").is_dir() and not found.model.refiner else second
    special = values.pad_token_is_special
    return CLIPTokenizer(first, pad_token=END), CLIPTokenizer(second, pad_token="!", pad_token_is_special=special)


def _has_vocabulary(folder: Path) -> bool:
    parts = (folder, folder / "tokenizer", folder / "tokenizer_2")
    return any((part / name).is_file() for part in parts for name in ("vocab.json", "tokenizer.json"))


def read_weights(path: str, weight: str | None, config: SDXLConfig) -> dict[str, Array]:
    """The weights in files of a comma list, of which later ones override, or of the folder of the configuration."""
    if weight is None:
        return read_any(path, config)
    first, *others = weight.split(",")
    state = read_any(first, config)
    for other in others:
        state.update(read(other))
    # The original's fine-tuned checkpoints carry the wrapper's name.
    return {name.replace("._backbone", ""): value for name, value in state.items()}
