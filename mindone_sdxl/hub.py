"""Where something lies that a configuration names by `version:`: a folder, or an entry of Hugging Face's local cache.

Nothing is ever fetched. The cache keeps `ORGANISATION/NAME` as `models--ORGANISATION--NAME/snapshots/REVISION`, and the
file `refs/main` beside it says which revision is meant.

    >>> str(cached("openai/clip", {"HF_HUB_CACHE": "/cache"}))
    '/cache/models--openai--clip'
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["cached", "places"]


def cached(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """The cache's folder for a name, whether it exists or not.

    Source: https://huggingface.co/docs/huggingface_hub/v0.36.0/package_reference/environment_variables
    """
    home = environment.get("HF_HOME") or Path(environment.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    root = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE") or Path(home, "hub")
    return Path(root).expanduser() / f"models--{name.replace('/', '--')}"


def places(name: str, beside: Path) -> list[Path]:
    """The folders that a name may mean, most likely first; those of the cache only as far as they exist.

    Args:
        name: a folder, from here or from `beside`, or an id on the hub.
        beside: the folder of the configuration that has the name.
    """
    found = [Path(name), beside / name]
    entry = cached(name)
    reference = entry / "refs" / "main"
    if reference.is_file():
        return [*found, entry / "snapshots" / reference.read_text(encoding="utf-8").strip()]
    return [*found, entry]
