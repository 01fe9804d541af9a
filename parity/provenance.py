"""What a run's numbers depend on: versions, host, threads, command.

A framework's own part (device, TF32, HF32, attention backend, deterministic flags) is added by the module
in `parity.frameworks` that knows the framework; this one imports none.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from parity import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Described", "describe", "versions"]


class Described(Protocol):
    """What a loaded model of either side says of itself, for the manifest."""

    def attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """Return, by the reference's path, the attributes that decide numerics, under canonical names."""

    def provenance(self) -> dict[str, Any]:
        """Return the framework's part of the provenance."""

    def floors(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return kind -> dtype -> {rel_l2, rel_max}: the platform's own error of each operator."""


def versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each package that is installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe(framework: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of this process; `framework` is what the framework's module reports."""
    return {
        "parity": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if name in _NUMERIC_VARIABLES},
        "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
        **framework,
    }


_NUMERIC_VARIABLES = frozenset({
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG", "MS_ENABLE_HF32",
})  # fmt: skip
