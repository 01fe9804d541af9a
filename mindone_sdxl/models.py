"""The models that the command line names: configuration, tokenizers, weights, and where their steps lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mindone_sdxl.config import SDXLConfig, from_diffusers
from mindone_sdxl.config_yaml import YamlConfig, from_yaml
from mindone_sdxl.convert import read_any
from mindone_sdxl.discretization import Discretization, default_discretization
from mindone_sdxl.errors import InputError
from mindone_sdxl.files import read
from mindone_sdxl.registry import DISCRETIZATIONS, find
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
    """The discretization that the flags name, or the configuration's own.

    Raises:
        InputError: the network cannot be run with it.
    """
    if values.discretization is None:
        return default
    chosen = find(DISCRETIZATIONS, values.discretization)
    if values.discretization.startswith("EDM"):
        return chosen(default.schedule, values.sigma_min, values.sigma_max, values.rho)
    if default.schedule.prediction == "edm":
        message = f"--discretization {values.discretization}: this network knows noise levels, not timesteps; take EDM"
        raise InputError(message)
    return chosen(default.schedule)


def tokenizers(values: SimpleNamespace, path: str, config: SDXLConfig) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """The tokenizers of both text encoders; the refiner has the second alone, which then stands in both places.

    Args:
        path: the model's configuration; a diffusers folder has tokenizers.

    Raises:
        InputError: it is not known where they are.
    """
    folder = path if Path(path).is_dir() else None
    root = values.tokenizer_path or folder or (values.config if Path(values.config).is_dir() else None)
    if root is None:
        message = (
            f"tokenizers are missing: --tokenizer_path is not given and {path} is no diffusers folder; "
            "--tokenizer_path FOLDER with tokenizer and tokenizer_2, or with one vocabulary for both, supplies them"
        )
        raise InputError(message)
    root = Path(root)
    second = root / "tokenizer_2" if (root / "tokenizer_2").is_dir() else root
    first = root / "tokenizer" if (root / "tokenizer").is_dir() and not config.refiner else second
    special = values.pad_token_is_special
    return CLIPTokenizer(first, pad_token=END), CLIPTokenizer(second, pad_token="!", pad_token_is_special=special)


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
