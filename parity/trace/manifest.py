"""Reading manifest.json and sealing it.

The last key, `digest`, is the file's seal (`parity.seals`); of each finished run the manifest has the digest of its
records.jsonl, and each record that of its tensor. So one chain of digests holds a whole trace, and a complete trace has
every link of it. One that is still being recorded may lack the seal, as what it says is not final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from parity import reading, seals
from parity.case import check_recorded
from parity.errors import TraceError
from parity.trace.digests import digest_of_case
from parity.trace.names import check_run_name, read_inside
from parity.trace.schema import SCHEMA, Manifest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_manifest", "seal"]

_KEY: Final = "digest"


def seal(manifest: Manifest) -> bytes:
    """Return the manifest as JSON with its digest as the last key.

    Raises:
        ValueError: the JSON would not read back, for example because a number is not finite.
    """
    content = msgspec.to_builtins(manifest)
    content[_KEY] = seals.BLANK.decode()
    data = msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"
    msgspec.json.decode(data, type=Manifest)
    return seals.seal(data, _KEY)


def read_manifest(folder: Path) -> Manifest:
    """Read and check manifest.json.

    Raises:
        TraceError: it is not there, of another schema, or damaged: it is not as it was sealed, or complete and not sealed,
            or its case is not that of its digest.
    """
    path = folder / "manifest.json"
    data = read_inside(folder, "manifest.json", reading.MANIFEST_BYTES)
    try:
        manifest = reading.json(data, Manifest)
        reading.check_depth([manifest.case, manifest.provenance, manifest.attributes])
        check_recorded(manifest.case)
    except ValueError as error:
        message = f"{path} is no manifest of a trace: {error}"
        raise TraceError(message) from error
    if manifest.schema != SCHEMA:
        message = f"{path} has schema {manifest.schema}; this version reads schema {SCHEMA}"
        raise TraceError(message)
    _check_seal(path, data, manifest)
    _check_case(path, manifest)
    for name in manifest.runs:
        check_run_name(name)
    return manifest


def _check_seal(path: Path, data: bytes, manifest: Manifest) -> None:
    """Refuse a manifest that is not the one that was sealed; in memory it has no seal."""
    written, manifest.digest = manifest.digest, ""
    if not written and manifest.status != "complete":
        return
    computed = seals.digest_of(data, _KEY)
    if not written:
        message = f"{path} has no seal (its last key, digest), though the trace is complete; take a whole copy, or record it again"
        raise TraceError(message)
    if computed != written:
        message = (
            f"{path} is damaged or was changed: its digest is {computed or 'not its last key'}; expected {written:.40}; "
            "take a whole copy, or record it again"
        )
        raise TraceError(message)


def _check_case(path: Path, manifest: Manifest) -> None:
    """Refuse a case that is not the one whose digest the manifest has; an empty one is the identity of no case."""
    written = manifest.case_digest
    computed = digest_of_case(manifest.case)
    if written and computed != written:
        message = f"{path} holds another case than was run: its digest is {computed}; expected case_digest {written}; record it again"
        raise TraceError(message)
