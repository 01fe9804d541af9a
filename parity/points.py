"""References and candidates by the name of their entry point, or as `MODULE:ATTR`, and what is said when one fails.

    >>> find("candidate", "no.such.module:candidate")
    Traceback (most recent call last):
    parity.errors.InputError: the candidate no.such.module:candidate cannot be loaded: No module named 'no'; check the name and that its package is installed

An adapter or a planted fault is somebody's own Python, and may do anything while it is imported or called: raise, leave the
interpreter, print. Within `guarded` that becomes one error with the file and the line of theirs, and what they print goes to
stderr, where it spoils no data.

    >>> with guarded("the fault x.py"):
    ...     exec(compile("raise SystemExit(0)", "x.py", "exec"), {})
    Traceback (most recent call last):
    parity.errors.InputError: the fault x.py fails at x.py, line 1, in <module>: SystemExit: 0; PARITY_TRACEBACK=1 shows every call

Limits: a process that is ended from within, by `os._exit` or a crash of native code, says nothing.
"""

from __future__ import annotations

import sys
import sysconfig
import traceback
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import metadata
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from parity.errors import FrameworkMissingError, InputError, ParityError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from types import FrameType

__all__ = ["find", "guarded", "guarded_adapter"]

Kind = Literal["reference", "candidate"]

_EXTRAS: Final = {"reference": "torch", "candidate": "mindspore"}
_NEEDED: Final = {"reference": ("name", "sections", "load"), "candidate": ("name", "alignment", "build")}
_DISTRIBUTION: Final = "sdxl-parity"
_INSTALLED: Final = ("<frozen ", *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")))
_NOT_THEIRS: Final = (ParityError, KeyboardInterrupt, MemoryError)


def find(kind: Kind, name: str) -> Any:
    """Return what an entry point of `parity.references` or `parity.candidates` names.

    Raises:
        InputError: nothing has that name, it cannot be loaded, or it is no adapter.
        FrameworkMissingError: it needs a framework that is not installed.
    """
    point, what = _point(kind, name), f"the {kind} {name}"
    try:
        with redirect_stdout(sys.stderr):
            found = point.load()
    except ModuleNotFoundError as error:
        missing = error.name
        # What is missing is the adapter itself, or a package around it: the name is wrong, and no framework.
        if missing is None or f"{point.module}.".startswith(f"{missing}."):
            raise _unloadable(what, error) from error
        message = f"{what} needs {missing}, which is not installed; pip install 'sdxl-parity[{_EXTRAS[kind]}]'"
        raise FrameworkMissingError(message) from error
    except _NOT_THEIRS:
        raise
    except BaseException as error:
        if _is_ours(point) and not isinstance(error, ImportError | AttributeError):
            raise
        if _frame_of_theirs(error) is not None:
            raise _failure(what, error) from error
        if not isinstance(error, Exception):
            raise
        raise _unloadable(what, error) from error
    _check_adapter(kind, what, found)
    return found


def _check_adapter(kind: Kind, what: str, found: object) -> None:
    """Refuse what is no adapter.

    Raises:
        InputError: it lacks something that every adapter has.
    """
    it_is = f"of type {type(found).__name__}"
    if isinstance(found, type):
        it_is = f"the class {found.__name__}"
    elif all(hasattr(found, each) for each in _NEEDED[kind]):
        return
    message = f"{what} is {it_is} and no adapter; give an object with {', '.join(_NEEDED[kind])} (docs/adapters.md)"
    raise InputError(message)


def guarded_adapter(kind: Kind, name: str) -> AbstractContextManager[None]:
    """Guard what somebody's own adapter does; one of this distribution fails like any other part of it."""
    if _is_ours(_point(kind, name)):
        return nullcontext()
    return guarded(f"the {kind} {name}")


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turn whatever somebody's own Python does wrong in the block into one error; what it prints goes to stderr.

    Args:
        what: How the error names that Python.

    Raises:
        InputError: it raised anything, or left the interpreter; an error of the harness stays as it is.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except _NOT_THEIRS:
        raise
    except Exception as error:
        raise _failure(what, error) from error
    except BaseException as error:
        if _frame_of_theirs(error) != _frames(error)[-1]:
            raise  # it is not theirs: somebody ends the process
        raise _failure(what, error) from error


def _failure(what: str, error: BaseException) -> InputError:
    """Return the error about what was raised: where in their Python, or else what of ours could not use what they gave."""
    frame = _frame_of_theirs(error)
    place = _place(error, frame or _frames(error)[-1])
    said = _text(error)
    if frame is None:
        said = f"it was given what it cannot use: {said}"
    return InputError(f"{what} fails at {place}: {said}; PARITY_TRACEBACK=1 shows every call")


def _text(error: BaseException) -> str:
    """Return type and text of an error, whatever its text is; the line of a syntax error is told with its place."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return traceback.format_exception_only(error)[0].strip()


def _place(error: BaseException, frame: _Frame) -> str:
    """Return file, line and function of a frame, or of what is no Python."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno or 0}, in <module>"
    return f"{frame.file}, line {frame.line}, in {frame.frame.f_code.co_name}"


class _Frame(NamedTuple):
    """A frame that an error went through, and the line that it was at."""

    frame: FrameType
    line: int

    @property
    def file(self) -> str:
        """The file of its code."""
        return self.frame.f_code.co_filename

    @property
    def package(self) -> str:
        """The package that its code is of."""
        return _package(str(self.frame.f_globals.get("__name__")))


def _package(module: str) -> str:
    """Return the package that a module is in, or is."""
    return module.partition(".")[0]


def _frames(error: BaseException) -> list[_Frame]:
    """Return the frames that an error went through, the innermost last."""
    return list(starmap(_Frame, traceback.walk_tb(error.__traceback__)))


def _frame_of_theirs(error: BaseException) -> _Frame | None:
    """Return the innermost frame that is of nobody's package, or None; a syntax error is theirs too."""
    ours = _packages_of_ours()
    for frame in reversed(_frames(error)):
        is_installed = frame.file.startswith(_INSTALLED)
        if not is_installed and frame.package not in ours:
            return frame
    if isinstance(error, SyntaxError) and error.filename:
        return _frames(error)[-1]
    return None


def _packages_of_ours() -> set[str]:
    """Return the packages of this distribution that an error may go through."""
    ours = {"parity"}
    for group in ("parity.references", "parity.candidates"):
        points = filter(_is_ours, metadata.entry_points(group=group))
        ours.update(_package(point.module) for point in points)
    return ours


def _point(kind: Kind, name: str) -> metadata.EntryPoint:
    """Return the entry point of a name, or one made of `MODULE:ATTR`."""
    group = f"parity.{kind}s"
    points = {point.name: point for point in metadata.entry_points(group=group)}
    if name in points:
        return points[name]
    if ":" in name:
        return metadata.EntryPoint(name, name, group)
    message = f"no {kind} is named {name!r}{nearest(name, points)}; there are {', '.join(points)}, or give MODULE:ATTR"
    raise InputError(message)


def _is_ours(point: metadata.EntryPoint) -> bool:
    """Tell whether an entry point is of this distribution."""
    return point.dist is not None and point.dist.name == _DISTRIBUTION


def _unloadable(what: str, error: Exception) -> InputError:
    """Return the error of an entry point that is there and does not load."""
    return InputError(f"{what} cannot be loaded: {error}; check the name and that its package is installed")
