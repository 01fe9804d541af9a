"""A case: one fully specified run, read from TOML, every value with the source it came from.

    default < file < environment (`PARITY_SAMPLING_STEPS=4`) < command line

An unknown key is an error that names the nearest valid one. Paths in a case are relative to the folder
that holds the case, then to the folders above it, so `fixtures/tiny` works from `fixtures/cases/`.

The sections of `DIFFUSION` describe a run of a diffusion model. Every one has its defaults here, but a trace keeps those
of the sections that its reference needs alone: a case of another model holds what somebody has set.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from parity import reading
from parity.dtypes import FloatName  # noqa: TC001 - msgspec reads it at run time
from parity.errors import CaseError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

__all__ = [
    "DIFFUSION",
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
    "check_recorded",
    "load",
]

Reason = Literal["never called", "container", "identity", "no counterpart", "excluded by the case"]

DIFFUSION: Final = ("prompt", "sampling", "size", "encode", "image")
"""The sections that a reference of a diffusion model needs."""

_DEFAULT: Final = "default"
_OWN: Final = ("eta", "s_noise", "karras")


def _check(*, met: bool, otherwise: str) -> None:
    """Raise, with what to say otherwise, unless a condition is met; the reader of a file adds where it stands."""
    if not met:
        raise ValueError(otherwise)


_MOST_STEPS: Final = 10_000
_MOST_PIXELS: Final = 1 << 16
_LARGEST_FACTOR: Final = 1000.0
_LARGEST_SEED: Final = (1 << 63) - 1
"""The generators of torch and numpy both take it."""


def _check_range(key: str, value: float, low: float, high: float) -> None:
    """Raise unless a number is in its range, both ends included; NaN is in none."""
    _check(met=low <= value <= high, otherwise=f"{key} is {value}; it must be {low:,} to {high:,}")


def _check_sides(section: str, height: int, width: int) -> None:
    """Raise unless the encoder can halve an area in pixels three times."""
    for side, pixels in (("height", height), ("width", width)):
        _check(
            met=0 < pixels <= _MOST_PIXELS and pixels % 8 == 0,
            otherwise=f"{section}.{side} is {pixels}; it must be a positive multiple of 8, at most {_MOST_PIXELS:,}",
        )


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
        _check_range("sampling.steps", self.steps, 1, _MOST_STEPS)
        _check_range("sampling.guidance", self.guidance, 0, _LARGEST_FACTOR)
        _check_range("sampling.seed", self.seed, 0, _LARGEST_SEED)
        for key, value in self.own.items():
            _check_range(f"sampling.{key}", value, 0, _LARGEST_FACTOR)

    @property
    def own(self) -> dict[str, float]:
        """Those settings of single samplers that are set."""
        values = msgspec.to_builtins(self)  # what is not set is not in there
        return {key: values[key] for key in _OWN if key in values}

    def refuse(self, taken: Collection[str], who: str) -> None:
        """Refuse a setting that has no effect on the sampler.

        Args:
            taken: The settings that it takes.
            who: How an error names the sampler.

        Raises:
            CaseError: names a setting.
        """
        for key in self.own:
            if key not in taken:
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

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check_sides("size", self.height, self.width)
        for key, low in (("original", 1), ("crop", 0), ("target", 1)):
            for value in getattr(self, key):
                _check_range(f"size.{key}", value, low, _MOST_PIXELS)


class Precision(_Strict, frozen=True, kw_only=True):
    """The working type."""

    dtype: FloatName = "float32"


class Encode(_Strict, frozen=True, kw_only=True):
    """The image that goes through the VAE encoder: synthetic (from `seed`) at this size in pixels."""

    height: int = 64
    width: int = 96
    seed: int = 11

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check_sides("encode", self.height, self.width)
        _check_range("encode.seed", self.seed, 0, _LARGEST_SEED)


class Image(_Strict, frozen=True, kw_only=True):
    """The image that an image-to-image run starts from: a file, or synthetic from `seed`; at the case's size.

    `strength` is the part of the noise levels that is run, above 0 and up to 1.
    """

    file: str | None = None
    seed: int = 11
    strength: float = 0.75

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check_range("image.seed", self.seed, 0, _LARGEST_SEED)
        _check(
            met=0 < self.strength <= 1,
            otherwise=f"image.strength is {self.strength}; it must be above 0 and at most 1",
        )


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
    prompt: Prompt = Prompt(positive=[])
    sampling: Sampling = Sampling()
    size: Size = Size()
    precision: Precision = Precision()
    encode: Encode = Encode()
    image: Image | None = None
    exclude: list[Exclude] = []
    tolerance: list[ToleranceRule] = []

    def __post_init__(self) -> None:
        """Check what types cannot say."""
        _check_prompt(self.prompt)
        _check_model(self.model)


def _check_model(model: Model) -> None:
    """Raise if there are not one folder, or one file with its configuration."""
    _check(
        met=(model.folder is None) != (model.file is None),
        otherwise="model needs either folder, or file with config",
    )
    _check(
        met=(model.file is None) == (model.config is None),
        otherwise="model.file and model.config go together: the checkpoint and its YAML configuration",
    )


def _check_prompt(prompt: Prompt) -> None:
    """Raise if there are negative texts and not as many as positive ones."""
    negative, positive = len(prompt.negative), len(prompt.positive)
    _check(
        met=negative in {0, positive},
        otherwise=f"prompt.negative has {negative} texts and prompt.positive {positive}; give one each, or none",
    )


_SECTIONS: Final[dict[str, type[_Strict]]] = {
    "model": Model, "prompt": Prompt, "sampling": Sampling, "size": Size, "precision": Precision, "encode": Encode,
    "image": Image, "exclude": Exclude, "tolerance": ToleranceRule,
}  # fmt: skip
_SET: Final = ("model", "prompt", "sampling", "size", "precision", "encode", "image")
"""The sections whose keys can be set one by one; the others are lists of tables."""
_VARIABLE: Final = re.compile(rf"PARITY_({'|'.join(_SET).upper()})_(.+)")


def _as_recorded(kind: type[_Strict]) -> type[msgspec.Struct]:
    """Return a section of which every key may be missing and others may be there, as a trace may keep it."""
    known = [(field.name, field.type | UnsetType, UNSET) for field in msgspec.structs.fields(kind)]
    return msgspec.defstruct(f"Recorded{kind.__name__}", known)


_RECORDED: Final = msgspec.defstruct(
    "RecordedCase",
    [
        *((name, _as_recorded(_SECTIONS[name]) | None | UnsetType, UNSET) for name in _SET),
        ("exclude", list[Exclude] | UnsetType, UNSET),
        ("tolerance", list[ToleranceRule] | UnsetType, UNSET),
    ],
)


def check_recorded(case: Mapping[str, Any]) -> None:
    """Refuse the case of a trace whose sections hold other types than a case's; what is missing is its reader's to say.

    Raises:
        ValueError: names the key.
    """
    msgspec.convert(case, _RECORDED)


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
        return self._find(self.case.model.folder or self.case.model.file or "", "weights")

    @property
    def config_path(self) -> Path | None:
        """The YAML configuration of a single file; None for a folder.

        Raises:
            CaseError: it is not there.
        """
        return self._find_named(self.case.model.config, "configuration")

    @property
    def image_path(self) -> Path | None:
        """The image's file; None where there is none.

        Raises:
            CaseError: it is not there.
        """
        image = self.case.image
        if image is None:
            return None
        return self._find_named(image.file, "image")

    def require(self, sections: Collection[str], who: str) -> None:
        """Refuse a case without a prompt, the one section that has no default, where it is needed.

        Raises:
            CaseError: it is, and `who` needs it.
        """
        if "prompt" in sections and not self.case.prompt.positive:
            message = f"the case has no [prompt], and the reference {who} needs one; give prompt.positive, a text for each image"
            raise CaseError(message)

    def plain(self, needed: Collection[str]) -> dict[str, Any]:
        """Return the case as a trace keeps it; of sections of `DIFFUSION` that are not needed, what somebody has set."""
        found: dict[str, Any] = msgspec.to_builtins(self.case)
        for section in DIFFUSION:
            if section not in needed:
                values = found.pop(section) or {}
                found |= self._chosen(section, values)
        return found

    def told(self, needed: Collection[str]) -> dict[str, str]:
        """Return the sources of what `plain` returns."""
        told = dict(self.sources)
        left_out = set(DIFFUSION) - set(needed)
        for key in self.sources:
            section, _, _ = key.partition(".")
            if section in left_out and not self._is_set(key):
                del told[key]
        return told

    def _find_named(self, name: str | None, what: str) -> Path | None:
        """Resolve a name, where the case gives one."""
        return None if name is None else self._find(name, what)

    def _find(self, name: str, what: str) -> Path:
        """Resolve `name` against the case's folder, then each folder above it; `what` it is goes into the error."""
        base = Path(self.base)
        for folder in (base, *base.parents):
            if (folder / name).exists():  # the path itself, where it is absolute
                return self._readable(folder / name, what)
        if Path(name).is_absolute():
            message = f"{name} is not there; the case names it as its {what}"
        else:
            message = f"{name} is not there, neither in {base} nor in a folder above it; put the {what} there or change the case"
        raise CaseError(message)

    def _readable(self, path: Path, what: str) -> Path:
        """Return a path that somebody can read without waiting for ever."""
        try:
            reading.check_model(path)
        except OSError as error:
            message = f"{path}, the {what} of the case, cannot be read: {error.strerror}; give a file or a folder"
            raise CaseError(message) from error
        return path

    def _chosen(self, section: str, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return a section with those of its values that somebody has set; nothing where nobody has."""
        chosen = {key: value for key, value in values.items() if self._is_set(f"{section}.{key}")}
        return {section: chosen} if chosen else {}

    def _is_set(self, key: str) -> bool:
        """Tell whether somebody has set a key."""
        return self.sources.get(key, _DEFAULT) != _DEFAULT


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Resolved:
    """Read a case file; `overrides` holds the command line's values by dotted key.

    Raises:
        CaseError: the file is not there, is not TOML, has an unknown key or a wrong value.
    """
    path = Path(path)
    raw = _read(path)
    sources = dict.fromkeys(_keys(raw), str(path))
    chosen = {"environment": _environment(), "command line": overrides or {}}  # the later one has the last word
    for source, values in chosen.items():
        for dotted, value in values.items():
            _put(raw, dotted, value)
            sources[dotted] = source
    return Resolved(case=_convert(raw, path), sources=_defaults() | sources, base=str(path.resolve().parent))


def _read(path: Path) -> dict[str, Any]:
    """Return a file's plain TOML."""
    try:
        return reading.toml(path, reading.CASE_BYTES)
    except FileNotFoundError as error:
        message = f"{path} is not there; give the path of a case, for example fixtures/cases/tiny.toml"
        raise CaseError(message) from error
    except OSError as error:
        message = f"{path} cannot be read as a case: {error.strerror}"
        raise CaseError(message) from error
    except ValueError as error:
        message = f"{path} cannot be read as TOML: {error}"
        raise CaseError(message) from error


def _keys(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield the dotted keys of all sections of a plain case."""
    for section in _SET:
        table = raw.get(section)
        if isinstance(table, dict):
            for key in table:
                yield f"{section}.{key}"


def _convert(raw: dict[str, Any], path: Path) -> Case:
    """Turn plain TOML into a `Case`, or say which key is wrong."""
    _refuse_unknown(raw, path)
    try:
        case = msgspec.convert(raw, Case, strict=True)
        _check_given_prompt(raw, case.prompt)
    except (msgspec.ValidationError, ValueError) as error:
        message = f"{path}: {error}; the keys of a case are described in docs/case.md"
        raise CaseError(message) from error
    return case


def _check_given_prompt(raw: Mapping[str, Any], prompt: Prompt) -> None:
    """Raise for a section without a text: who has no prompt leaves the section out."""
    _check(
        met="prompt" not in raw or bool(prompt.positive),
        otherwise="prompt.positive is empty; give at least one prompt",
    )


def _refuse_unknown(raw: Mapping[str, Any], path: Path) -> None:
    """Raise for a key that no section has, with the nearest one that exists."""
    known = Case.__struct_fields__
    for section, content in raw.items():
        _refuse_key(section, known, f"{path}: unknown key {section!r}", "the sections are")
        tables = content if isinstance(content, list) else [content]
        for table in tables:
            _refuse_unknown_keys(section, table, path)


def _refuse_unknown_keys(section: str, table: object, path: Path) -> None:
    """Raise for a key that a section does not have; what is no table is refused when it is converted."""
    kind = _SECTIONS.get(section)
    if kind is None or not isinstance(table, dict):
        return
    known = kind.__struct_fields__
    for key in table:
        _refuse_key(key, known, f"{path}: unknown key {key!r} in [{section}]", f"[{section}] has")


def _refuse_key(key: str, known: Sequence[str], fault: str, there_are: str) -> None:
    """Raise for one key that is not known, with the nearest one."""
    if key not in known:
        message = f"{fault}{nearest(key, known)}; {there_are} {', '.join(known)}"
        raise CaseError(message)


def _environment() -> dict[str, Any]:
    """Return the values of `PARITY_SECTION_KEY` variables by dotted key."""
    found: dict[str, Any] = {}
    for name, text in os.environ.items():
        named = _VARIABLE.fullmatch(name)
        if named is not None:
            found[".".join(named.groups()).lower()] = _as_toml(text)
    return found


def _as_toml(text: str) -> Any:
    """Read a variable as a TOML value, or as text where it is none."""
    try:
        return reading.parsed_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def _put(raw: dict[str, Any], dotted: str, value: object) -> None:
    """Set one dotted key in the plain case."""
    section, _, key = dotted.partition(".")
    table = raw.setdefault(section, {})
    if isinstance(table, dict):  # what is no table is refused when it is converted
        table[key] = value


def _defaults() -> dict[str, str]:
    """Return the source of every key that nobody sets; [image] is there only if somebody does."""
    # A key without a value of its own, such as `sampling.eta`, is not there unless it is set.
    unset = msgspec.to_builtins(Case(schema=1, model=Model(folder="")))
    return dict.fromkeys(_keys(unset), _DEFAULT)
