"""References and candidates by the name of their entry point, or as `MODULE:ATTR`.

>>> find("candidate", "no.such.module:candidate")
Traceback (most recent call last):
parity.errors.InputError: the candidate no.such.module:candidate cannot be loaded: No module named 'no'; check the name and that its package is installed
"""

from __future__ import annotations

from importlib import metadata
from typing import Any, Literal

from parity.errors import FrameworkMissingError, InputError, nearest

__all__ = ["find"]

_EXTRAS = {"reference": "torch", "candidate": "mindspore"}


def find(kind: Literal["reference", "candidate"], name: str) -> Any:
    """Return what an entry point of `parity.references` or `parity.candidates` names.

    Raises:
        InputError: nothing has that name, or it cannot be loaded.
        FrameworkMissingError: it needs a framework that is not installed.
    """
    point = _point(kind, name)
    try:
        return point.load()
    except ModuleNotFoundError as error:
        missing = error.name
        # What is missing is the adapter itself, or a package around it: the name is wrong, and no framework.
        if missing is None or f"{point.module}.".startswith(f"{missing}."):
            raise _unloadable(kind, name, error) from error
        message = (
            f"the {kind} {name} needs {missing}, which is not installed; pip install 'sdxl-parity[{_EXTRAS[kind]}]'"
        )
        raise FrameworkMissingError(message) from error
    except (ImportError, AttributeError) as error:
        raise _unloadable(kind, name, error) from error


def _point(kind: str, name: str) -> metadata.EntryPoint:
    """Return the entry point of a name, or one made of `MODULE:ATTR`."""
    group = f"parity.{kind}s"
    points = {point.name: point for point in metadata.entry_points(group=group)}
    if name in points:
        return points[name]
    if ":" in name:
        return metadata.EntryPoint(name, name, group)
    message = f"no {kind} is named {name!r}{nearest(name, points)}; there are {', '.join(points)}, or give MODULE:ATTR"
    raise InputError(message)


def _unloadable(kind: str, name: str, error: Exception) -> InputError:
    """Return the error of an entry point that is there and does not load."""
    return InputError(f"the {kind} {name} cannot be loaded: {error}; check the name and that its package is installed")
