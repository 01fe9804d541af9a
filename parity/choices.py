"""The closed lists that options, manifests and results share; importing them costs nothing, so that `--help` is quick."""

from __future__ import annotations

from typing import Literal

__all__ = ["Contents", "Mode", "RunMode", "Store"]

Store = Literal["hdf5", "npy"]
"""How tensors are stored."""

Mode = Literal["free", "steps", "layers"]
"""How a candidate is replayed."""

RunMode = Literal["run", "forced", Mode]
"""What a run of a trace is: the reference's own, its forced twin, or a replay."""

Contents = Literal["weights", "activations"]
"""What a trace holds: the parameters of a model, which are judged by equality, or what a run made, judged within rounding."""
