"""What the words of a command line mean: texts to the options of the core, checked before a framework is imported."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from parity import case as cases
from parity.dtypes import FloatName
from parity.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity import record, replay
    from parity.case import Case, Resolved
    from parity.trace import Store

__all__ = ["Recording", "Replaying", "named", "planted", "types"]

_FAULTS: Final = Path("fixtures") / "faults"
_TYPES: Final = get_args(FloatName)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What is asked of a recording: `parity record` does it, `parity run` hands it to a process that does.

    The fields have the names of the options and hold what was typed.
    """

    case: Path
    reference: str
    source: Path | None = None
    store: Store
    dtype: Sequence[str] | None = None
    size: str | None = None
    device: str = "cpu"
    taps: str | None = None
    steps: str | None = None
    resume: bool = False

    def resolved(self, **others: Any) -> Resolved:
        """Return the case with the values that the command line sets; `others` by section and key.

        Raises:
            CaseError, InputError: the case, a type or the size is none.
            ToleranceError: a rule of the case is none, so that no comparison of its traces could be judged.
        """
        resolved = cases.load(self.case, {**_overrides(self.dtype, self.size), **others})
        _check_rules(resolved.case, self.case)
        return resolved

    def options(self) -> record.Options:
        """Return the options of the recorder.

        Raises:
            InputError: a type or a step is none.
        """
        from parity import record

        return record.Options(
            dtypes=types(self.dtype), device=self.device, store=self.store, taps=self.taps, steps=_numbers(self.steps),
            source=self.source, resume=self.resume,
        )  # fmt: skip

    def words(self, out: Path) -> list[str]:
        """Return the arguments of the `parity record` that writes this to `out`; what has its default is not said."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        said = {name: value for name, value in vars(self).items() if value != defaults[name]}
        return [str(said.pop("case")), f"--out={out}", *named(**said)]


@dataclass(frozen=True, kw_only=True)
class Replaying:
    """What is asked of a replay: `parity replay` does it, `parity run` hands it to processes that do."""

    candidate: str
    source: Path | None = None
    weights: Path | None = None
    plant: str | None = None
    mode: Sequence[str] | None = None
    dtype: Sequence[str] | None = None
    store: Store = "hdf5"
    device: str = "CPU"
    only: str | None = None
    repair: Path | None = None
    follow: str | None = None
    resume: bool = False

    def options(self, trace: Path) -> replay.Options:
        """Return the options of the replayer of a trace.

        Raises:
            InputError: a mode, a type or a fault is none.
            RepairError: the repairs cannot be read.
        """
        from parity import repair as repairs
        from parity import replay

        return replay.Options(
            modes=replay.modes_of(self.mode), dtypes=types(self.dtype), device=self.device, weights=self.weights,
            source=self.source, only=self.only, plant=planted(self.plant, trace), store=self.store,
            repairs=repairs.read(self.repair) if self.repair else repairs.Repairs(),
            command=tuple(self._again()),
            follow=replay.Following.parse(self.follow) if self.follow else None, resume=self.resume,
        )  # fmt: skip

    def _again(self) -> list[str]:
        """Return the options with which a counterfactual replay builds the same candidate again."""
        given = {"source": self.source, "weights": self.weights, "device": self.device, "plant": self.plant}
        return named(candidate=self.candidate, **given)

    def side(self) -> list[str]:
        """Return the options that say which candidate it is."""
        return named(candidate=self.candidate, source=self.source, weights=self.weights, plant=self.plant)

    def words(self, trace: Path, out: Path) -> list[str]:
        """Return the arguments of the `parity replay` that writes this to `out`."""
        return [
            str(trace), f"--store={self.store}", *self.side(), f"--out={out}", *named(dtype=self.dtype, mode=self.mode, resume=self.resume),
        ]  # fmt: skip


def _check_rules(case: Case, path: Path) -> None:
    """Refuse rules of a case that are none, before hours are spent on its traces."""
    from parity.compare.plan import Excludes
    from parity.compare.rules import RuleBook

    try:
        RuleBook(case.tolerance)
        Excludes(msgspec.to_builtins(case.exclude))
    except InputError as error:
        message = f"{path}: {error}"
        raise type(error)(message) from error


def named(**values: Any) -> list[str]:
    """Return `--name=value` for each value that is given, one for each item of a sequence, and `--name` for True."""
    found = []
    for name, value in values.items():
        option = f"--{name.replace('_', '-')}"
        if not value:
            continue
        if value is True:
            found.append(option)
        elif isinstance(value, (str, int, Path)):
            found.append(f"{option}={value}")
        else:
            found += [f"{option}={item}" for item in value]
    return found


def types(dtypes: Sequence[str] | None) -> tuple[str, ...]:
    """Check names of floating types; none given is none.

    Raises:
        InputError: there is no such type.
    """
    for name in dtypes or ():
        if name not in _TYPES:
            message = f"--dtype {name} is not a type{nearest(name, _TYPES)}; one of {', '.join(_TYPES)}"
            raise InputError(message)
    return tuple(dtypes or ())


def planted(name: str | None, near: Path) -> Path | None:
    """Return the file of a planted fault: a path, or a name in fixtures/faults here or above `near`.

    Raises:
        InputError: there is no such fault.
    """
    if name is None:
        return None
    if Path(name).suffix == ".py":
        if not Path(name).exists():
            message = f"--plant {name} is not there; give a file, or a name of fixtures/faults"
            raise InputError(message)
        return Path(name)
    known = _faults(near)
    if name not in known:
        there = ", ".join(sorted(known)) or "none here"
        message = f"no fault is named {name!r}{nearest(name, known)}; there are {there}"
        raise InputError(message)
    return known[name]


def _faults(near: Path) -> dict[str, Path]:
    """Return the faults by name, those of the nearest folder first."""
    known: dict[str, Path] = {}
    for folder in (Path.cwd(), *near.resolve().parents):
        for path in sorted((folder / _FAULTS).glob("*.py")):
            known.setdefault(path.stem, path)
    return known


def _overrides(dtypes: Sequence[str] | None, size: str | None) -> dict[str, Any]:
    """Return the case's values that the command line sets."""
    found: dict[str, Any] = {}
    working = [name for name in types(dtypes) if name != "float64"]
    if working:
        found["precision.dtype"] = working[0]
    if size is not None:
        found["size.width"], found["size.height"] = _pixels(size)
    return found


def _pixels(text: str) -> tuple[int, int]:
    """Read `256x192`."""
    numbers = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    if numbers is None:
        message = f"--size {text} is not WIDTHxHEIGHT; write for example --size 256x192"
        raise InputError(message)
    width, height = map(int, numbers.groups())
    return width, height


def _numbers(text: str | None) -> frozenset[int] | None:
    """Read `0,19,39`."""
    if text is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,6}\s*(,\s*[0-9]{1,6}\s*)*", text) is None:
        message = f"--steps {text} is not a list of step numbers; write for example --steps 0,19,39"
        raise InputError(message)
    return frozenset(map(int, text.split(",")))
