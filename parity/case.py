"""A case: one fully specified run, read from TOML, every value with the source it came from.

    default < file < environment (`PARITY_SAMPLING_STEPS=4`) < command line

An unknown key is an error that names the nearest valid one. Paths in a case are relative to the folder
that holds the case, then to the folders above it, so `fixtures/tiny` works from `fixtures/cases/`.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from parity.dtypes import FloatName  # noqa: TC001 - msgspec reads it at run time
from parity.errors import CaseError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = [
    "Case",
    "Encode",
    "Exclude",
    "Image",
    "Model",
    "Precision",
    "Prompt",
    "Reason",
    "Resolved",
    "Sampling",
    "Size",
    "ToleranceRule",
    "load",
]

Reason = Literal["never called", "container", "identity", "no counterpart", "excluded by the case"]
_SECTIONS = ("model", "prompt", "sampling", "size", "precision", "encode", "image")


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: frozen, keywords only, no unknown keys."""


class Model(_Strict, frozen=True, kw_only=True):
    """The weights: a diffusers folder, or a single file with its YAML configuration."""

    folder: str | None = None
    file: str | None = None
    config: str | None = None


class Prompt(_Strict, frozen=True, kw_only=True):
    """Texts of the batch; `negative` is one per positive, or empty for none."""

    positive: list[str]
    negative: list[str] = []


class Sampling(_Strict, frozen=True, kw_only=True):
    """Sampler, its schedule, and the seed of what the reference draws.

    A reference says which samplers and discretizations it has. `eta`, `s_noise` and `karras` are set for samplers that
    take them: the share of noise that a step draws anew, a factor of that noise, and noise levels evenly spaced in their
    seventh root. What is not set is the sampler's own.
    """

    sampler: str = "EulerAncestral"
    discretization: str = "DiffusersDDPM"
    steps: int = 40
    guidance: float = 5.0
    seed: int = 0
    eta: float | UnsetType = UNSET
    s_noise: float | UnsetType = UNSET
    karras: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.steps < 1:
            message = f"sampling.steps is {self.steps}; it must be at least 1"
            raise ValueError(message)
        for key in ("eta", "s_noise"):
            value = getattr(self, key)
            if value is not UNSET and value < 0:
                message = f"sampling.{key} is {value}; it must not be negative"
                raise ValueError(message)

    def refuse(self, taken: Collection[str], who: str) -> None:
        """Refuse a setting that has no effect on the sampler.

        Args:
            taken: The settings that it takes.
            who: How an error names the sampler.

        Raises:
            CaseError: names a setting.
        """
        for key in ("eta", "s_noise", "karras"):
            if getattr(self, key) is not UNSET and key not in taken:
                takes = f"it takes {' and '.join(taken)}" if taken else "it takes no such setting"
                message = f"sampling.{key} has no effect on {who}; {takes}"
                raise CaseError(message)


class Size(_Strict, frozen=True, kw_only=True):
    """Pixels. `original`, `crop` and `target` are (height, width), (top, left), (height, width)."""

    height: int = 1024
    width: int = 1024
    original: tuple[int, int] = (1024, 1024)
    crop: tuple[int, int] = (0, 0)
    target: tuple[int, int] = (1024, 1024)


class Precision(_Strict, frozen=True, kw_only=True):
    """The working type."""

    dtype: FloatName = "float32"


class Encode(_Strict, frozen=True, kw_only=True):
    """The image that goes through the VAE encoder: synthetic (from `seed`) at this size in pixels."""

    height: int = 64
    width: int = 96
    seed: int = 11


class Image(_Strict, frozen=True, kw_only=True):
    """The image that an image-to-image run starts from: a file, or synthetic from `seed`; at the case's size.

    `strength` is the part of the noise levels that is run, above 0 and up to 1.
    """

    file: str | None = None
    seed: int = 11
    strength: float = 0.75

    def __post_init__(self) -> None:
        """Check the strength."""
        if not 0 < self.strength <= 1:
            message = f"image.strength is {self.strength}; it must be above 0 and at most 1"
            raise ValueError(message)


class Exclude(_Strict, frozen=True, kw_only=True):
    """Addresses (a pattern) that are not compared, and why."""

    address: str
    reason: Reason


class ToleranceRule(_Strict, frozen=True, kw_only=True):
    """A limit of the case: addresses (a pattern), a predicate such as `rel_l2 <= 1e-3`, and why."""

    address: str
    require: str
    reason: str


class Case(_Strict, frozen=True, kw_only=True):
    """One fully specified run."""

    schema: Literal[1]
    model: Model
    prompt: Prompt
    sampling: Sampling = Sampling()
    size: Size = Size()
    precision: Precision = Precision()
    encode: Encode = Encode()
    image: Image | None = None
    exclude: list[Exclude] = []
    tolerance: list[ToleranceRule] = []

    def __post_init__(self) -> None:
        """Check what types cannot say."""
        count = len(self.prompt.positive)
        if count == 0:
            message = "prompt.positive is empty; give at least one prompt"
            raise ValueError(message)
        if self.prompt.negative and len(self.prompt.negative) != count:
            message = f"prompt.negative has {len(self.prompt.negative)} texts and prompt.positive {count}; give one each, or none"
            raise ValueError(message)
        if (self.model.folder is None) == (self.model.file is None):
            message = "model needs either folder, or file with config"
            raise ValueError(message)
        if (self.model.file is None) != (self.model.config is None):
            message = "model.file and model.config go together: the checkpoint and its YAML configuration"
            raise ValueError(message)
        for name, pixels in (
            ("size.height", self.size.height),
            ("size.width", self.size.width),
            ("encode.height", self.encode.height),
            ("encode.width", self.encode.width),
        ):
            if pixels <= 0 or pixels % 8:
                message = f"{name} is {pixels}; it must be a positive multiple of 8"
                raise ValueError(message)


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """A case with the source of every value and the folder that its paths are relative to."""

    case: Case
    sources: dict[str, str]
    base: str

    @property
    def model_path(self) -> Path:
        """The weights folder or file.

        Raises:
            CaseError: it is not there.
        """
        return _find(self.case.model.folder or self.case.model.file or "", Path(self.base), "weights")

    @property
    def config_path(self) -> Path | None:
        """The YAML configuration of a single file; None for a folder.

        Raises:
            CaseError: it is not there.
        """
        config = self.case.model.config
        return None if config is None else _find(config, Path(self.base), "configuration")

    @property
    def image_path(self) -> Path | None:
        """The image's file; None where there is none.

        Raises:
            CaseError: it is not there.
        """
        file = None if self.case.image is None else self.case.image.file
        return None if file is None else _find(file, Path(self.base), "image")


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Resolved:
    """Read a case file; `overrides` holds the command line's values by dotted key.

    Raises:
        CaseError: the file is not there, is not TOML, has an unknown key or a wrong value.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = f"{path} is not there; give the path of a case, for example fixtures/cases/tiny.toml"
        raise CaseError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        message = f"{path} cannot be read as TOML: {error}"
        raise CaseError(message) from error
    sources = {
        f"{section}.{key}": str(path)
        for section in _SECTIONS
        if isinstance(raw.get(section), dict)
        for key in raw[section]
    }
    for dotted, value in _environment().items():
        _put(raw, dotted, value)
        sources[dotted] = "environment"
    for dotted, value in (overrides or {}).items():
        _put(raw, dotted, value)
        sources[dotted] = "command line"
    return Resolved(case=_convert(raw, path), sources=_with_defaults(sources), base=str(path.resolve().parent))


def _convert(raw: dict[str, Any], path: Path) -> Case:
    """Turn plain TOML into a `Case`, or say which key is wrong."""
    _refuse_unknown(raw, path)
    try:
        return msgspec.convert(raw, Case, strict=True)
    except msgspec.ValidationError as error:
        message = f"{path}: {error}; the keys of a case are described in docs/case.md"
        raise CaseError(message) from error


def _refuse_unknown(raw: Mapping[str, Any], path: Path) -> None:
    """Raise for a key that no section has, with the nearest one that exists."""
    types: dict[str, type[msgspec.Struct]] = {
        "model": Model, "prompt": Prompt, "sampling": Sampling, "size": Size, "precision": Precision,
        "encode": Encode, "image": Image, "exclude": Exclude, "tolerance": ToleranceRule,
    }  # fmt: skip
    for key, value in raw.items():
        if key not in Case.__struct_fields__:
            message = f"{path}: unknown key {key!r}{nearest(key, Case.__struct_fields__)}; the sections are {', '.join(Case.__struct_fields__)}"
            raise CaseError(message)
        for table in value if isinstance(value, list) else [value]:
            fields = types[key].__struct_fields__ if key in types else ()
            for name in table if isinstance(table, dict) else ():
                if name not in fields:
                    message = f"{path}: unknown key {name!r} in [{key}]{nearest(name, fields)}; [{key}] has {', '.join(fields)}"
                    raise CaseError(message)


def _environment() -> dict[str, Any]:
    """Read `PARITY_SECTION_KEY` variables as TOML values, or as text where they are none."""
    found: dict[str, Any] = {}
    for section in _SECTIONS:
        prefix = f"PARITY_{section.upper()}_"
        for name, text in os.environ.items():
            if name.startswith(prefix):
                try:
                    value = tomllib.loads(f"value = {text}")["value"]
                except tomllib.TOMLDecodeError:
                    value = text
                found[f"{section}.{name.removeprefix(prefix).lower()}"] = value
    return found


def _put(raw: dict[str, Any], dotted: str, value: object) -> None:
    """Set one dotted key in the plain case."""
    section, _, key = dotted.partition(".")
    raw.setdefault(section, {})[key] = value


def _with_defaults(sources: dict[str, str]) -> dict[str, str]:
    """Add `default` for every key that nobody set."""
    types: dict[str, type[msgspec.Struct]] = {
        "model": Model, "prompt": Prompt, "sampling": Sampling, "size": Size, "precision": Precision, "encode": Encode,
    }  # fmt: skip
    every = {f"{section}.{key}": "default" for section, kind in types.items() for key in _with_value(kind)}
    return every | sources


def _with_value(kind: type[msgspec.Struct]) -> Iterator[str]:
    """Yield the keys of a section that have a value unless somebody sets one."""
    for key in msgspec.structs.fields(kind):
        if key.default is not UNSET:
            yield key.name


def _find(name: str, base: Path, what: str) -> Path:
    """Resolve `name` against the case's folder, then each folder above it; `what` it is goes into the error."""
    if Path(name).is_absolute():
        if Path(name).exists():
            return Path(name)
        message = f"{name} is not there; the case names it as its {what}"
        raise CaseError(message)
    for folder in (base, *base.parents):
        if (folder / name).exists():
            return folder / name
    message = (
        f"{name} is not there, neither in {base} nor in a folder above it; put the {what} there or change the case"
    )
    raise CaseError(message)
