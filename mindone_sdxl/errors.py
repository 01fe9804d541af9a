"""The errors of this package: one root, leaves that also inherit the matching builtin."""

from __future__ import annotations

__all__ = ["ConfigError", "InputError", "OutputError", "SDXLError", "WeightsError"]


class SDXLError(Exception):
    """Root of every error that mindone_sdxl raises on purpose."""


class ConfigError(SDXLError, ValueError):
    """A configuration asks for something that this package does not implement, or is damaged."""


class WeightsError(SDXLError, ValueError):
    """A set of weights does not fit the model: names, shapes or types."""


class InputError(SDXLError, ValueError):
    """An argument of a run (latents, noise, prompt, size, flag) cannot be used."""


class OutputError(SDXLError, OSError):
    """A file or a folder cannot be written, or another process writes it."""
