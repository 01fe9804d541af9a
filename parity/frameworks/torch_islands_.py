"""Finds the islands of a float64 run: operators that return or consume a narrower floating tensor.

    finder = IslandFinder(taps)
    with finder:
        unet(...)
    finder.islands

A dispatch mode sees every operator below Python, fused or not, so nothing depends on what the result looks
like afterwards. Each island is named with its operator, the file and function that called it, and the path
of the module or named function that was running; the calls that were running are marked at `taps`, and
their outputs carry the mark in the trace.

Limits: operators that a compiled or scripted function runs inside one kernel are one operator here.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from parity.trace.schema import Island

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parity.taps import Taps

__all__ = ["IslandFinder"]

_NARROW: Final = (torch.float32, torch.float16, torch.bfloat16, torch.complex64)
_TORCH: Final = str(Path(torch.__file__).parent)
_PARITY: Final = str(Path(__file__).parent)


class IslandFinder(TorchDispatchMode):
    """Collects islands while its with-block runs."""

    def __init__(self, taps: Taps) -> None:
        """Mark calls at `taps`."""
        super().__init__()
        self._taps = taps
        self._found: Counter[Island] = Counter()

    @property
    def islands(self) -> list[Island]:
        """What was found, each place once with its count, in order of the first time."""
        return [msgspec.structs.replace(island, count=count) for island, count in self._found.items()]

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the operator and look at its tensors."""
        result = func(*args, **(kwargs or {}))
        narrow = next(filter(_is_narrow, _tensors((args, kwargs, result))), None)
        if narrow is not None:
            self._note(str(func), str(narrow.dtype).removeprefix("torch."))
        return result

    def _note(self, operator: str, dtype: str) -> None:
        """Count an island and mark what is running."""
        caller = _caller()
        if caller is None:
            return
        file, function = caller
        stack = self._taps.stack
        island = Island(
            path=stack[-1].path if stack else "",
            operator=operator,
            dtype=dtype,
            file=file,
            function=function,
        )
        self._found[island] += 1
        self._taps.mark(f"{operator} in {dtype}, {file}:{function}")


def _is_narrow(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is floating and narrower than float64."""
    return tensor.dtype in _NARROW


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in an operator's arguments or result."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _caller() -> tuple[str, str] | None:
    """Return file (the end of its path) and function of the nearest frame outside torch; None for the recorder's own."""
    frame = sys._getframe(3)  # noqa: SLF001 - the only way to name the caller of an operator
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_TORCH):
        frame = frame.f_back
    if frame.f_code.co_filename.startswith(_PARITY):
        return None
    return "/".join(Path(frame.f_code.co_filename).parts[-3:]), frame.f_code.co_name
