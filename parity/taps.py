"""From what happens in a run to addressed records: counts calls, knows the step, picks what is wanted.

An adapter says `enter` when a module or a named function is called and `leave` when it returns, and hands
over its inputs and outputs in between. `Taps` turns that into addresses and writes them to a sink:

    >>> import numpy as np
    >>> sink = Digests()
    >>> taps = Taps(sink)
    >>> taps.step = 0
    >>> call = taps.enter("unet.conv_in")
    >>> taps.tensor(call, "output", np.zeros(2, np.float32), "float32")
    >>> taps.leave(call)
    >>> list(sink.found)
    ['unet.conv_in@step=0,call=0:output']

The contract leaves `call` out where a path is called once within a step, which nobody knows at the first
call. So a first run counts: without `counts` every address has its call. `counts` of that run given to the
next ones, the addresses are the contract's, the same in every run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from parity.address import Address, pattern
from parity.trace import digest
from parity.trace.records import plain_value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy as np

__all__ = ["Call", "Digests", "Filter", "Sink", "Taps", "key", "rebuild"]


class Call(NamedTuple):
    """One call of a path: the `number`-th within (path, step)."""

    path: str
    step: int | None
    number: int

    @classmethod
    def of(cls, address: Address) -> Self:
        """Return the call that an address belongs to."""
        return cls(address.path, address.step, address.call or 0)


class Sink(Protocol):
    """Where records go; a `RunWriter` is one. What a sink has no use for it takes as `**_`."""

    def tensor(
        self,
        address: str,
        array: np.ndarray,
        *,
        dtype: str | None = None,
        native: str | None = None,
        island: str | None = None,
        copy: bool = True,
    ) -> None:
        """Take a tensor; with `copy=False` it is the sink's own."""

    def value(self, address: str, value: object, *, native: str | None = None) -> None:
        """Take a value that is no tensor."""


class Digests:
    """A sink that keeps digests instead of tensors, by `key` of the address."""

    def __init__(self) -> None:
        """Begin empty."""
        self.found: dict[str, str] = {}

    def tensor(self, address: str, array: np.ndarray, *, dtype: str | None = None, **_: Any) -> None:
        """Digest a tensor as a trace does."""
        self.found[address] = digest(array, dtype or array.dtype.name)

    def value(self, address: str, value: object, **_: Any) -> None:
        """Keep the value's text."""
        self.found[address] = repr(plain_value(value))


class Filter:
    """Which addresses are recorded: those that match `taps`, of the steps in `steps` and of no step at all."""

    def __init__(self, taps: str | None = None, steps: Collection[int] | None = None) -> None:
        """Compile the pattern.

        Raises:
            AddressError: `taps` is not a regular expression.
        """
        self._pattern = pattern(taps)
        self._steps = None if steps is None else frozenset((None, *steps))
        self.any = False

    def __call__(self, address: str, step: int | None) -> bool:
        """Tell whether the address is recorded."""
        if not self._takes(step):
            return False
        found = self._pattern.matches(address)
        self.any |= found
        return found

    def _takes(self, step: int | None) -> bool:
        """Tell whether a step of the loop, or what is outside of it, is recorded."""
        return self._steps is None or step in self._steps


class Taps:
    """Receives what an adapter sees and writes it to `sink` under its address."""

    def __init__(
        self,
        sink: Sink,
        *,
        counts: Mapping[tuple[str, int | None], int] | None = None,
        wanted: Filter | None = None,
        islands: Mapping[str, str] | None = None,
    ) -> None:
        """Start before the first call.

        Args:
            sink: Where records go.
            counts: How often each path is called within each step, known from an earlier run of the case.
            wanted: What is recorded; None for everything.
            islands: Paths whose outputs depend on a narrower type, with the operator; more come by `mark`.
        """
        self.step: int | None = None
        self.counts: dict[tuple[str, int | None], int] = {}
        self.stack: list[Call] = []
        self._natives: dict[Call, str | None] = {}
        self._sink = sink
        self._known = counts
        self._wanted = wanted or Filter()
        self.islands: dict[str, str] = dict(islands or {})
        self.partial: set[Call] = set()

    def enter(self, path: str, native: str | None = None) -> Call:
        """Count a call that begins; `native` is its own path, where the reference's code calls it by another."""
        place = (path, self.step)
        number = self.counts.get(place, 0)
        self.counts[place] = number + 1
        call = Call(path, self.step, number)
        self.stack.append(call)
        self._natives[call] = native
        return call

    def leave(self, call: Call) -> None:
        """Note that a call has ended, by returning or by an exception."""
        # Calls that an exception left open lie above it.
        while self.stack and self.stack.pop() != call:
            continue
        self._natives.pop(call, None)

    def address(self, call: Call, port: str) -> str | None:
        """Return the address of a port of a call, or None when it is not recorded.

        A call with an input that is not recorded is noted in `partial`: it cannot be repeated from the trace.
        """
        text = self._address(call, port)
        if text is None and port.startswith("input"):
            self.partial.add(call)
        return text

    def _address(self, call: Call, port: str) -> str | None:
        """Return the address if it is wanted."""
        number = None if self._is_only(call) else call.number
        text = str(Address(path=call.path, step=call.step, call=number, port=port))
        wanted = self._wanted(text, call.step)
        # While calls are counted, the first may turn out to be the only one; patterns are written for its address then.
        if not wanted and self._known is None and number == 0:
            wanted = self._wanted(str(Address(path=call.path, step=call.step, port=port)), call.step)
        return text if wanted else None

    def _is_only(self, call: Call) -> bool:
        """Tell whether a path is known to be called once within the step."""
        return self._known is not None and self._known.get((call.path, call.step), 1) == 1

    def tensor(self, call: Call, port: str, array: np.ndarray, dtype: str) -> None:
        """Record a tensor of a call; the array is handed over."""
        text = self.address(call, port)
        if text is not None:
            island = self.islands.get(call.path) if port.startswith("output") else None
            self._sink.tensor(text, array, dtype=dtype, native=self._natives.get(call), island=island, copy=False)

    def value(self, call: Call, port: str, value: Any) -> None:
        """Record a plain value of a call."""
        text = self.address(call, port)
        if text is not None:
            self._sink.value(text, value, native=self._natives.get(call))

    def repeat(self, address: Address, array: np.ndarray, dtype: str, native: str | None = None) -> None:
        """Record a tensor at an address of an earlier run; the array is handed over."""
        if self._wanted(str(address), address.step):
            island = self.islands.get(address.path)
            self._sink.tensor(str(address), array, dtype=dtype, native=native, island=island, copy=False)

    def mark(self, island: str) -> None:
        """Mark the paths of all running calls: their outputs depend on an operator in a narrower type."""
        for call in self.stack:
            self.islands.setdefault(call.path, island)


def key(address: str) -> str:
    """Return the form of an address that a counting run gives it, with its call always written."""
    parsed = Address.parse(address)
    call = Call.of(parsed)
    return str(replace(parsed, call=call.number))


def rebuild(flat: Mapping[str, Any]) -> Any:
    """Return the nested arguments of a call from its recorded inputs; keys without the leading `input.`.

    A level whose keys are 0, 1, 2 … becomes a tuple, any other a dict.

        >>> rebuild({"x.0": 1, "x.1": 2, "y.z": 3})
        {'x': (1, 2), 'y': {'z': 3}}
    """
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *above, last = key.split(".")
        level = nested
        for part in above:
            level = level.setdefault(part, {})
        level[last] = value
    return _tuples(nested)


def _tuples(level: Any) -> Any:
    """Turn numbered levels into tuples."""
    if not isinstance(level, dict):
        return level
    inner = {key: _tuples(value) for key, value in level.items()}
    if inner and list(inner) == list(map(str, range(len(inner)))):
        return tuple(inner.values())
    return inner
