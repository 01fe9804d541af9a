"""The seal of a JSON file: its last key holds the xxh3-128 of the very file, in which the digest itself is 32 zeros.

    >>> sealed = seal(b'{"verdict": "MATCH", "seal": "' + BLANK + b'"}', "seal")
    >>> written = sealed[-34:-2].decode()
    >>> digest_of(sealed, "seal") == written, digest_of(sealed.replace(b"MATCH", b"match"), "seal") == written
    (True, False)

So whatever happens to the file by accident is found: a damaged disk, a cut transfer, an edit by hand. It is no
signature: who alters a file and writes the digest anew is not found.
"""

from __future__ import annotations

import re
from typing import Final

import xxhash

__all__ = ["BLANK", "digest_of", "seal"]

BLANK: Final = b"0" * 32
"""What stands in place of the digest while it is worked out."""

_END_BYTES: Final = 256
"""How much of a file's end is looked through for the key."""


def seal(data: bytes, key: str) -> bytes:
    """Return the JSON object `data`, whose last key is `key` with `BLANK`, with its digest there.

    Raises:
        ValueError: it does not end so.
    """
    place = _place(data, key)
    if place is None:
        message = f"the last key of the object is not {key!r} with 32 hexadecimal digits"
        raise ValueError(message)
    return data[: place.start] + xxhash.xxh3_128_hexdigest(data).encode() + data[place.stop :]


def digest_of(data: bytes, key: str) -> str:
    """Return the digest that the key of an unaltered file has; empty where it does not end in the key and a digest."""
    place = _place(data, key)
    if place is None:
        return ""
    return xxhash.xxh3_128_hexdigest(data[: place.start] + BLANK + data[place.stop :])


def _place(data: bytes, key: str) -> slice | None:
    """Return where the digest stands."""
    ending = data[-_END_BYTES:]
    found = re.search(rb'"%s":\s*"([0-9a-f]{32})"\s*\}\s*\Z' % re.escape(key.encode()), ending)
    if found is None:
        return None
    before = len(data) - len(ending)
    return slice(before + found.start(1), before + found.end(1))
