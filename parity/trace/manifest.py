"""Reading manifest.json and sealing it.

The last key, `digest`, is the xxh3-128 of the file with these 32 characters written as zeros, so a flipped
byte anywhere in it is found. A manifest without the key, or with an empty one, is taken as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec
import xxhash

from parity import reading
from parity.errors import TraceError
from parity.trace.names import check_run_name, read_inside
from parity.trace.schema import SCHEMA, Manifest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_manifest", "seal"]

_ZEROS: Final = b"0" * 32
_SEAL = re.compile(rb'"digest": "([0-9a-f]{32})"\s*\}\s*\Z')


def seal(manifest: Manifest) -> bytes:
    """Return the manifest as JSON with its digest as the last key.

    Raises:
        ValueError: the JSON would not read back, for example because a number is not finite.
    """
    content = msgspec.to_builtins(manifest)
    del content["digest"]
    data = msgspec.json.format(msgspec.json.encode({**content, "digest": _ZEROS.decode()}), indent=1) + b"\n"
    msgspec.json.decode(data, type=Manifest)
    start = data.rindex(_ZEROS)
    return data[:start] + xxhash.xxh3_128_hexdigest(data).encode() + data[start + len(_ZEROS) :]


def read_manifest(folder: Path) -> Manifest:
    """Read and check manifest.json.

    Raises:
        TraceError: it is not there, is damaged, or of another schema.
    """
    path = folder / "manifest.json"
    data = read_inside(folder, "manifest.json", reading.MANIFEST_BYTES)
    try:
        manifest = reading.json(data, Manifest)
        reading.check_depth([manifest.case, manifest.provenance, manifest.attributes])
    except ValueError as error:
        message = f"{path} is no manifest of a trace: {error}"
        raise TraceError(message) from error
    if manifest.schema != SCHEMA:
        message = f"{path} has schema {manifest.schema}; this version reads schema {SCHEMA}"
        raise TraceError(message)
    if manifest.digest:
        found = _SEAL.search(data)
        blank = b"" if found is None else data[: found.start(1)] + _ZEROS + data[found.end(1) :]
        computed = xxhash.xxh3_128_hexdigest(blank)
        if computed != manifest.digest:
            message = f"{path} is damaged: its digest is {computed}; expected {manifest.digest}"
            raise TraceError(message)
        manifest.digest = ""
    for name in manifest.runs:
        check_run_name(name)
    return manifest
