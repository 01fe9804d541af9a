"""Silences what diffusers and transformers say about ordinary use: progress bars, truncated prompts, types.

    with quiet():
        pipeline(...)

Errors are still logged. The levels and the progress bars are put back when the block is left.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["quiet"]

_LIBRARIES = (diffusers_logging, transformers_logging)


@contextmanager
def quiet() -> Iterator[None]:
    """Log errors only while the block runs."""
    before = [(library, library.get_verbosity(), library.is_progress_bar_enabled()) for library in _LIBRARIES]
    try:
        for library in _LIBRARIES:
            library.set_verbosity_error()
            library.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about what the pipeline itself calls
            yield
    finally:
        for library, level, bars in before:
            library.set_verbosity(level)
            if bars:
                library.enable_progress_bar()
