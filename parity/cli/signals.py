"""Being asked to end: by Ctrl-C, by SIGTERM, by a terminal that closes. Once in good order, twice at once."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

from parity.children import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["listen"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen() -> Callable[[], bool]:
    """Let each of the signals interrupt the command; one that is ignored (nohup) stays so.

    Returns:
        Whether it was interrupted, for whoever meets what a library has made of that.
    """
    asked = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        if asked:
            os._exit(INTERRUPTED)
        asked = True
        raise KeyboardInterrupt

    for each in _SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, end)
    return lambda: asked
