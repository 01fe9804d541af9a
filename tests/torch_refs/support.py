"""Small real objects that several tests use."""

from __future__ import annotations

import numpy as np

from parity.case import DIFFUSION
from parity.dtypes import widen


def ignore(_done, _total):
    """Take progress and say nothing."""


class Memory:
    """A sink that keeps everything in memory, widened, with the islands' marks."""

    def __init__(self):
        self.tensors: dict[str, np.ndarray] = {}
        self.values: dict[str, object] = {}
        self.islands: dict[str, str] = {}

    def tensor(self, address, array, *, dtype=None, island=None, **_):
        """Keep a tensor."""
        name = dtype or array.dtype.name
        self.tensors[address] = widen(array, name) if array.dtype.kind in "fu" else np.array(array)
        if island is not None:
            self.islands[address] = island

    def value(self, address, value, **_):
        """Keep a value."""
        self.values[address] = value


class Loaded:
    """A reference whose system is there already."""

    name = "loaded"
    sections = DIFFUSION

    def __init__(self, system):
        self._system = system

    def load(self, resolved, *, device, dtype, source=None):
        """Return the system."""
        del resolved, device, dtype, source
        return self._system


def relative(actual, wanted):
    """Return the rms of the difference relative to the rms of what is wanted."""
    actual, wanted = np.asarray(actual, np.float64), np.asarray(wanted, np.float64)
    return float(np.sqrt(np.mean((actual - wanted) ** 2)) / np.sqrt(np.mean(wanted**2)))
