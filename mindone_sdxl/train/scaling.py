"""The loss scale over a run.

>>> from mindone_sdxl.train.recipe import LossScale
>>> scale = Scale(LossScale(value=1024.0, dynamic=True, interval=2))
>>> for overflows in (True, False, False):
...     scale.note(overflows=overflows)
>>> scale.value, scale.overflows
(1024.0, 1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindone_sdxl.train.recipe import LossScale

__all__ = ["Scale"]


class Scale:
    """The present factor, and how it came about.

    Args:
        options: what it starts from, and whether it changes.
    """

    def __init__(self, options: LossScale) -> None:
        self._options = options
        self.value = options.value
        self.overflows = 0
        self.since = 0

    def note(self, *, overflows: bool) -> None:
        """Take notice of an update: halve the factor if it overflowed, double it after a long time without."""
        self.since = 0 if overflows else self.since + 1
        self.overflows += overflows
        if not self._options.dynamic:
            return
        if overflows:
            self.value /= 2
        elif self.since == self._options.interval:
            self.value *= 2
            self.since = 0
