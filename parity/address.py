r"""Where a tensor was seen: path, step, call, port, and the order of the stages.

    >>> a = Address.parse("unet.conv_in@step=3,call=0:input.sample")
    >>> a.path, a.step, a.call, a.port
    ('unet.conv_in', 3, 0, 'input.sample')
    >>> str(a)
    'unet.conv_in@step=3,call=0:input.sample'
    >>> matches(r"unet\..*:output", "unet.conv_in@step=0:output")
    True

`PATH[@step=N][,call=N]:PORT` is fixed by the contract. `@` opens the index part, so an address with a
call and no step reads `PATH@call=1:PORT`. Every pattern must match the whole address, and does so in time that grows with
the address alone, whatever the pattern is: RE2 matches it, so there is no look-around and no back reference.

Source: https://github.com/google/re2/wiki/Syntax
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from parity.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "STAGES",
    "Address",
    "Pattern",
    "component_of",
    "index_of",
    "is_input",
    "is_output",
    "literal",
    "matches",
    "path_of",
    "pattern",
    "place_of",
    "port_of",
    "step_of",
]

_CACHED: Final = 1 << 16

STAGES: Final = (
    "weights", "attributes", "tokens", "conditioning", "schedule", "unet", "guidance", "sampler", "vae", "image",
    "batch", "loss", "gradients", "clipped", "update", "ema",
)  # fmt: skip

_LONGEST_PATTERN: Final = 1 << 17
_SPECIAL: Final = re.compile(r"[\\.^$*+?{}\[\]|()]")
_NOT_LINEAR: Final = ("(?=", "(?!", "(?<=", "(?<!", "(?>", "(?(", "(?P=", *(f"\\{digit}" for digit in range(1, 10)))
_FORM = re.compile(r"(?P<path>[^@:]+)(?:@(?:step=(?P<step>\d+))?,?(?:call=(?P<call>\d+))?)?:(?P<port>[^@:]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A place in a run. `step` is None outside the loop, `call` is None when there is only one."""

    path: str
    port: str
    step: int | None = None
    call: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read the text form.

        Raises:
            AddressError: the text has another form.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            message = (
                f"{text!r} is not an address; write PATH[@step=N][,call=N]:PORT, for example unet.conv_in@step=0:output"
            )
            raise AddressError(message)
        step, call = found["step"], found["call"]
        return cls(
            path=found["path"],
            port=found["port"],
            step=None if step is None else int(step),
            call=None if call is None else int(call),
        )

    def __str__(self) -> str:
        """Return the text form."""
        return f"{self.path}{self.index}:{self.port}"

    @property
    def index(self) -> str:
        """The part between path and port: `@step=3,call=0`, or nothing."""
        parts = [f"{key}={value}" for key, value in (("step", self.step), ("call", self.call)) if value is not None]
        return "@" + ",".join(parts) if parts else ""


# A comparison asks for parts of some hundred thousand addresses, so these cut the text instead of parsing it.


@lru_cache(maxsize=_CACHED)
def place_of(address: str) -> str:
    """Return an address without its port: path and index. A text without a port is a place already.

    >>> place_of("unet.conv_in@step=3,call=0:input.sample"), place_of("unet.conv_in")
    ('unet.conv_in@step=3,call=0', 'unet.conv_in')
    """
    return address.partition(":")[0]


@lru_cache(maxsize=_CACHED)
def path_of(address: str) -> str:
    """Return the path of an address, of a place or of a path.

    >>> path_of("unet.conv_in@step=3,call=0:input.sample"), path_of("unet.conv_in:weight")
    ('unet.conv_in', 'unet.conv_in')
    """
    return place_of(address).partition("@")[0]


@lru_cache(maxsize=_CACHED)
def index_of(address: str) -> str:
    """Return the index of an address or of a place, without its `@`; empty where there is none.

    >>> index_of("unet.conv_in@step=3,call=0:input.sample")
    'step=3,call=0'
    """
    return place_of(address).partition("@")[2]


def step_of(address: str) -> int | None:
    """Return the step of an address or of a place, or None outside the loop.

    >>> step_of("unet.conv_in@step=3,call=0:output"), step_of("text_encoder@call=1:output")
    (3, None)
    """
    first = index_of(address).partition(",")[0]
    return int(first.removeprefix("step=")) if first.startswith("step=") else None


@lru_cache(maxsize=_CACHED)
def port_of(address: str) -> str:
    """Return the port of an address; empty where there is none.

    >>> port_of("unet.conv_in@step=3:input.sample")
    'input.sample'
    """
    return address.partition(":")[2]


def component_of(address: str) -> str:
    """Return the first part of an address's path.

    >>> component_of("unet.conv_in@step=3:output")
    'unet'
    """
    return path_of(address).partition(".")[0]


def is_output(address: str) -> bool:
    """Tell whether an address is of something returned."""
    return port_of(address).startswith("output")


def is_input(address: str) -> bool:
    """Tell whether an address is of something given."""
    return port_of(address).startswith("input")


class Pattern:
    """A compiled pattern on addresses: a regular expression, several that must all match, or None for every address."""

    def __init__(self, text: str | Sequence[str] | None) -> None:
        """Compile it.

        Raises:
            AddressError: the text, or one of several, is not a regular expression, or one that cannot be matched in linear time.
        """
        self.text = text
        texts = [text] if isinstance(text, str) else text or ()
        self._matchers = [_compiled(each).fullmatch for each in texts]

    def matches(self, address: str) -> bool:
        """Tell whether the whole address matches."""
        # RE2 counts bytes: a text would be counted anew for each match. Half a surrogate pair has no bytes.
        encoded = address.encode(errors="replace")
        return None not in [fullmatch(encoded) for fullmatch in self._matchers]


def pattern(text: str | Sequence[str] | None) -> Pattern:
    """Compile a pattern on addresses; None, where nobody gives one, matches every address.

    Raises:
        AddressError: as `Pattern`.
    """
    return Pattern(text)


def matches(text: str, address: str) -> bool:
    """Tell whether the pattern `text` matches the whole address."""
    return pattern(text).matches(address)


def literal(text: str) -> str:
    r"""Return the pattern that a text alone matches.

    >>> literal("unet.conv in:output")
    'unet\\.conv in:output'
    """
    return _SPECIAL.sub(r"\\\g<0>", text)


@lru_cache(maxsize=256)
def _compiled(text: str) -> Any:
    """Return a compiled regular expression; raises as `Pattern`."""
    import re2  # takes as long as all of this package: only who gives a pattern waits for it

    if len(text) > _LONGEST_PATTERN:
        message = f"a pattern of {len(text)} characters; at most {_LONGEST_PATTERN}"
        raise AddressError(message)
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except (re2.error, ValueError) as error:
        raise AddressError(_refusal(text, error)) from error


def _refusal(text: str, error: Exception) -> str:
    """Return why a text is no pattern, and the way out."""
    found = [sign for sign in _NOT_LINEAR if sign in text]
    if found:
        return (
            f"{text!r} is not a regular expression that takes linear time: look-around, back references and {found[0]} are not "
            f"matched; give alternatives (A|B) or several rules, see docs/patterns.md"
        )
    why = error.args[0] if error.args else error
    said = why.decode(errors="replace") if isinstance(why, bytes) else why
    return f"{text!r} is not a regular expression: {said}; patterns match the whole address, so a dot is written \\."
