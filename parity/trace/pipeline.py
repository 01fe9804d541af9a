"""A background thread behind a queue bounded by bytes.

The caller of `put` only appends; the thread takes what is there in one go, which keeps hand-overs between
the threads rare when tensors are small. An item counts against the bound until it has been handled. The
first exception of the handler stops the thread; the next `put`, or `close`, raises it.

What is done last is done in the thread too. A signal interrupts the main thread only, and in the middle of a library that
calls Python, such as HDF5 writing to a file object, an interruption is taken for an error of that call.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pipeline"]

Item = TypeVar("Item")
_WAKE_ITEMS: Final = 128
_WAKE_BYTES: Final = 1 << 20
_NAP_S: Final = 0.02


class Pipeline(Generic[Item]):
    """Hands items to `handle` in a thread, in order, and calls `finish` there when there will be none."""

    def __init__(
        self, handle: Callable[[Item], None], limit_bytes: int, name: str, finish: Callable[[], None] | None = None
    ) -> None:
        """Start the thread; `limit_bytes` bounds what waits, though one larger item may wait alone."""
        self._handle = handle
        self._finish = finish
        self._ended = threading.Event()
        self._limit = limit_bytes
        self._waiting: deque[tuple[Item, int]] = deque()
        self._held = 0
        self._closing = False
        self._error: BaseException | None = None
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item, size: int) -> None:
        """Append an item of `size` bytes, waiting for room; raises the thread's error if it has one."""
        with self._room:
            while self._held and self._held + size > self._limit and self._error is None:
                self._work.notify()
                self._room.wait()
            if self._error is not None:
                raise self._error
            self._waiting.append((item, size))
            self._held += size
            if self._held >= _WAKE_BYTES or len(self._waiting) >= _WAKE_ITEMS:
                self._work.notify()

    def close(self) -> None:
        """Wait until everything is handled and the thread has ended; raises its error if it has one.

        An interruption is raised after that: what was handed over is not lost by it.
        """
        with self._work:
            self._closing = True
            self._work.notify()
        interruption: KeyboardInterrupt | None = None
        while not self._ended.is_set():
            try:
                self._ended.wait()
            except KeyboardInterrupt as error:
                interruption = error
        failure = self._error or interruption
        if failure is not None:
            raise failure

    def _run(self) -> None:
        """Handle items until closed or failed."""
        try:
            self._handle_all()
            if self._finish is not None:
                self._finish()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            with self._room:
                self._error = error
                self._waiting.clear()
                self._room.notify_all()
        finally:
            self._ended.set()

    def _handle_all(self) -> None:
        """Handle items until there will be none."""
        while self._await():
            item, size = self._waiting.popleft()
            self._handle(item)
            del item
            with self._room:
                self._held -= size
                self._room.notify()

    def _await(self) -> bool:
        """Wait for an item; false when there will be none."""
        if self._waiting:
            return True
        with self._work:
            while not self._waiting and not self._closing:
                self._work.wait(_NAP_S)
        return bool(self._waiting)
